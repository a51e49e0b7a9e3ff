"""Write a run's record by hand, line by line, for tests of judging: a small fake of everything that writes a history."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.history.events import (
    AnyEvent,
    ArrivalsPlanned,
    ClusterEventSeen,
    DependencySeen,
    FaultChanged,
    FaultStep,
    FirstFrame,
    LoadState,
    NodeSeen,
    Outcome,
    Phase,
    PhaseChanged,
    PodSeen,
    Record,
    RunEnded,
    RunStarted,
    ServiceSeen,
    SharesSeen,
    WatcherState,
    WindowAccepted,
    WindowClosed,
    WindowReady,
    WindowUnknown,
)
from harness.history.reader import History, Samples
from harness.history.run import GatePlan, PlannedStep, RunInfo
from harness.history.samples import ACCEPTED, ARRIVALS, ATTEMPTS, FRAMES, SENT
from harness.judge.findings import Findings
from harness.judge.judge import judge

S = 1_000_000_000
WATCHERS = (
    "nodes",
    "pods",
    "jobs",
    "services",
    "events",
    "kubernetes_api",
    "server_rights",
    "fibre",
    "mongodb",
    "broker",
    "focus_server",
)


def ns(seconds: float) -> int:
    return round(seconds * S)


@dataclass
class Story:
    """Times are seconds since the run's start."""

    max_windows: int | None = 3
    gates: tuple[GatePlan, ...] = ()
    steps: tuple[PlannedStep, ...] = ()
    shift_s: float = 0.0
    events: list[tuple[str, AnyEvent]] = field(default_factory=list)
    attempts: list[tuple[int, int, int, str, str, int]] = field(default_factory=list)
    frames: list[tuple[int, int, int, int]] = field(default_factory=list)
    rows: list[tuple[int, int, int]] = field(default_factory=list)
    """Frames of one row: instant, window, stream."""
    windows: int = 0
    intended: dict[int, int] = field(default_factory=dict)
    arrivals: list[tuple[int, int, int, int, str]] = field(default_factory=list)

    def at(self, seconds: float) -> int:
        return ns(seconds + self.shift_s)

    def say(self, event: AnyEvent, writer: str = "conductor") -> None:
        self.events.append((writer, event))

    def begin(self, *, sees: tuple[str, ...] = WATCHERS) -> "Story":
        self.say(RunStarted(at_ns=self.at(0), run_id="r1", campaign="c", target="t"))
        for watcher in sees:
            self.say(WatcherState(at_ns=self.at(0), watcher=watcher, seeing=True), "observe")
        if "services" in sees:
            self.say(SharesSeen(at_ns=self.at(0), total=40, used=0, free=40, free_schedulable=40), "observe")
        return self

    def phase(self, at_s: float, phase: Phase, step: str = "") -> None:
        self.say(PhaseChanged(at_ns=self.at(at_s), phase=phase, step=step))

    def end(self, at_s: float, reason: str = "planned") -> None:
        self.say(RunEnded(at_ns=self.at(at_s), reason=reason))

    def attempt(self, sent_s: float, done_s: float, outcome: str, body: str = "", status: int = 0) -> int:
        self.windows += 1
        self.attempts.append((self.at(sent_s), self.at(done_s), self.windows, outcome, body, status))
        return self.windows

    def plan(self, arrivals: int, *, late_after_s: float = 0.01, at_s: float = 0.1) -> None:
        """An engine has a plan of so many arrivals."""
        planned = ArrivalsPlanned(
            at_ns=self.at(at_s), planned=arrivals, late_after_ns=ns(late_after_s), process="poisson"
        )
        self.say(planned, "engine")

    def arrival(self, intended_s: float, sent_s: float, done_s: float, outcome: str = ACCEPTED) -> None:
        """A planned arrival that was sent."""
        window = self.attempt(sent_s, done_s, outcome)
        self.intended[window] = self.at(intended_s)
        self.arrivals.append((self.at(intended_s), self.at(sent_s), window, 1, SENT))

    def not_offered(self, intended_s: float, why: str, count: int = 1) -> None:
        """Planned arrivals in a row that were not sent."""
        self.arrivals.append((self.at(intended_s), 0, 9000, count, why))

    def refused(self, sent_s: float, done_s: float, body: str = "") -> int:
        return self.attempt(sent_s, done_s, Outcome.UNAVAILABLE_503, body, 503)

    def lost(self, sent_s: float, done_s: float) -> int:
        window = self.attempt(sent_s, done_s, Outcome.UNKNOWN)
        unknown = WindowUnknown(
            at_ns=self.at(done_s), window=window, outcome=Outcome.READ_TIMEOUT, request_id="q"
        )
        self.say(unknown, "engine")
        return window

    def window(
        self,
        sent_s: float,
        closed_s: float | None,
        *,
        gone_s: float | None = None,
        frame_s: float | None = None,
        outcome: Outcome = Outcome.STREAMING,
        service: bool = True,
        lines_dt_s: float = 0.0,
    ) -> int:
        """An accepted window: 200 after 0.1 s, first frame after 1 s, its Service seen until `gone_s`."""
        window = self.attempt(sent_s, sent_s + 0.1, ACCEPTED)
        job, accepted_ns = f"{window}-{700 + window}", self.at(sent_s + 0.1)
        first_ns = self.at(sent_s + 1 if frame_s is None else frame_s)
        self.say(
            WindowAccepted(
                at_ns=accepted_ns,
                window=window,
                job_id=job,
                streams=1,
                latency_ns=ns(0.1),
                lines_dt_s=lines_dt_s,
            ),
            "engine",
        )
        if outcome not in (Outcome.PENDING_NO_START, Outcome.STREAM_NO_FRAME):
            since = first_ns - accepted_ns
            self.say(
                WindowReady(
                    at_ns=first_ns - ns(0.2), window=window, job_id=job, since_accept_ns=since - ns(0.2)
                ),
                "engine",
            )
            self.say(FirstFrame(at_ns=first_ns, window=window, job_id=job, since_accept_ns=since), "engine")
            self.frames.append((first_ns, window, 174_000, ns(0.001)))
        if closed_s is not None:
            self.say(
                WindowClosed(
                    at_ns=self.at(closed_s),
                    window=window,
                    job_id=job,
                    outcome=outcome,
                    frames=1,
                    bytes=174_000,
                ),
                "engine",
            )
        if service:
            self.service(job, sent_s + 0.05, gone_s)
        return window

    def load(self, at_s: float, *, wanted: int = 3, lag_s: float = 0.0) -> None:
        """What the load says of itself at a second."""
        said = LoadState(
            at_ns=self.at(at_s),
            streams_open=0,
            opening=0,
            creates=0,
            unknown=0,
            lag_ns=ns(lag_s),
            cpu=0.1,
            wanted=wanted,
        )
        self.say(said, "engine")

    def service(self, job: str, from_s: float, gone_s: float | None) -> None:
        name = f"grpc-service-{job}"
        self.say(ServiceSeen(at_ns=self.at(from_s), service=name, job_id=job, exists=True), "observe")
        if gone_s is not None:
            self.say(ServiceSeen(at_ns=self.at(gone_s), service=name, job_id=job, exists=False), "observe")

    def pod(self, at_s: float, job: str = "", *, role: str = "stream", name: str = "", **seen: Any) -> None:
        """A pod as watchers see it; Running and Ready on worker `w` unless `seen` says otherwise."""
        told = {"exists": True, "phase": "Running", "ready": True, "node": "w", **seen}
        named = name or (f"grpc-job-{job}-abcde" if job else role)
        self.say(PodSeen(at_ns=self.at(at_s), pod=named, role=role, job_id=job, **told), "observe")

    def node(self, at_s: float, *, ready: str = "True", cordoned: bool = False, name: str = "w") -> None:
        seen = NodeSeen(
            at_ns=self.at(at_s),
            node=name,
            exists=True,
            ready=ready,
            unschedulable=cordoned,
            worker=True,
            gpu_allocatable=20,
        )
        self.say(seen, "observe")

    def warned(self, at_s: float, job: str, reason: str, text: str) -> None:
        about = f"Pod/grpc-job-{job}-abcde"
        seen = ClusterEventSeen(at_ns=self.at(at_s), about=about, reason=reason, text=text, warning=True)
        self.say(seen, "observe")

    def job_of(self, window: int) -> str:
        """The job id of a window that `window` made."""
        return f"{window}-{700 + window}"

    def depends(self, at_s: float, name: str, *, up: bool) -> None:
        self.say(DependencySeen(at_ns=self.at(at_s), dependency=name, up=up), "observe")

    def shares(self, at_s: float, free: int, schedulable: int) -> None:
        self.say(
            SharesSeen(
                at_ns=self.at(at_s), total=40, used=40 - free, free=free, free_schedulable=schedulable
            ),
            "observe",
        )

    def fault(
        self,
        experiment: str,
        *,
        injected: float | None,
        undone: float | None,
        verified: float | None = None,
        entry: str = "",
        target: str = "",
    ) -> None:
        steps = [
            (None if injected is None else injected - 0.2, FaultStep.OPENED),
            (injected, FaultStep.INJECTED),
            (undone, FaultStep.UNDONE),
            (verified, FaultStep.VERIFIED),
        ]
        for at_s, step in steps:
            if at_s is not None:
                self.fault_step(experiment, at_s, step, entry=entry, target=target)

    def fault_step(
        self,
        experiment: str,
        at_s: float,
        step: FaultStep,
        *,
        entry: str = "",
        detail: str = "",
        target: str = "",
    ) -> None:
        changed = FaultChanged(
            at_ns=self.at(at_s),
            entry=entry or experiment,
            fault=experiment,
            experiment=experiment,
            step=step,
            detail=detail,
            target=target,
        )
        self.say(changed, "chaos")

    def run(self) -> RunInfo:
        return RunInfo(
            run_id="r1",
            harness_version="0",
            campaign="c",
            plan_hash="p",
            seed=1,
            target="t",
            target_url="http://127.0.0.1",
            wall_start="2026-01-01T00:00:00Z",
            max_windows=self.max_windows,
            gates=self.gates,
            steps=self.steps,
        )

    def history(self) -> History:
        numbers: dict[str, int] = {}
        records = []
        seqs: dict[str, int] = {}
        for writer, event in self.events:
            seqs[writer] = seqs.get(writer, 0) + 1
            records.append(Record(writer=writer, seq=seqs[writer], event=event))
        records.sort(key=lambda record: (record.event.at_ns, record.writer, record.seq))

        def number(text: str) -> int:
            return numbers.setdefault(text, len(numbers))

        rows = [
            (
                self.intended.get(window, sent),
                sent,
                done,
                window,
                number("configure"),
                number(outcome),
                status,
                0,
                number(body),
                window,
            )
            for sent, done, window, outcome, body, status in self.attempts
        ]
        arrivals = [(*row[:4], number(row[4])) for row in sorted(self.arrivals)]
        attempts = np.array(sorted(rows), dtype=ATTEMPTS.dtype)
        rows = [
            (at, window, stream, number, 1, 100, 0) for number, (at, window, stream) in enumerate(self.rows)
        ]
        frames = np.array(
            sorted([*((at, window, 0, 0, 10, size, lag) for at, window, size, lag in self.frames), *rows]),
            dtype=FRAMES.dtype,
        )
        samples = {
            "attempts": Samples(ATTEMPTS, attempts, tuple(numbers)),
            "frames": Samples(FRAMES, frames, ()),
            "arrivals": Samples(ARRIVALS, np.array(arrivals, dtype=ARRIVALS.dtype), tuple(numbers)),
        }
        return History(tuple(records), samples)

    def judged(self) -> Findings:
        return judge(self.run(), self.history())
