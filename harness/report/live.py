"""The state of a running campaign as its live messages tell it: sums and last values, nothing concluded.

The conductor feeds one `LiveState` with every message of the live path; the terminal view and `/metrics` read snapshots of
it. Pure of I/O and of time: an instant is always the one an event carries. The live path may lose messages, so absolute
values (`LoadState`, `SlotsSeen`) are preferred to counted ones, and what got lost is counted. What gates and findings also
say (refusals, frames, broken streams) is counted by their own definitions, in `harness.measures`.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from harness.clock import SECOND_NS
from harness.history.events import (
    ConditionState,
    DependencySeen,
    Drift,
    Event,
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
    StopConditionChanged,
    WatcherState,
    WindowClosed,
    WindowReady,
)
from harness.history.histogram import merged
from harness.history.live import AttemptCount, RequestCount, Second
from harness.history.run import RunInfo
from harness.history.samples import ACCEPTED, ARRIVALS, FRAMES
from harness.measures.catalogue import BY_NAME
from harness.measures.portion import CONFIGURE, Portion, of_record, of_second
from harness.report.snapshot import Headline, Histogram, LiveFault, Snapshot

CREATE_OUTCOMES: Final = frozenset({ACCEPTED, *(str(outcome) for outcome in Outcome)})
OTHER: Final = "other"
LABEL_CAP: Final = 64
"""No label grows beyond this many values; further ones are counted under `other`."""
HEADLINES_KEPT: Final = 12

_OF_SECONDS: Final = ("creates", "accepted", "refusals", "frames", "bytes")
"""The measures that a second of samples adds to."""
_OF_EVENTS: Final[dict[type[Event], tuple[str, ...]]] = {
    WindowClosed: ("windows", "streams_broken"),
    LeftoverSeen: ("leftovers",),
    Drift: ("drift",),
}
"""The measures that an event adds to."""
_LIFE: Final = {step: number for number, step in enumerate(FaultStep)}


@dataclass(slots=True)
class _Heard:
    """How far a writer's sequence got and how many of its records arrived."""

    highest: int = 0
    arrived: int = 0


def _nothing_measured() -> dict[str, Any]:
    names = (*_OF_SECONDS, *(name for names in _OF_EVENTS.values() for name in names))
    return {name: BY_NAME[name].start() for name in names}


@dataclass(slots=True)
class _Sums:
    """The mutable side of a `LiveState`; only touched under its lock."""

    phase: Phase | None = None
    step: str = ""
    last_ns: int = 0
    ended: str = ""
    creates: dict[str, int] = field(default_factory=dict)
    requests: dict[str, Histogram] = field(default_factory=dict)
    times: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)
    arrivals: dict[str, int] = field(default_factory=dict)
    late_ns: dict[str, int] = field(default_factory=dict)
    own: dict[tuple[str, str], int] = field(default_factory=dict)
    own_times: dict[str, Histogram] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    ready: Histogram = field(default_factory=Histogram)
    first_frame: Histogram = field(default_factory=Histogram)
    measured: dict[str, Any] = field(default_factory=_nothing_measured)
    rows: int = 0
    lags: dict[str, int] = field(default_factory=dict)
    loads: dict[str, LoadState] = field(default_factory=dict)
    slots: SlotsSeen | None = None
    shares: SharesSeen | None = None
    faults: dict[str, LiveFault] = field(default_factory=dict)
    watchers: dict[str, bool] = field(default_factory=dict)
    dependencies: dict[str, bool] = field(default_factory=dict)
    nodes: dict[str, tuple[str, bool]] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)


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
            StopConditionChanged: self._condition_changed,
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
            if measures := _OF_EVENTS.get(type(event)):
                self._measure(measures, of_record(message))
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
                times={name: dict(counts) for name, counts in sums.times.items()},
                arrivals=dict(sums.arrivals),
                late_max_ns=max(sums.late_ns.values()) if sums.late_ns else None,
                own=dict(sums.own),
                own_times=dict(sums.own_times),
                closed=dict(sums.closed),
                ready=sums.ready,
                first_frame=sums.first_frame,
                measured={
                    name: int(BY_NAME[name].result(state).value or 0) for name, state in sums.measured.items()
                },
                rows=sums.rows,
                frame_lag_max_ns=max(sums.lags.values()) if sums.lags else None,
                loads=dict(sums.loads),
                slots=sums.slots,
                shares=sums.shares,
                faults=tuple(sums.faults.values()),
                watchers=dict(sums.watchers),
                dependencies=dict(sums.dependencies),
                notes=dict(sums.notes),
                lost=sum(heard.highest - heard.arrived for heard in self._heard.values()),
                headlines=tuple(self._headlines),
            )

    # --- samples ---------------------------------------------------------------------------------

    def _measure(self, names: tuple[str, ...], portion: Portion) -> None:
        measured = self._sums.measured
        for name in names:
            measured[name] = BY_NAME[name].step(measured[name], portion)

    def _second(self, second: Second) -> None:
        sums = self._sums
        self._measure(_OF_SECONDS, of_second(second))
        for attempts in second.attempts:
            self._attempts(attempts)
        for requests in second.requests:
            self._requests(requests)
        for fate, count in second.arrivals.items():
            name = _bounded(fate, sums.arrivals)
            sums.arrivals[name] = sums.arrivals.get(name, 0) + count
        if second.sample == ARRIVALS.name:
            sums.late_ns[second.writer] = second.late_max_ns
        if second.sample == FRAMES.name:
            sums.rows += second.rows
            sums.lags[second.writer] = second.lag_max_ns

    def _attempts(self, attempts: AttemptCount) -> None:
        sums = self._sums
        if attempts.operation == CONFIGURE:
            outcome = attempts.outcome if attempts.outcome in CREATE_OUTCOMES else OTHER
            sums.creates[outcome] = sums.creates.get(outcome, 0) + attempts.count
        operation = _bounded(attempts.operation, sums.requests)
        so_far = sums.requests.get(operation, Histogram())
        sums.requests[operation] = so_far.merged(attempts.buckets, attempts.latency_sum_s)
        for since, fine in (("sent", attempts.fine), ("planned", attempts.fine_planned)):
            if fine:
                sums.times[operation, since] = merged((sums.times.get((operation, since), {}), fine))

    def _requests(self, requests: RequestCount) -> None:
        sums = self._sums
        name = _bounded(requests.name, sums.own_times)
        for outcome, count in (("ok", requests.count - requests.failed), ("failed", requests.failed)):
            if count:
                sums.own[name, outcome] = sums.own.get((name, outcome), 0) + count
        so_far = sums.own_times.get(name, Histogram())
        sums.own_times[name] = so_far.merged(requests.buckets, requests.latency_sum_s)

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

    def _condition_changed(self, writer: str, event: StopConditionChanged) -> None:
        if event.ended:
            self._headline(event.at_ns, "error", event.detail)
            return
        word = {ConditionState.HOLDS: "holds", ConditionState.UNKNOWN: "is not known"}.get(event.state, "")
        if word:
            text = f"stop condition {event.name!r} {word}: {event.detail}"
            self._headline(event.at_ns, "warning", text)

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
        self._headline(event.at_ns, "warning", f"left over: {event.object_kind} {event.name}")


def _bounded(label: str, known: Mapping[str, object]) -> str:
    """Return `label`, or `other` when it would be one value too many."""
    return label if label in known or len(known) < LABEL_CAP else OTHER
