"""A hand-written run with three faults: the history a real one would leave, small and always the same.

A toy of Focus Server decides who is refused; what it does is written down the way engine, chaos and watchers write. Only tests
use it: the page is developed against it and the metrics are compared with the judge on it.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from harness.clock import nanoseconds
from harness.history.events import (
    DependencySeen,
    Drift,
    Event,
    ExperimentEnded,
    FaultChanged,
    FaultStep,
    FirstFrame,
    LoadState,
    NodeSeen,
    Note,
    Outcome,
    Phase,
    PhaseChanged,
    PodSeen,
    Record,
    RunEnded,
    RunStarted,
    ServiceSeen,
    SharesSeen,
    SlotsSeen,
    WatcherState,
    WindowAccepted,
    WindowClosed,
    WindowReady,
)
from harness.history.live import Second, second_of
from harness.history.run import GatePlan, PlannedStep, RunInfo, write_run
from harness.history.samples import ACCEPTED, ARRIVALS, ATTEMPTS, FRAMES, REQUESTS, SENT
from harness.history.writer import HistoryWriter

END_S = 172.0
STEP_S = 0.25
MAX_WINDOWS = 30
SHARES = 40
BODY = '{"detail":"Service Unavailable"}'

PHASES: tuple[tuple[float, Phase, str], ...] = (
    (0, Phase.WARM_UP, ""),
    (8, Phase.BASELINE, ""),
    (46, Phase.INJECT, "cordon-worker"),
    (46.6, Phase.HOLD, "cordon-worker"),
    (60, Phase.UNDO, "cordon-worker"),
    (62, Phase.RECOVER, "cordon-worker"),
    (76, Phase.INJECT, "kill-mongo"),
    (76.8, Phase.HOLD, "kill-mongo"),
    (86, Phase.UNDO, "kill-mongo"),
    (92, Phase.RECOVER, "kill-mongo"),
    (106, Phase.INJECT, "saturate-gpu"),
    (108.5, Phase.HOLD, "saturate-gpu"),
    (120, Phase.UNDO, "saturate-gpu"),
    (123, Phase.RECOVER, "saturate-gpu"),
    (142, Phase.DRAIN, ""),
)


@dataclass(frozen=True)
class Fault:
    """One fault of the story; instants in seconds."""

    entry: str
    fault: str
    experiment: str
    target: str
    injected_s: float
    effective_s: float
    undone_s: float
    verified_s: float

    def holds(self, at_s: float) -> bool:
        return self.effective_s <= at_s < self.undone_s


FAULTS = (
    Fault("e1", "cordon", "cordon-worker", "worker-node", 46.1, 46.2, 60.2, 61.4),
    Fault("e2", "cordon", "cordon-worker", "worker-node-2", 46.2, 46.3, 60.3, 61.6),
    Fault("e3", "kill-pods", "kill-mongo", "mongodb", 76.2, 76.4, 90.5, 91.9),
    Fault("e4", "hold-shares", "saturate-gpu", "nvidia.com/gpu.shared", 106.2, 108.4, 120.8, 122.3),
)


@dataclass
class _Window:
    number: int
    job_id: str
    accepted_s: float
    ready_s: float
    first_s: float
    close_s: float
    gone_s: float


@dataclass
class Story:
    """The run's records by writer and its samples, in the order they happened."""

    events: list[tuple[str, Event]] = field(default_factory=list)
    attempts: list[tuple[int, ...]] = field(default_factory=list)
    frames: list[tuple[int, ...]] = field(default_factory=list)
    texts: list[str] = field(default_factory=lambda: ["configure", ACCEPTED, "unavailable_503", "", BODY])

    def tell(self, writer: str, event: Event) -> None:
        self.events.append((writer, event))

    @cached_property
    def told(self) -> tuple[Record | Second, ...]:
        """Return `messages()`, made once."""
        return tuple(self.messages())

    def records(self) -> Iterator[Record]:
        """Yield the events as their writers would number them."""
        numbers: dict[str, int] = {}
        for writer, event in sorted(self.events, key=lambda pair: pair[1].at_ns):
            numbers[writer] = numbers.get(writer, 0) + 1
            yield Record(writer=writer, seq=numbers[writer], event=event)  # type: ignore[arg-type]

    def messages(self) -> Iterator[Record | Second]:
        """Yield what the live path would carry, second by second."""
        records = list(self.records())
        attempts = np.array(self.attempts, dtype=ATTEMPTS.dtype)
        frames = np.array(self.frames, dtype=FRAMES.dtype)
        for second in range(int(END_S) + 1):
            lo, hi = nanoseconds(second), nanoseconds(second + 1)
            yield from (record for record in records if lo <= record.event.at_ns < hi)
            for kind, rows, at in ((ATTEMPTS, attempts, "done_ns"), (FRAMES, frames, "at_ns")):
                chosen = rows[(rows[at] >= lo) & (rows[at] < hi)]
                if len(chosen):
                    yield second_of("engine", kind, chosen, self.texts)
            # Some of the creates came as planned arrivals of a second engine; the counts are all that the live path tells of them.
            came = [(lo, lo + 2_000_000 * second, second, 1, 0), (lo, 0, 0, 2, 1)]
            rows = np.array(came, dtype=ARRIVALS.dtype)
            yield second_of("engine-2", ARRIVALS, rows, [SENT, "max_open_windows"])
            asked = [
                (lo, 30_000_000, 512, 0, 1, 2),
                (lo, 90_000_000, 64, 0, 1, 3),
            ]  # and somebody's own users
            yield second_of(
                "load-1",
                REQUESTS,
                np.array(asked, dtype=REQUESTS.dtype),
                ["GET", "/channels", "", "KeyError"],
            )

    def write(self, folder: Path) -> Path:
        """Write the run's folder as the conductor would leave it, and return it."""
        folder.mkdir(parents=True, exist_ok=True)
        write_run(folder, run_info())
        writers: dict[str, HistoryWriter] = {}
        for record in self.records():
            if record.writer not in writers:
                writers[record.writer] = HistoryWriter(folder / "history", record.writer)
            writers[record.writer].event(record.event)
        attempts = writers["engine"].samples(ATTEMPTS)
        numbers = [attempts.text(text) for text in self.texts]
        for row in self.attempts:
            attempts.add((*row[:4], numbers[row[4]], numbers[row[5]], *row[6:8], numbers[row[8]], row[9]))
        frames = writers["engine"].samples(FRAMES)
        for row in self.frames:
            frames.add(row)
        for writer in writers.values():
            writer.close()
        return folder


def run_info() -> RunInfo:
    """Return the facts of the story's run."""
    return RunInfo(
        run_id="20261123-211500-tour",
        harness_version="0.1.0",
        campaign="tour",
        plan_hash="5f1d7c0e9a44b2d1",
        seed=7,
        overrides={"windows": "24"},
        operator="dana",
        labels={"branch": "main"},
        target="sandbox",
        target_url="http://127.16.0.2:8080/focus-server",
        target_identity="0f6c2a58-sandbox",
        kubernetes_version="v1.36.0",
        max_windows=MAX_WINDOWS,
        nodes=("master-node", "worker-node", "worker-node-2"),
        gpu_shares=SHARES,
        images={"focus-server": "focus-server:latest"},
        sandbox="seed, fast",
        host="lab-1, Linux, 2 cores",
        python="3.11.2",
        wall_start="2026-11-23T21:15:00+00:00",
        wall_end="2026-11-23T21:17:52+00:00",
        planned_s=340.0,
        gates=(
            GatePlan(
                name="windows were opened and streamed", measure="windows", of="streaming", op=">=", limit=20
            ),
            GatePlan(
                name="the limit refused windows", measure="refusals", op=">=", limit=1, during=("baseline",)
            ),
            GatePlan(
                name="nothing is left behind",
                measure="leftovers",
                op="==",
                limit=0,
                during=("drain",),
                min_samples=0,
            ),
        ),
        steps=(
            PlannedStep(experiment="cordon-worker", at_s=46, hold_s=14, refusal_expected=True),
            PlannedStep(experiment="kill-mongo", at_s=76, hold_s=10, refusal_expected=True),
            PlannedStep(experiment="saturate-gpu", at_s=106, hold_s=14, refusal_expected=True),
        ),
        exit_code=0,
        exit_reason="planned",
    )


@cache
def tell() -> Story:
    """Play the toy once and return everything that was written down (nobody changes it)."""
    story = Story()
    _frame(story)
    _faults(story)
    _load(story, random.Random(7))
    return story


def _ns(at_s: float) -> int:
    return nanoseconds(round(at_s, 6))


def _frame(story: Story) -> None:
    story.tell("conductor", RunStarted(at_ns=0, run_id=run_info().run_id, campaign="tour", target="sandbox"))
    for at_s, phase, step in PHASES:
        story.tell("conductor", PhaseChanged(at_ns=_ns(at_s), phase=phase, step=step))
    story.tell(
        "conductor", Note(at_ns=_ns(1), level="info", text="load is running; 4 creates at once at most")
    )
    story.tell("conductor", RunEnded(at_ns=_ns(END_S), reason="planned"))
    story.tell("engine", Drift(at_ns=_ns(3.2), quirk="status_missing", detail="the answer has no status"))
    for watcher in (
        "pods",
        "nodes",
        "services",
        "jobs",
        "events",
        "mongodb",
        "broker",
        "focus_server",
        "kubernetes_api",
        "server_rights",
        "fibre",
    ):
        story.tell("observe", WatcherState(at_ns=_ns(0.1), watcher=watcher, seeing=True))
    story.tell(
        "observe", WatcherState(at_ns=_ns(128), watcher="broker", seeing=False, detail="connection reset")
    )
    story.tell("observe", WatcherState(at_ns=_ns(131.5), watcher="broker", seeing=True))
    story.tell("observe", WatcherState(at_ns=_ns(166), watcher="leftovers", seeing=True))
    for name in ("mongodb", "broker", "kubernetes_api", "focus_server"):
        story.tell("observe", DependencySeen(at_ns=_ns(0.2), dependency=name, up=True, latency_ns=2_000_000))
    story.tell("observe", DependencySeen(at_ns=_ns(76.5), dependency="mongodb", up=False, detail="refused"))
    story.tell(
        "observe", DependencySeen(at_ns=_ns(90.4), dependency="mongodb", up=True, latency_ns=3_000_000)
    )
    for node in ("worker-node", "worker-node-2"):
        for at_s, cordoned in ((0.2, False), (46.3, True), (60.4, False)):
            seen = NodeSeen(
                at_ns=_ns(at_s),
                node=node,
                exists=True,
                ready="True",
                unschedulable=cordoned,
                worker=True,
                gpu_allocatable=20,
            )
            story.tell("observe", seen)


def _faults(story: Story) -> None:
    for fault in FAULTS:
        life = (
            (fault.injected_s - 0.1, FaultStep.OPENED),
            (fault.injected_s, FaultStep.INJECTED),
            (fault.effective_s, FaultStep.EFFECTIVE),
            (fault.undone_s, FaultStep.UNDONE),
            (fault.verified_s, FaultStep.VERIFIED),
        )
        for at_s, step in life:
            story.tell(
                f"chaos-{fault.experiment}",
                FaultChanged(
                    at_ns=_ns(at_s),
                    entry=fault.entry,
                    fault=fault.fault,
                    experiment=fault.experiment,
                    step=step,
                    target=fault.target,
                ),
            )
    for fault in FAULTS[1:]:
        ended = ExperimentEnded(
            at_ns=_ns(fault.verified_s + 0.3), experiment=fault.experiment, status="completed", deviated=False
        )
        story.tell("conductor", ended)


def _refused(at_s: float, held: int, free: int) -> bool:
    cordon, mongo, gpu = FAULTS[0], FAULTS[2], FAULTS[3]
    return held >= MAX_WINDOWS or cordon.holds(at_s) or mongo.holds(at_s) or (gpu.holds(at_s) or free <= 0)


def _wanted(at_s: float) -> int:
    if at_s < 14:
        return 12
    return 34 if at_s < 34 else 24


def _load(story: Story, dice: random.Random) -> None:
    windows: list[_Window] = []
    free_from = [1.0 + 0.2 * user for user in range(4)]
    number = 0
    for tick in range(int(END_S / STEP_S)):
        at_s = tick * STEP_S
        open_now = [w for w in windows if w.accepted_s <= at_s < w.close_s]
        held = [w for w in windows if w.accepted_s <= at_s < w.gone_s]
        for user in range(4):
            if at_s < free_from[user] or at_s > 141 or len(open_now) >= _wanted(at_s):
                continue
            number += 1
            sent_s = at_s + 0.013 * user
            took_s = 0.035 + dice.expovariate(1 / 0.03)
            if _refused(at_s, len(held), SHARES - len(held)):
                took_s += 1.0 if FAULTS[2].holds(at_s) else 0.0
                row = (_ns(sent_s), _ns(sent_s), _ns(sent_s + took_s), number, 0, 2, 503, 32, 4, number)
                free_from[user] = at_s + took_s + dice.uniform(0.8, 1.2)
            else:
                window = _window(story, number, sent_s + took_s, dice)
                windows.append(window)
                open_now.append(window)
                held.append(window)
                row = (_ns(sent_s), _ns(sent_s), _ns(sent_s + took_s), number, 0, 1, 200, 412, 3, number)
                free_from[user] = at_s + took_s
            story.attempts.append(row)
        if tick % 4 == 3:
            _second(story, at_s, windows, open_now, held)


def _window(story: Story, number: int, accepted_s: float, dice: random.Random) -> _Window:
    job = f"{number}-{70000 + number}"
    ready_s = accepted_s + 0.8 + dice.expovariate(1 / 0.4)
    first_s = ready_s + 0.05 + dice.expovariate(1 / 0.08)
    close_s = first_s + dice.uniform(8, 14)
    window = _Window(number, job, accepted_s, ready_s, first_s, close_s, close_s + dice.uniform(1.2, 2.5))
    tell = story.tell
    tell(
        "engine",
        WindowAccepted(at_ns=_ns(accepted_s), window=number, job_id=job, streams=3, latency_ns=_ns(0.05)),
    )
    tell(
        "engine",
        WindowReady(at_ns=_ns(ready_s), window=number, job_id=job, since_accept_ns=_ns(ready_s - accepted_s)),
    )
    tell(
        "engine",
        FirstFrame(at_ns=_ns(first_s), window=number, job_id=job, since_accept_ns=_ns(first_s - accepted_s)),
    )
    frames = 0
    for stream in range(3):
        for beat in range(int((close_s - first_s) / 0.5)):
            lag_ns = int(dice.expovariate(1 / 3e6))
            story.frames.append(
                (_ns(first_s + beat * 0.5) + lag_ns, number, stream, beat * 5, 5, 8_700, lag_ns)
            )
            frames += 1
    closed = WindowClosed(
        at_ns=_ns(close_s),
        window=number,
        job_id=job,
        outcome=Outcome.STREAMING,
        frames=frames,
        rows=frames * 5,
        bytes=frames * 8_700,
    )
    tell("engine", closed)
    pod = {"pod": f"grpc-job-{job}", "role": "stream", "node": "worker-node", "job_id": job, "gpu": 1}
    tell(
        "observe",
        ServiceSeen(
            at_ns=_ns(accepted_s - 0.01),
            service=f"grpc-service-{job}",
            job_id=job,
            exists=True,
            node_port=30000 + number % 30 + 1,
        ),
    )
    tell("observe", PodSeen(at_ns=_ns(ready_s), exists=True, phase="Running", ready=True, **pod))  # type: ignore[arg-type]
    tell("observe", PodSeen(at_ns=_ns(window.gone_s), exists=False, phase="Succeeded", ready=False, **pod))  # type: ignore[arg-type]
    tell(
        "observe",
        ServiceSeen(at_ns=_ns(window.gone_s), service=f"grpc-service-{job}", job_id=job, exists=False),
    )
    return window


def _second(
    story: Story, at_s: float, windows: list[_Window], open_now: list[_Window], held: list[_Window]
) -> None:
    streaming = sum(1 for window in windows if window.ready_s <= at_s < window.close_s)
    running = sum(1 for window in windows if window.ready_s <= at_s < window.gone_s)
    state = LoadState(
        at_ns=_ns(at_s),
        streams_open=streaming,
        opening=sum(1 for window in open_now if window.ready_s > at_s),
        creates=1,
        unknown=0,
        lag_ns=1_400_000 + int(at_s) % 7 * 300_000,
        cpu=0.2 + streaming * 0.01,
        wanted=_wanted(at_s) if at_s <= 141 else 0,
    )
    story.tell("engine", state)
    story.tell("observe", SlotsSeen(at_ns=_ns(at_s), running_pods=running, pending_pods=0, slots=len(held)))
    hogs = SHARES - len(held) if FAULTS[3].holds(at_s) else 0
    free = SHARES - len(held) - hogs
    schedulable = 0 if FAULTS[0].holds(at_s) else free
    story.tell(
        "observe",
        SharesSeen(
            at_ns=_ns(at_s),
            total=SHARES,
            used=SHARES - free,
            free=free,
            free_schedulable=schedulable,
            by_hogs=hogs,
        ),
    )
