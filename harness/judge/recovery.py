"""Each fault's recovery taken apart: when it was felt, when the platform noticed, when it was undone, when what was back.

Called by judge. The fault's own instants come from its journal; everything else is what clients and watchers saw. What has not come by the
end of the record is said to be missing, never counted as zero.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.history.events import (
    ArrivalsPlanned,
    ClusterEventSeen,
    DependencySeen,
    Event,
    FirstFrame,
    LoadState,
    NodeSeen,
    Outcome,
    PodSeen,
    SharesSeen,
    WindowAccepted,
    WindowClosed,
    WindowReady,
)
from harness.history.samples import ACCEPTED, Rows
from harness.judge.findings import FaultFinding, Instant, RecoveryFinding
from harness.judge.record import SECOND_NS, RunRecord
from harness.judge.resumption import standstills
from harness.judge.steps import Bools, Ints, Steps, ints
from harness.judge.world import ROLES, World
from harness.measures.catalogue import BROKEN

MS = 1_000_000
SLICE_NS = 100 * MS
"""What is back is looked for in steps of this size."""
WATCH_NS, POLL_NS = 100 * MS, SECOND_NS
"""How coarse a watch is, as a rule, and a question that is asked once a second."""
BASELINE_NS = 30 * SECOND_NS
BACK_SHARE = 0.9
USUALLY_LOW = 0.1
"""A level that goes up and down by itself is back where it usually is at its lowest: above this part of its values."""
LAST_SLICES = 50
"""The last 5 s before an injection."""
STEADY_NS = 2 * SECOND_NS
"""A level must hold for this long to be back."""
NOBODY_SAID = 1 << 30
STALL = 3
WORST = 10
CLEAN = (Outcome.UNAVAILABLE_503, Outcome.NO_RECORDING_404, Outcome.NOT_FOUND_404, Outcome.VALIDATION_422)

Why = Callable[[int, int], dict[str, int]]
"""Failures between two instants, by cause."""


def recoveries(
    record: RunRecord, world: World, faults: tuple[FaultFinding, ...], why: Why
) -> tuple[RecoveryFinding, ...]:
    """Return one finding per fault that was injected, in the order of injection."""
    levels = _Levels(record, world)
    injected = sorted(
        (fault for fault in faults if fault.from_ns is not None), key=lambda fault: fault.from_ns or 0
    )
    return tuple(_recovery(record, world, levels, fault, why) for fault in injected)


class _Levels:
    """Numbers over time that a recovery brings back."""

    def __init__(self, record: RunRecord, world: World) -> None:
        self.open = world.windows.certain
        self.wanted = Steps.of(
            ((state.at_ns, state.wanted) for state in record.of(LoadState) if state.wanted), NOBODY_SAID
        )
        """Open windows the load asks for; it may ask for fewer after a fault than before."""
        self.begins_ns = int(record.creates["sent_ns"].min()) if len(record.creates) else record.end_ns
        """When the load began: before that nothing was as usual."""
        opened = {event.window: event.at_ns for event in record.of(WindowAccepted)}
        ended = {event.window: event.at_ns for event in record.of(WindowReady)}
        for closed in record.of(WindowClosed):
            ended.setdefault(closed.window, closed.at_ns)
        waiting = [(at, ended.get(window, record.end_ns)) for window, at in opened.items()]
        rows = record.creates
        starts = np.concatenate([ints(at for at, _ in waiting), rows["sent_ns"]])
        ends = np.concatenate([ints(end for _, end in waiting), rows["done_ns"]])
        self.backlog = Steps.counting(starts.astype(np.int64), ends.astype(np.int64))
        """Unanswered creates, and windows that were accepted and are not ready."""


def _recovery(
    record: RunRecord, world: World, levels: _Levels, fault: FaultFinding, why: Why
) -> RecoveryFinding:
    injected_ns, undone_ns = fault.from_ns or 0, fault.undone_ns
    drain_ns = record.drain_ns if record.drain_ns is not None else record.end_ns
    until_ns = max(fault.to_ns or injected_ns, min(drain_ns, record.end_ns))
    success_ns = fault.first_success_after_undo_ns
    baseline_ns = None
    if undone_ns is not None and fault.baseline_after_s is not None:
        baseline_ns = undone_ns + round(fault.baseline_after_s * SECOND_NS)
    usual_ns = max(levels.begins_ns, injected_ns - BASELINE_NS)
    felt = fault.first_effect_ns is not None
    undone = undone_ns is not None
    instants = (
        _instant("first effect", fault.first_effect_ns, 0, "the first failure of a client", due=False),
        _detected(world, injected_ns, undone_ns or until_ns),
        _instant("undone", undone_ns, 0, "the undo journal"),
        _instant("first success", success_ns, 0, "the first frame of a new window", due=felt and undone),
        _instant(
            "success back",
            baseline_ns,
            SLICE_NS,
            "the share of accepted creates over 5 s",
            due=felt and undone and bool(fault.baseline_success),
        ),
        back_at_level(
            "windows back",
            levels.open,
            usual_ns,
            injected_ns,
            undone_ns,
            until_ns,
            wanted=levels.wanted,
            due=not record.of(ArrivalsPlanned),  # how many are open then follows from the plan
        ),
        back_at_level("backlog gone", levels.backlog, usual_ns, injected_ns, undone_ns, until_ns),
    )
    end_ns = fault.to_ns if fault.to_ns is not None else until_ns
    streams = _streams(record, injected_ns, end_ns)
    stood = standstills(record, streams.windows, injected_ns, end_ns, undone_ns, until_ns)
    resumed_s = [one.after_undo_s for one in stood if one.after_undo_s is not None]
    still = {(one.window, one.stream) for one in stood}
    errors = _errors(record, injected_ns, end_ns)
    return RecoveryFinding(
        entry=fault.entry,
        experiment=fault.experiment,
        injected_ns=injected_ns,
        until_ns=until_ns,
        instants=instants,
        never=tuple(one.name for one in instants if one.due and one.at_ns is None),
        streams_running=len(streams.windows),
        streams_interrupted=streams.interrupted,
        survival=1 - streams.interrupted / len(streams.windows) if streams.windows else None,
        rows_lost=streams.rows_lost,
        seconds_stalled=round(streams.stalled_ns / SECOND_NS, 3),
        streams_stood_still=len(still),
        streams_resumed=len(still - {(one.window, one.stream) for one in stood if one.to_ns is None}),
        resumed_p50_s=float(np.median(resumed_s)) if resumed_s else None,
        resumed_max_s=max(resumed_s, default=None),
        standstills=stood[:WORST],
        failures=why(injected_ns, end_ns),
        errors=errors.count,
        error_p50_s=errors.quantile_s(0.5),
        error_p95_s=errors.quantile_s(0.95),
        error_max_s=errors.quantile_s(1.0),
        clean_errors=errors.clean,
        dirty_errors=errors.count - errors.clean,
        made_by_failed=_made_by_failed(world, injected_ns, end_ns),
    )


def _instant(name: str, at_ns: int | None, resolution_ns: int, seen_in: str, *, due: bool = True) -> Instant:
    return Instant(name=name, at_ns=at_ns, resolution_s=resolution_ns / SECOND_NS, seen_in=seen_in, due=due)


def _detected(world: World, from_ns: int, to_ns: int) -> Instant:
    """Return the first sight of the platform having noticed: a node, a pod of the system, a dependency, a warning, no share.

    What was amiss already when the fault went in has noticed nothing.
    """
    first: tuple[int, int, str] | None = None
    for kind in (NodeSeen, PodSeen, DependencySeen, ClusterEventSeen, SharesSeen):
        asked = (
            kind is DependencySeen
        )  # told with the instant of the question, which may have been on its way
        begins_ns = from_ns - (POLL_NS if asked else 0)
        amiss: set[str] = set()
        for _, event in world.of(kind):
            if event.at_ns > to_ns or (first is not None and event.at_ns >= first[0]):
                break
            said = _notices(event)
            if event.at_ns < begins_ns:
                (amiss.add if said else amiss.discard)(_thing(event))
            elif said and _thing(event) not in amiss:
                first = (max(event.at_ns, from_ns), POLL_NS if asked else WATCH_NS, said)
                break
            elif not said:
                amiss.discard(_thing(event))
    if first is None:
        return _instant("detected", None, WATCH_NS, "nobody: nothing in the cluster showed it", due=False)
    return _instant("detected", *first)


def _thing(event: Event) -> str:
    """Return what an observation is of; every Event of Kubernetes is news."""
    match event:
        case NodeSeen():
            return event.node
        case PodSeen():
            return event.pod
        case DependencySeen():
            return event.dependency
        case ClusterEventSeen():
            return f"{event.about} {event.at_ns}"
        case _:
            return ""


def _notices(event: Event) -> str:
    """Return in a few words that an observation shows something amiss; empty if it does not."""
    match event:
        case NodeSeen():
            amiss = not event.exists or event.ready != "True" or event.unschedulable
            return f"node {event.node}" if event.worker and amiss else ""
        case PodSeen():
            amiss = not event.exists or not event.ready or event.terminating
            return f"the pods of {event.role}" if event.role in ROLES and amiss else ""
        case DependencySeen():
            return "" if event.up else f"asking {event.dependency}"
        case ClusterEventSeen():
            ours = event.reason.startswith("Fault")  # our own word about the fault
            return f"the Event {event.reason}" if event.warning and not ours else ""
        case SharesSeen():
            return "the count of free shares" if event.free_schedulable == 0 else ""
        case _:
            return ""


def back_at_level(
    name: str,
    steps: Steps,
    usual_ns: int,
    injected_ns: int,
    undone_ns: int | None,
    until_ns: int,
    *,
    wanted: Steps | None = None,
    due: bool = True,
) -> Instant:
    """Return when a number was back at what it was before the fault: as low as it used to peak, or at nine tenths of it or of what is wanted.

    `due` says whether it has to come back at all.
    """
    seen_in = "open windows, certainly" if wanted else "unanswered creates and windows not ready"
    before: Ints = np.arange(usual_ns, injected_ns, SLICE_NS, dtype=np.int64)
    if undone_ns is None or not len(before) or undone_ns >= until_ns:
        return _instant(name, None, SLICE_NS, seen_in, due=False)
    usual = steps.at(before)
    if wanted is not None:
        usual = usual[_climbed(usual) :]
    during: Ints = np.arange(injected_ns, until_ns, SLICE_NS, dtype=np.int64)
    values = steps.at(during)
    if wanted is None:
        well = values <= float(np.quantile(usual, 0.95))
    else:
        low = min(BACK_SHARE * float(np.median(usual)), float(np.quantile(usual, USUALLY_LOW)))
        well = values >= np.minimum(low, BACK_SHARE * wanted.at(during))
    if well.all():
        return _instant(name, None, SLICE_NS, f"{seen_in}: never away", due=False)
    after = np.flatnonzero((during >= undone_ns) & _steady(well))
    at_ns = int(during[after[0]]) if len(after) else None
    return _instant(name, at_ns, SLICE_NS, seen_in, due=due)


def _climbed(usual: Ints) -> int:
    """Return where a level has come to nine tenths of what it was at last: what was before that is the load's own beginning."""
    at_last = float(np.median(usual[-LAST_SLICES:]))
    return int(np.argmax(usual >= BACK_SHARE * at_last))


def _steady(well: Bools) -> Bools:
    """Return where a level holds from there on for `STEADY_NS`."""
    count = STEADY_NS // SLICE_NS
    bad = np.concatenate([[0], np.cumsum(~well)])
    start = np.arange(len(well))
    steady: Bools = (start + count <= len(well)) & (bad[np.minimum(start + count, len(well))] == bad[start])
    return steady


# --- streams --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Streams:
    windows: frozenset[int]
    interrupted: int
    rows_lost: int
    stalled_ns: int


def _streams(record: RunRecord, from_ns: int, to_ns: int) -> _Streams:
    """Return what became of the streams that ran when the fault went in."""
    closed = {event.window: event for event in record.of(WindowClosed)}
    running = {
        event.window
        for event in record.of(FirstFrame)
        if event.at_ns <= from_ns and (event.window not in closed or closed[event.window].at_ns > from_ns)
    }
    interrupted = sum(
        window in closed and closed[window].outcome in BROKEN and closed[window].at_ns < to_ns
        for window in running
    )
    frames = record.frames
    theirs = frames[np.isin(frames["window"], list(running)) & (frames["at_ns"] < to_ns)]
    order = np.lexsort((theirs["at_ns"], theirs["stream"], theirs["window"]))
    ends_ns = {window: closed[window].at_ns for window in running if window in closed}
    ends_ns |= {
        window: from_ns for window in ends_ns if closed[window].outcome is Outcome.COMPLETE
    }  # it had got everything, and waited for nothing
    lost, stalled = _gaps(theirs[order], from_ns, to_ns, ends_ns)
    return _Streams(frozenset(running), interrupted, lost, stalled)


def _gaps(frames: Rows, from_ns: int, to_ns: int, ends_ns: dict[int, int]) -> tuple[int, int]:
    """Return rows skipped and nanoseconds stalled after `from_ns`; frames come in order of window, stream and time.

    A stream that was flowing at `from_ns` and is silent at its end, or at `to_ns`, has stalled until then.
    """
    if len(frames) < 2:
        return 0, 0
    at_ns = frames["at_ns"].astype(np.int64)
    same = (frames["window"][1:] == frames["window"][:-1]) & (frames["stream"][1:] == frames["stream"][:-1])
    gaps = (at_ns[1:] - at_ns[:-1])[same]
    late = (at_ns[1:] > from_ns)[same]
    skipped = (frames["first_row"][1:] - frames["first_row"][:-1] - frames["rows"][:-1])[same]
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    last = np.append(~same, True)
    tails = ints(ends_ns.get(window, to_ns) for window in frames["window"][last].tolist())
    tails = np.minimum(tails, to_ns)
    much_ns = max(STALL * usual, SLICE_NS)
    flowing = (tails > from_ns) & (at_ns[last] > from_ns - much_ns)
    spans = np.concatenate([gaps[late], (tails - at_ns[last])[flowing]])
    long = spans > much_ns
    return int(np.maximum(skipped[late], 0).sum()), round(float((spans[long] - usual).sum()))


# --- errors ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Errors:
    took_ns: Ints
    clean: int

    @property
    def count(self) -> int:
        return len(self.took_ns)

    def quantile_s(self, share: float) -> float | None:
        return round(float(np.quantile(self.took_ns, share)) / SECOND_NS, 6) if len(self.took_ns) else None


def _errors(record: RunRecord, from_ns: int, to_ns: int) -> _Errors:
    """Return the creates that failed between two instants: how long their answers took, and how many were clean."""
    number = record.attempts.number
    rows = record.creates
    inside = rows[slice(*np.searchsorted(rows["done_ns"], [from_ns, to_ns]))]
    failed = inside[~np.isin(inside["outcome"], [number(ACCEPTED), number(Outcome.CANCELLED)])]
    clean = np.isin(failed["outcome"], [number(outcome) for outcome in CLEAN])
    return _Errors((failed["done_ns"] - failed["sent_ns"]).astype(np.int64), int(clean.sum()))


def _made_by_failed(world: World, from_ns: int, to_ns: int) -> tuple[str, ...]:
    """Return the jobs that appeared between two instants while a create of ours was decided that failed."""
    return tuple(
        sorted(
            hold.job_id
            for hold in world.windows.holds
            if hold.job_id in world.windows.halfway and from_ns <= hold.possible[0] < to_ns
        )
    )
