"""How far recovery's instants are from the sandbox's own: the same rules on what was written down at the source.

Read by the scorer alone. First effect: the first create that was refused. First success: the first message that a new window's stream server sent. Success back:
grants and refusals of creates. Windows back: slots granted, and released or left by the client. Given back: a slot's release after the client's close.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.history.events import LoadState, WindowAccepted, WindowClosed
from harness.history.reader import read_history
from harness.history.run import read_run
from harness.judge.faults import back_to_baseline
from harness.judge.findings import FaultFinding, RecoveryFinding
from harness.judge.judge import judge
from harness.judge.reclaim import given_back
from harness.judge.record import SECOND_NS, RunRecord
from harness.judge.recovery import BASELINE_NS, NOBODY_SAID, back_at_level
from harness.judge.steps import Ints, Steps, ints
from harness.judge.world import World
from harness.sandbox.truth import read
from tests.score.labels import request_number, run_start_ns

Errors = dict[str, list[float]]
"""Seconds that an instant was found later than it was, by its name."""
NO = ("refusal", "ingress_error", "server_error", "overload")
GIVEN_BACK = "given back"
WITHIN_S = 0.1


def errors_of(folder: Path) -> Errors:
    """Return the errors of a kept run."""
    run, history = read_run(folder / "record"), read_history(folder / "record" / "history")
    record = RunRecord(run, history)
    found, source = judge(run, history), _Source(folder, record)
    errors: Errors = defaultdict(list)
    faults = {fault.entry: fault for fault in found.faults}
    for recovery in found.recoveries:
        fault = faults[recovery.entry]
        true = source.instants(record, fault, recovery)
        for one in recovery.instants:
            if one.at_ns is not None and (at_ns := true.get(one.name)) is not None:
                errors[one.name].append((one.at_ns - at_ns) / SECOND_NS)
    errors[GIVEN_BACK] += source.given_back(record)
    return errors


class _Source:
    """What the sandbox wrote down at the source; instants are the run's."""

    def __init__(self, folder: Path, record: RunRecord) -> None:
        facts = read(folder / "truth")
        start_ns = run_start_ns(facts, record)
        mine = set(record.creates["request_id"].tolist())
        self.granted: list[tuple[str, int]] = []
        self.released: dict[str, list[int]] = defaultdict(list)
        self.first_frame: list[tuple[str, int]] = []
        decided: list[tuple[int, bool]] = []
        for fact in facts:
            at_ns, kind = fact["at_ns"] - start_ns, fact["kind"]
            own = request_number(fact.get("request_id") or "") in mine
            if kind == "slot_granted":
                self.granted.append((fact["job_id"], at_ns))
            elif kind == "slot_released":
                self.released[fact["job_id"]].append(at_ns)
            elif kind == "first_frame":
                self.first_frame.append((fact["job_id"], at_ns))
            if own and kind in (*NO, "slot_granted"):
                decided.append((at_ns, kind == "slot_granted"))
        decided.sort()
        self.decided_ns = ints(at for at, _ in decided)
        self.accepted = np.array([yes for _, yes in decided], dtype=bool)
        closed = {event.window: event.at_ns for event in record.of(WindowClosed)}
        used: dict[str, list[int]] = defaultdict(list)
        for event in record.of(WindowAccepted):
            used[event.job_id].append(closed.get(event.window, record.end_ns))
        over = [
            min(
                next_of(self.released[job], at_ns, record.end_ns),
                next_of(sorted(used[job]), at_ns, record.end_ns),
            )
            for job, at_ns in self.granted
        ]
        self.open = Steps.counting(ints(at_ns for _, at_ns in self.granted), ints(over))
        """Windows that hold a slot and are still used by their client."""

    def instants(self, record: RunRecord, fault: FaultFinding, recovery: RecoveryFinding) -> dict[str, int]:
        """Return a recovery's instants as far as the source has them."""
        injected_ns, undone_ns = recovery.injected_ns, fault.undone_ns
        refused: Ints = self.decided_ns[~self.accepted]
        found: dict[str, int | None] = {"first effect": _first(refused, injected_ns)}
        if fault.streams_broken or fault.windows_unserved:
            del found["first effect"]  # what breaks a stream is not written down
        if undone_ns is not None:
            frames = ints(at for job, at in self.first_frame if self.granted_before(job, at) >= injected_ns)
            found["first success"] = _first(frames, undone_ns)
            before = slice(*np.searchsorted(self.decided_ns, [injected_ns - BASELINE_NS, injected_ns]))
            share = float(self.accepted[before].mean()) if before.stop > before.start else None
            back_s = back_to_baseline(
                self.decided_ns, self.accepted, np.ones_like(self.accepted), share, undone_ns, record.end_ns
            )
            found["success back"] = None if back_s is None else undone_ns + round(back_s * SECOND_NS)
            wanted = Steps.of(
                ((state.at_ns, state.wanted) for state in record.of(LoadState) if state.wanted), NOBODY_SAID
            )
            usual_ns = max(int(record.creates["sent_ns"].min()), injected_ns - BASELINE_NS)
            level = back_at_level(
                "", self.open, usual_ns, injected_ns, undone_ns, recovery.until_ns, wanted=wanted
            )
            found["windows back"] = level.at_ns
        return {name: at_ns for name, at_ns in found.items() if at_ns is not None}

    def given_back(self, record: RunRecord) -> Iterable[float]:
        """Return for each window how much later its slot was seen to be given back than it was, in seconds."""
        world = World(record.records, record.attempts, record.end_ns)
        over = [hold for hold in world.windows.holds if hold.closed_ns is not None]
        for hold in given_back(over, world):
            closed_ns = hold.closed_ns or 0
            true_ns = next_of(self.released[hold.job_id], closed_ns, -1)
            if true_ns >= 0 and self.granted_before(hold.job_id, true_ns) <= closed_ns:
                yield (hold.possible[1] - true_ns) / SECOND_NS

    def granted_before(self, job_id: str, at_ns: int) -> int:
        """Return when the window whose frame came at an instant was granted; -1 if nobody wrote it down."""
        return max((at for job, at in self.granted if job == job_id and at <= at_ns), default=-1)


def next_of(instants: Sequence[int], from_ns: int, otherwise: int) -> int:
    """Return the first of rising instants that is not before another: a server that counts anew uses job ids again."""
    return next((at_ns for at_ns in instants if at_ns >= from_ns), otherwise)


def _first(at_ns: Ints, from_ns: int) -> int | None:
    later = at_ns[at_ns >= from_ns]
    return int(later.min()) if len(later) else None


def told(errors: Errors) -> dict[str, dict[str, Any]]:
    """Return for each instant how many were compared, the quantiles of the error's size, and the share within 100 ms."""
    return {
        name: {
            "compared": len(some),
            "median_s": round(float(np.median(some)), 4),
            "p50_s": round(float(np.quantile(np.abs(some), 0.5)), 4),
            "p95_s": round(float(np.quantile(np.abs(some), 0.95)), 4),
            "worst_s": round(float(np.abs(some).max()), 4),
            "within_100_ms": float((np.abs(some) <= WITHIN_S).mean()),
        }
        for name, some in errors.items()
        if some
    }
