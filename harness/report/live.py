"""The state of a running campaign as its live messages tell it: sums and last values, nothing concluded.

The conductor feeds one `LiveState` with every message of the live path; the terminal view and `/metrics` read snapshots of
it. Pure of I/O and of time: an instant is always the one an event carries. The live path may lose messages, so absolute
values (`LoadState`, `SlotsSeen`) are preferred to counted ones, and what got lost is counted.
"""

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from harness.clock import SECOND_NS
from harness.history.events import (
    DependencySeen,
    Drift,
    ExperimentEnded,
    FaultChanged,
    FaultStep,
    FirstFrame,
    LeftoverSeen,
    LoadState,
    NodeSeen,
    Note,
    Outcome,
    Phase,
    PhaseChanged,
    Record,
    RunEnded,
    RunStarted,
    ScenarioSuspended,
    SharesSeen,
    SlotsSeen,
    WatcherState,
    WindowClosed,
    WindowReady,
)
from harness.history.live import LATENCY_BOUNDS_S, AttemptCount, Second
from harness.history.run import RunInfo
from harness.history.samples import ACCEPTED, FRAMES

CONFIGURE: Final = "configure"
CREATE_OUTCOMES: Final = frozenset({ACCEPTED, *(str(outcome) for outcome in Outcome)})
OTHER: Final = "other"
LABEL_CAP: Final = 64
"""No label grows beyond this many values; further ones are counted under `other`."""
HEADLINES_KEPT: Final = 12

_LIFE: Final = {step: number for number, step in enumerate(FaultStep)}


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts per bucket of LATENCY_BOUNDS_S (not cumulative, one more for the rest) and the sum in seconds."""

    counts: tuple[int, ...] = (0,) * (len(LATENCY_BOUNDS_S) + 1)
    sum_s: float = 0.0

    @property
    def count(self) -> int:
        """Return how many values were observed."""
        return sum(self.counts)

    def with_value(self, value_s: float) -> "Histogram":
        """Return the histogram with one more value, in seconds."""
        counts = list(self.counts)
        counts[bisect_left(LATENCY_BOUNDS_S, value_s)] += 1
        return Histogram(tuple(counts), self.sum_s + value_s)

    def merged(self, counts: tuple[int, ...], sum_s: float) -> "Histogram":
        """Return the histogram with another one's counts added."""
        both = tuple(a + b for a, b in zip(self.counts, counts, strict=True))
        return Histogram(both, self.sum_s + sum_s)


@dataclass(frozen=True, slots=True)
class LiveFault:
    """One undo entry as far as the live path has told its life."""

    entry: str
    fault: str
    experiment: str
    step: FaultStep
    target: str = ""
    injected_ns: int | None = None
    undone_ns: int | None = None
    held: bool = True

    @property
    def active(self) -> bool:
        """Tell whether the fault is in the world: injected, not undone, and not ended by somebody else."""
        return self.injected_ns is not None and self.undone_ns is None and self.held


@dataclass(frozen=True, slots=True)
class Headline:
    """One line worth a person's eye: when, how bad (info, warning or error), what."""

    at_ns: int
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything terminal and metrics show, at one moment. `None` and missing keys mean: never heard of."""

    run: RunInfo | None
    phase: Phase | None
    step: str
    last_ns: int
    ended: str
    creates: Mapping[str, int]
    requests: Mapping[str, Histogram]
    closed: Mapping[str, int]
    ready: Histogram
    first_frame: Histogram
    frames: int
    rows: int
    stream_bytes: int
    frame_lag_max_ns: int | None
    loads: Mapping[str, LoadState]
    slots: SlotsSeen | None
    shares: SharesSeen | None
    faults: tuple[LiveFault, ...]
    watchers: Mapping[str, bool]
    dependencies: Mapping[str, bool]
    notes: Mapping[str, int]
    drift: int
    leftovers: int
    lost: int
    headlines: tuple[Headline, ...]

    @property
    def refused(self) -> int:
        """Return how many creates were answered 503."""
        return self.creates.get(Outcome.UNAVAILABLE_503, 0)

    @property
    def asked(self) -> int:
        """Return how many creates ended, whatever their outcome."""
        return sum(self.creates.values())

    @property
    def max_windows(self) -> int | None:
        """Return the admission limit, or None where there is none or it is not known."""
        return self.run.max_windows if self.run else None

    @property
    def open_windows(self) -> dict[str, int]:
        """Return the open windows by source, only for the sources that have spoken."""
        counts: dict[str, int] = {}
        if self.loads:
            counts["streams"] = sum(load.streams_open for load in self.loads.values())
        if self.slots is not None:
            counts["pods"] = self.slots.running_pods
            counts["slots"] = self.slots.slots
        return counts

    @property
    def active_faults(self) -> tuple[LiveFault, ...]:
        """Return the faults that are in the world now."""
        return tuple(fault for fault in self.faults if fault.active)


@dataclass(slots=True)
class _Heard:
    """How far a writer's sequence got and how many of its records arrived."""

    highest: int = 0
    arrived: int = 0


@dataclass(slots=True)
class _Sums:
    """The mutable side of a `LiveState`; only touched under its lock."""

    phase: Phase | None = None
    step: str = ""
    last_ns: int = 0
    ended: str = ""
    creates: dict[str, int] = field(default_factory=dict)
    requests: dict[str, Histogram] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    ready: Histogram = field(default_factory=Histogram)
    first_frame: Histogram = field(default_factory=Histogram)
    frames: int = 0
    rows: int = 0
    stream_bytes: int = 0
    lags: dict[str, int] = field(default_factory=dict)
    loads: dict[str, LoadState] = field(default_factory=dict)
    slots: SlotsSeen | None = None
    shares: SharesSeen | None = None
    faults: dict[str, LiveFault] = field(default_factory=dict)
    watchers: dict[str, bool] = field(default_factory=dict)
    dependencies: dict[str, bool] = field(default_factory=dict)
    nodes: dict[str, tuple[str, bool]] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    drift: int = 0
    leftovers: int = 0


class LiveState:
    """Absorbs live messages from any thread and gives consistent snapshots to any other."""

    def __init__(self, run: RunInfo | None = None) -> None:
        self._lock = threading.Lock()
        self._run = run
        self._sums = _Sums()
        self._heard: dict[str, _Heard] = {}
        self._headlines: deque[Headline] = deque(maxlen=HEADLINES_KEPT)
        self._takers: dict[type, Callable[[str, Any], None]] = {
            RunStarted: self._run_started,
            PhaseChanged: self._phase_changed,
            RunEnded: self._run_ended,
            Note: self._note,
            WindowReady: self._window_ready,
            FirstFrame: self._first_frame,
            WindowClosed: self._window_closed,
            ScenarioSuspended: self._suspended,
            Drift: self._drift,
            LoadState: self._load_state,
            FaultChanged: self._fault_changed,
            ExperimentEnded: self._experiment_ended,
            WatcherState: self._watcher_state,
            NodeSeen: self._node_seen,
            SharesSeen: self._shares_seen,
            DependencySeen: self._dependency_seen,
            SlotsSeen: self._slots_seen,
            LeftoverSeen: self._leftover_seen,
        }

    def describe(self, run: RunInfo) -> None:
        """Tell the state which run this is (again, when more about it is known)."""
        with self._lock:
            self._run = run

    def absorb(self, message: Record | Second) -> None:
        """Take one message of the live path into account."""
        with self._lock:
            if isinstance(message, Second):
                self._second(message)
                return
            heard = self._heard.setdefault(message.writer, _Heard())
            heard.highest = max(heard.highest, message.seq)
            heard.arrived += 1
            event = message.event
            self._sums.last_ns = max(self._sums.last_ns, event.at_ns)
            taker = self._takers.get(type(event))
            if taker is not None:
                taker(message.writer, event)

    def snapshot(self) -> Snapshot:
        """Return everything known, consistent and detached from later messages."""
        with self._lock:
            sums = self._sums
            return Snapshot(
                run=self._run,
                phase=sums.phase,
                step=sums.step,
                last_ns=sums.last_ns,
                ended=sums.ended,
                creates=dict(sums.creates),
                requests=dict(sums.requests),
                closed=dict(sums.closed),
                ready=sums.ready,
                first_frame=sums.first_frame,
                frames=sums.frames,
                rows=sums.rows,
                stream_bytes=sums.stream_bytes,
                frame_lag_max_ns=max(sums.lags.values()) if sums.lags else None,
                loads=dict(sums.loads),
                slots=sums.slots,
                shares=sums.shares,
                faults=tuple(sums.faults.values()),
                watchers=dict(sums.watchers),
                dependencies=dict(sums.dependencies),
                notes=dict(sums.notes),
                drift=sums.drift,
                leftovers=sums.leftovers,
                lost=sum(heard.highest - heard.arrived for heard in self._heard.values()),
                headlines=tuple(self._headlines),
            )

    # --- samples ---------------------------------------------------------------------------------

    def _second(self, second: Second) -> None:
        sums = self._sums
        for attempts in second.attempts:
            self._attempts(attempts)
        if second.sample == FRAMES.name:
            sums.frames += second.frames
            sums.rows += second.rows
            sums.stream_bytes += second.bytes
            sums.lags[second.writer] = second.lag_max_ns

    def _attempts(self, attempts: AttemptCount) -> None:
        sums = self._sums
        if attempts.operation == CONFIGURE:
            outcome = attempts.outcome if attempts.outcome in CREATE_OUTCOMES else OTHER
            sums.creates[outcome] = sums.creates.get(outcome, 0) + attempts.count
        operation = _bounded(attempts.operation, sums.requests)
        so_far = sums.requests.get(operation, Histogram())
        sums.requests[operation] = so_far.merged(attempts.buckets, attempts.latency_sum_s)

    # --- events ----------------------------------------------------------------------------------

    def _headline(self, at_ns: int, level: str, text: str) -> None:
        self._headlines.append(Headline(at_ns, level, text))

    def _run_started(self, writer: str, event: RunStarted) -> None:
        self._headline(event.at_ns, "info", f"{event.campaign} started against {event.target}")

    def _phase_changed(self, writer: str, event: PhaseChanged) -> None:
        self._sums.phase, self._sums.step = event.phase, event.step

    def _run_ended(self, writer: str, event: RunEnded) -> None:
        self._sums.ended = event.reason
        level = "info" if event.reason == "planned" else "warning"
        self._headline(event.at_ns, level, f"run ended: {event.reason}")

    def _note(self, writer: str, event: Note) -> None:
        level = event.level if event.level in ("info", "warning", "error") else "info"
        self._sums.notes[level] = self._sums.notes.get(level, 0) + 1
        self._headline(event.at_ns, level, event.text)

    def _window_ready(self, writer: str, event: WindowReady) -> None:
        self._sums.ready = self._sums.ready.with_value(event.since_accept_ns / SECOND_NS)

    def _first_frame(self, writer: str, event: FirstFrame) -> None:
        self._sums.first_frame = self._sums.first_frame.with_value(event.since_accept_ns / SECOND_NS)

    def _window_closed(self, writer: str, event: WindowClosed) -> None:
        closed = self._sums.closed
        closed[event.outcome.value] = closed.get(event.outcome.value, 0) + 1

    def _suspended(self, writer: str, event: ScenarioSuspended) -> None:
        until_s = (event.until_ns - event.at_ns) / SECOND_NS
        text = (
            f"load paused for {until_s:.0f} s after {event.refusals} answers {event.outcome.value} in a row"
        )
        self._headline(event.at_ns, "warning", text)

    def _drift(self, writer: str, event: Drift) -> None:
        self._sums.drift += 1
        self._headline(event.at_ns, "info", f"drift: {event.quirk}")

    def _load_state(self, writer: str, event: LoadState) -> None:
        if _bounded(writer, self._sums.loads) == writer:
            self._sums.loads[writer] = event

    def _fault_changed(self, writer: str, event: FaultChanged) -> None:
        known = self._sums.faults.get(event.entry)
        if known is None:
            known = LiveFault(event.entry, event.fault, event.experiment, event.step, event.target)
        elif _LIFE[event.step] >= _LIFE[known.step]:
            known = replace(known, step=event.step, target=event.target or known.target)
        if event.step is FaultStep.INJECTED:
            known = replace(known, injected_ns=event.at_ns)
        elif event.step is FaultStep.NOT_HELD:
            known = replace(known, held=False)
        elif event.step in (FaultStep.UNDONE, FaultStep.VERIFIED) and known.undone_ns is None:
            known = replace(known, undone_ns=event.at_ns)
        self._sums.faults[event.entry] = known
        level = {FaultStep.FAILED: "error", FaultStep.NOT_HELD: "warning"}.get(event.step, "info")
        what = event.step.value.replace("_", " ")
        detail = f": {event.detail}" if event.detail and level != "info" else ""
        by = "" if event.by == "chaos" else f" by {event.by}"
        where = f" on {known.target}" if known.target else ""
        if event.step is not FaultStep.OPENED:
            self._headline(event.at_ns, level, f"{event.experiment} {what}{where}{by}{detail}")

    def _experiment_ended(self, writer: str, event: ExperimentEnded) -> None:
        if event.status != "completed" or event.deviated:
            word = "deviated" if event.deviated else event.status
            self._headline(event.at_ns, "warning", f"experiment {event.experiment} {word}")

    def _watcher_state(self, writer: str, event: WatcherState) -> None:
        name = _bounded(event.watcher, self._sums.watchers)
        before = self._sums.watchers.get(name)
        self._sums.watchers[name] = event.seeing
        if not event.seeing:
            self._headline(event.at_ns, "warning", f"watcher {event.watcher} is blind: {event.detail or '?'}")
        elif before is False:
            self._headline(event.at_ns, "info", f"watcher {event.watcher} sees again")

    def _node_seen(self, writer: str, event: NodeSeen) -> None:
        ready = event.ready if event.exists else "gone"
        now = (ready, event.unschedulable)
        before = self._sums.nodes.get(event.node)
        self._sums.nodes[_bounded(event.node, self._sums.nodes)] = now
        if before is None or before == now:
            return
        words = {"True": "Ready", "False": "NotReady", "Unknown": "not heard of", "gone": "gone"}
        word = words.get(ready, ready) + (", cordoned" if event.unschedulable else "")
        self._headline(event.at_ns, "info", f"node {event.node} is {word}")

    def _shares_seen(self, writer: str, event: SharesSeen) -> None:
        self._sums.shares = event

    def _dependency_seen(self, writer: str, event: DependencySeen) -> None:
        name = _bounded(event.dependency, self._sums.dependencies)
        before = self._sums.dependencies.get(name)
        self._sums.dependencies[name] = event.up
        if before is not None and before != event.up:
            self._headline(
                event.at_ns, "info", f"{name} {'answers again' if event.up else 'does not answer'}"
            )

    def _slots_seen(self, writer: str, event: SlotsSeen) -> None:
        self._sums.slots = event

    def _leftover_seen(self, writer: str, event: LeftoverSeen) -> None:
        self._sums.leftovers += 1
        self._headline(event.at_ns, "warning", f"left over: {event.object_kind} {event.name}")


def _bounded(label: str, known: Mapping[str, object]) -> str:
    """Return `label`, or `other` when it would be one value too many."""
    return label if label in known or len(known) < LABEL_CAP else OTHER
