"""How long the admission limit takes from the record to the verdict: windows told apart and counted, then checked; needs no target.

Peer: sorting the same instants with Python's own sort, which nothing of this kind can do without. Both in seconds of CPU: one thread
that waits for nothing.
"""

import random
import time

import numpy as np

from benchmarks.rows import Row
from harness.history.events import (
    AnyEvent,
    FirstFrame,
    Outcome,
    Record,
    ServiceSeen,
    WatcherState,
    WindowAccepted,
    WindowClosed,
    WindowUnknown,
)
from harness.history.reader import Samples
from harness.history.samples import ACCEPTED, ATTEMPTS
from harness.judge.admission import Refusals, Spans, admission
from harness.judge.findings import Status
from harness.judge.world import World
from harness.measures.portion import CONFIGURE

OPERATIONS = 1_000_000
LIMIT = 30
MS = 1_000_000
BEAT_NS = 50 * MS
TEXTS = (CONFIGURE, ACCEPTED, Outcome.UNAVAILABLE_503.value, Outcome.READ_TIMEOUT.value, "")
ADMITTED, REFUSED, LOST, EMPTY = 1, 2, 3, 4


def measure(command: str) -> list[Row]:
    """Judge a million creates, half of them refused at the limit."""
    took_s, sorting_s = _took(OPERATIONS)
    told = "a million creates, from their records to the verdict on the limit"
    return [Row(told, took_s, "s CPU", command, "60", "sorting the same instants", sorting_s)]


def _took(creates: int) -> tuple[float, float]:
    records, attempts, end_ns = history(creates)
    started = time.process_time()
    world = World(records, attempts, end_ns)
    rows = attempts.rows
    refused = rows[rows["outcome"] == REFUSED]
    lost = rows[rows["outcome"] == LOST]
    refusals = Refusals(
        refused["sent_ns"], refused["done_ns"], np.zeros(len(refused), dtype=bool), refused["window"]
    )
    found = admission(
        world.windows.holds,
        refusals,
        limit=LIMIT,
        sighted=world.sees_slots,
        end_ns=end_ns,
        unclear=Spans(lost["sent_ns"], lost["done_ns"]),
    )
    took_s = time.process_time() - started
    if found.status is not Status.PASSED:
        raise SystemExit(f"a faultless history was judged {found.status}: {found.reason}")
    instants = [*rows["sent_ns"].tolist(), *rows["done_ns"].tolist(), *(one.event.at_ns for one in records)]
    random.Random(1).shuffle(instants)
    started = time.process_time()
    instants.sort()
    return took_s, time.process_time() - started


def history(creates: int) -> tuple[list[Record], Samples, int]:
    """Write a faultless history at the limit: each slot goes from window to window, and between any two a create is refused.

    Of the windows one in ten is somebody else's, and one in fifty is ours without an answer.
    """
    rows: list[tuple[int, ...]] = []
    told: list[AnyEvent] = [WatcherState(at_ns=0, watcher="services", seeing=True)]
    turn = 0
    while len(rows) < creates:
        at_ns, turn = turn * BEAT_NS, turn + 1
        job, foreign, lost = f"{turn % LIMIT + 1}-{turn}", turn % 10 == 0, turn % 50 == 1
        if not foreign:
            rows.append(_row(at_ns, turn, LOST if lost else ADMITTED))
        if turn > LIMIT:
            rows.append(_row(at_ns + 20 * MS, -turn, REFUSED))
        told += _window(at_ns, turn, job, foreign=foreign, lost=lost)
    told.sort(key=lambda event: event.at_ns)
    records = [Record(writer="all", seq=seq, event=event) for seq, event in enumerate(told)]
    table = np.array(rows, dtype=ATTEMPTS.dtype)
    table["window"] = np.where(table["window"] < 0, turn - table["window"], table["window"])
    return records, Samples(ATTEMPTS, table, TEXTS), turn * BEAT_NS + 10_000 * MS


def _row(sent_ns: int, window: int, outcome: int) -> tuple[int, ...]:
    return (sent_ns, sent_ns, sent_ns + 10 * MS, window, 0, outcome, 0, 0, EMPTY, 0)


def _window(at_ns: int, number: int, job: str, *, foreign: bool, lost: bool) -> list[AnyEvent]:
    """Tell what clients and watch see of one window."""
    name = f"grpc-service-{job}"
    told: list[AnyEvent] = [
        ServiceSeen(at_ns=at_ns + 8 * MS, service=name, job_id=job, exists=True),
        ServiceSeen(at_ns=at_ns + LIMIT * BEAT_NS - 10 * MS, service=name, job_id=job, exists=False),
    ]
    if lost:
        told.append(
            WindowUnknown(at_ns=at_ns + 10 * MS, window=number, outcome=Outcome.READ_TIMEOUT, request_id="")
        )
    elif not foreign:
        told += [
            WindowAccepted(at_ns=at_ns + 10 * MS, window=number, job_id=job, streams=1, latency_ns=10 * MS),
            FirstFrame(at_ns=at_ns + 300 * MS, window=number, job_id=job, since_accept_ns=290 * MS),
            WindowClosed(
                at_ns=at_ns + 1000 * MS,
                window=number,
                job_id=job,
                outcome=Outcome.STREAMING,
                frames=1,
                bytes=1,
            ),
        ]
    return told
