"""Whether a run proves anything: the load was not too slow, the clocks agree, somebody was looking, nothing changed under way.

Called by judge. A run outside its bounds is unjudged, whatever its gates say. Here what was injected may be looked at: a node set that a
fault of ours changed is no surprise.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from harness.history.events import (
    CanarySeen,
    LoadState,
    NodeSeen,
    PodSeen,
    ProbeStarted,
    ProcessEnded,
    RunEnded,
    WindowAccepted,
    WorkerLost,
)
from harness.judge.findings import (
    ArrivalsFinding,
    FaultFinding,
    Gap,
    Status,
    StreamsFinding,
    ValidityCheck,
    ValidityFinding,
)
from harness.judge.record import SECOND_NS, RunRecord, Spans, joined, within
from harness.judge.sightings import DOWN
from harness.judge.steps import Ints, ints
from harness.judge.streams import difference
from harness.judge.world import BEHIND_THE_API, NEEDED, World
from harness.measures.catalogue import LEFTOVER_WATCH, died

MEAN_OVER = 10
"""Seconds over which processor time is averaged."""
GRACE_NS = 30 * SECOND_NS
"""What a fault of ours changed may take this long to be as it was."""
SETTLED_NS = 5 * SECOND_NS
"""So long after the first sight of them everything that is there has been listed."""
BEAT_NS = SECOND_NS
"""How often load and canary say how they are; to be blind for less is no blindness worth a share."""
WORD = re.compile(r"[\w.-]+")
"""A name in the words that say what a fault is on."""
THROUGH_SERVER = frozenset({"fibre"})
"""Watchers that ask through Focus Server: while a fault has it down they cannot see, and that is no fault of theirs."""


@dataclass(frozen=True)
class _Look:
    """What the checks look at."""

    record: RunRecord
    world: World
    faults: tuple[FaultFinding, ...]
    gaps: tuple[Gap, ...]
    counted: Spans
    """The run without warm-up and drain."""
    arrivals: ArrivalsFinding | None
    streams: StreamsFinding | None

    def inside(self, at_ns: Ints) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        return within(at_ns, self.counted)


@dataclass(frozen=True)
class Check:
    """A named check: its bound, why it is that, and how it is measured (None: the record has nothing of the kind)."""

    name: str
    bound: float
    unit: str
    reason: str
    measure: Callable[[_Look], tuple[float | None, str]]


Said = TypeVar("Said", bound=LoadState | CanarySeen)


def _lag(look: _Look) -> tuple[float | None, str]:
    states = look.record.of(LoadState)
    at_ns, lags = ints(state.at_ns for state in states), ints(state.lag_ns for state in states)
    chosen = lags[look.inside(at_ns)]
    if not len(chosen):
        return None, "the load said nothing of its lateness"
    return float(
        np.quantile(chosen, 0.99)
    ) / SECOND_NS, "lateness of the load's event loop, p99 of the seconds"


def _cpu(look: _Look) -> tuple[float | None, str]:
    means = []
    for states in _by_engine(look, LoadState):
        inside = look.inside(ints(state.at_ns for state in states))
        cpu = np.array([state.cpu for state in states], dtype=np.float64)[inside]
        if len(cpu) >= MEAN_OVER:
            means.append(float(np.convolve(cpu, np.full(MEAN_OVER, 1 / MEAN_OVER), mode="valid").max()))
    if not means:
        return None, "the load said too little of its processor time"
    return max(means), f"processor time of the load, the worst {MEAN_OVER} s"


def _canary(look: _Look) -> tuple[float | None, str]:
    seen = look.record.of(CanarySeen)
    at_ns, lags = ints(one.at_ns for one in seen), ints(one.lag_ns for one in seen)
    chosen = lags[look.inside(at_ns)]
    if not len(chosen):
        return None, "no canary stream was read"
    return float(
        np.quantile(chosen, 0.99)
    ) / SECOND_NS, "a frame of known age was read this late, p99 of the seconds"


def _canary_lost(look: _Look) -> tuple[float | None, str]:
    seen = look.record.of(CanarySeen)
    if not seen:
        return None, "no canary stream was read"
    return float(sum(one.lost for one in seen)), "frames of the canary stream that never came"


def _load_silent(look: _Look) -> tuple[float | None, str]:
    """Measure the longest time without a word: a loop that stands still says nothing, and so its lateness comes late and once."""
    said = _said(look, LoadState)
    if not said and look.record.run.planned_s <= 0:
        return None, "no load was played"
    return _longest_silence_s(said, look.counted), "without a word from the load"


def _canary_silent(look: _Look) -> tuple[float | None, str]:
    """Measure the longest time without a canary; its engine says once that it begins, so one that never sang is missed too."""
    said = _said(look, CanarySeen)
    if not said:
        return None, "the engine had no canary"
    return _longest_silence_s(said, look.counted), "without the canary stream"


def _said(look: _Look, kind: type[LoadState] | type[CanarySeen]) -> list[Ints]:
    return [ints(event.at_ns for event in events) for events in _by_engine(look, kind)]


def _by_engine(look: _Look, kind: type[Said]) -> list[list[Said]]:
    """Return what each engine said of one kind: a load may have several, and none stands in for another.

    The probes of a search for capacity are played one after the other, each by an engine of its own: those are one voice.
    """
    probed = bool(look.record.of(ProbeStarted))
    found: dict[str, list[Said]] = {}
    for record in look.record.records:
        if isinstance(record.event, kind):
            found.setdefault("" if probed else record.writer, []).append(record.event)
    return list(found.values())


def _longest_silence_s(said: list[Ints], counted: Spans) -> float:
    """Return the longest silence of any engine; of nobody, if none ever said a word."""
    return max((_silence_s(said_ns, counted) for said_ns in said or [ints(())]), default=0.0)


def _silence_s(said_ns: Ints, counted: Spans) -> float:
    """Return the longest time in seconds within one of the stretches in which nothing was said."""
    edges = [
        np.concatenate([[start], said_ns[(said_ns > start) & (said_ns < to)], [to]]) for start, to in counted
    ]
    return max((float(np.diff(np.sort(one)).max()) for one in edges), default=0.0) / SECOND_NS


def _clock(look: _Look) -> tuple[float | None, str]:
    ended = look.record.of(RunEnded)
    if not ended:
        return None, "the record has no end"
    return abs(ended[-1].wall_step_s), "the wall clock moved against the run's clock"


def _lost(look: _Look) -> tuple[float | None, str]:
    ended = look.record.of(ProcessEnded)
    lost = {one.process for one in look.record.of(WorkerLost)}
    names = sorted(lost | {one.process for one in ended if died(one)})
    return float(len(names)), f"processes of the run died{': ' + ', '.join(names) if names else ''}"


def _blind(look: _Look) -> tuple[float | None, str]:
    """Measure the watcher that was blind longest, of those that ever saw; an API server that is down blinds nobody of ours."""
    length_ns = sum(to - start for start, to in look.counted)
    if not length_ns:
        return None, "the run has no phase that counts"
    worst = max(_blind_ns(look, look.counted).items(), key=lambda item: item[1], default=("no watcher", 0))
    return worst[1] / length_ns, f"of the time {worst[0]} could not see"


def _fault_blind(look: _Look) -> tuple[float | None, str]:
    """Measure the largest share of the time a fault was in that one of the watchers judging needs could not see."""
    shares = [(0.0, "no watcher", "a fault")]
    held = [(fault.experiment, fault.injected_ns, fault.undone_ns or fault.to_ns) for fault in look.faults]
    windows = [
        (name, start, to) for name, start, to in held if start is not None and to is not None and to > start
    ]
    for experiment, from_ns, to_ns in windows:
        for watcher, blind_ns in _blind_ns(look, ((from_ns, to_ns),)).items():
            if watcher in NEEDED and watcher not in THROUGH_SERVER and blind_ns > BEAT_NS:
                shares.append((blind_ns / (to_ns - from_ns), watcher, experiment))
    if not windows:
        return None, "no fault was in"
    share, watcher, experiment = max(shares)
    return share, f"of {experiment} that {watcher} could not see"


def _blind_ns(look: _Look, spans: Spans) -> dict[str, int]:
    """Return for how long within stretches each watcher that ever saw could not, by itself."""
    silent = look.world.dependencies["kubernetes_api"].steps.equal(DOWN)
    spent: dict[str, int] = {}
    for gap in look.gaps:
        steps = look.world.said_blind.get(gap.watcher)
        if gap.watcher == LEFTOVER_WATCH or steps is None or not (steps.values == 0).any():
            continue
        cut = ((max(start, gap.from_ns), min(to, gap.to_ns)) for start, to in spans)
        for start, to in cut:
            if to > start:
                away = (
                    _overlap(silent.at_ns, silent.values, start, to) if gap.watcher in BEHIND_THE_API else 0
                )
                spent[gap.watcher] = spent.get(gap.watcher, 0) + to - start - away
    return spent


def _overlap(at_ns: Ints, values: Ints, from_ns: int, to_ns: int) -> int:
    """Return for how long within two instants a step function of zeros and ones is 1."""
    edges = np.concatenate([[from_ns], at_ns[(at_ns > from_ns) & (at_ns < to_ns)], [to_ns]])
    level = values[np.searchsorted(at_ns, edges[:-1], side="right")]
    return int((np.diff(edges) * level).sum())


def _not_held(look: _Look) -> tuple[float | None, str]:
    names = sorted({fault.experiment for fault in look.faults if fault.not_held_ns is not None})
    return float(len(names)), f"faults that somebody else ended{': ' + ', '.join(names) if names else ''}"


def _images(look: _Look) -> tuple[float | None, str]:
    """Count roles whose pods came, after the run had begun, with an image that none of them had before."""
    images: dict[str, set[str]] = {}
    changed: set[str] = set()
    first_ns: int | None = None
    for _, pod in look.world.of(PodSeen):
        if pod.exists and pod.image and pod.role in ("focus_server", "stream", "mongodb", "broker", "player"):
            first_ns = pod.at_ns if first_ns is None else first_ns
            known = images.setdefault(pod.role, set())
            if known and pod.image not in known and pod.at_ns > first_ns + SETTLED_NS:
                changed.add(pod.role)
            known.add(pod.image)
    if not images:
        return None, "no image was seen"
    return float(
        len(changed)
    ), f"roles whose image changed{': ' + ', '.join(sorted(changed)) if changed else ''}"


def _nodes(look: _Look) -> tuple[float | None, str]:
    """Count nodes that came, went, or changed their shares while no fault of ours was in that names them."""
    excused = [(set(WORD.findall(fault.target)), _in_ns(look, fault)) for fault in look.faults]
    known: dict[str, NodeSeen] = {}
    changed: set[str] = set()
    first_ns: int | None = None
    for _, node in look.world.of(NodeSeen):
        first_ns = node.at_ns if first_ns is None else first_ns
        settled = node.at_ns > first_ns + SETTLED_NS
        before = known.get(node.node)
        other = (
            before is None or before.exists != node.exists or before.gpu_allocatable != node.gpu_allocatable
        )
        ours = any(node.node in names and start <= node.at_ns < to for names, (start, to) in excused)
        if other and not ours and (before is not None or settled):
            changed.add(node.node)
        known[node.node] = node
    if not known:
        return None, "no node was seen"
    names = f": {', '.join(sorted(changed))}" if changed else ""
    return float(len(changed)), f"nodes that changed under way{names}"


def _in_ns(look: _Look, fault: FaultFinding) -> tuple[int, int]:
    """Return from when to when a fault may show on what it names; nothing for one that was never opened."""
    if fault.opened_ns is None:
        return 0, 0
    return fault.opened_ns, (fault.verified_ns or look.record.end_ns) + GRACE_NS


def _silent(look: _Look) -> tuple[float | None, str]:
    """Measure the longest time without any frame although windows were wanted, no fault was in, and one had come or was due."""
    frames = np.sort(look.record.frames["at_ns"].astype(np.int64))
    states = look.record.of(LoadState)
    accepted_ns = ints(window.at_ns for window in look.record.of(WindowAccepted))
    # A window that never streams was accepted all the same: without any frame the first of those is where it began.
    began = frames if len(frames) else np.sort(accepted_ns)[:1]
    if not len(began) or not any(state.wanted for state in states):
        return None, "no window was accepted, or nothing was wanted"
    in_faults = joined(
        (fault.from_ns, fault.to_ns)
        for fault in look.faults
        if fault.from_ns is not None and fault.to_ns is not None
    )
    wanted_ns, since_ns = _wanted(states)
    chosen = within(wanted_ns, look.counted) & ~within(wanted_ns, in_faults) & (wanted_ns > began[0])
    last = wanted_ns[chosen]
    before = np.maximum(began[np.searchsorted(began, last, side="right") - 1], since_ns[chosen])
    longest = int((last - before).max()) if len(last) else 0
    return longest / SECOND_NS, "without any frame while windows were wanted and no fault was in"


def _wanted(states: Sequence[LoadState]) -> tuple[Ints, Ints]:
    """Return the instants at which windows were wanted, and since when they had been without a pause."""
    at_ns, since_ns = list[int](), list[int]()
    since: int | None = None
    for state in states:
        since = (state.at_ns if since is None else since) if state.wanted else None
        if since is not None:
            at_ns.append(state.at_ns)
            since_ns.append(since)
    return ints(at_ns), ints(since_ns)


def _unaccounted(look: _Look) -> tuple[float | None, str]:
    came = look.arrivals
    if came is None:
        return None, "no arrivals were planned"
    return float(came.unaccounted), f"of {came.planned} planned of which the record does not say what became"


def _withheld(look: _Look) -> tuple[float | None, str]:
    came = look.arrivals
    if came is None:
        return None, "no arrivals were planned"
    whys = [f"{came.late} late", *(f"{count} not offered ({why})" for why, count in came.not_offered.items())]
    return came.withheld / max(
        1, came.planned
    ), f"of the arrivals that did not come as planned: {', '.join(whys)}"


def _transports(look: _Look) -> tuple[float | None, str]:
    return difference(look.streams)


CHECKS: tuple[Check, ...] = (
    Check("generator_lag", 0.5, "s", "later than that, what is measured is ours and not the target's", _lag),
    Check("generator_cpu", 0.9, "cores", "a load that fills its core is late without saying so", _cpu),
    Check("canary_lag", 0.5, "s", "frames that are read this late make every stream look late", _canary),
    Check(
        "canary_lost",
        0,
        "frames",
        "a loop that loses frames of its own machine loses others too",
        _canary_lost,
    ),
    Check(
        "load_silent", 5, "s", "who stood still asked for nothing and read nothing meanwhile", _load_silent
    ),
    Check("canary_silent", 5, "s", "how late frames are read is not known without it", _canary_silent),
    Check("clock_step", 0.5, "s", "records of other tools could not be put beside this one", _clock),
    Check("processes_died", 0, "processes", "what a dead process had to say is missing", _lost),
    Check(
        "blind_share", 0.25, "share", "who looked away a quarter of the time has missed what mattered", _blind
    ),
    Check("fault_blind", 0.5, "share", "who missed half of a fault has not seen what it did", _fault_blind),
    Check("faults_not_held", 0, "faults", "a fault that was not in proves nothing", _not_held),
    Check("images_changed", 0, "roles", "two versions were tested, and neither", _images),
    Check("nodes_changed", 0, "nodes", "the cluster at the end is not the one at the start", _nodes),
    Check(
        "arrivals_lost",
        0,
        "arrivals",
        "what was planned and is in no record may have been anything",
        _unaccounted,
    ),
    Check(
        "arrivals_withheld",
        0.05,
        "share",
        "another load was offered than the one that was planned",
        _withheld,
    ),
    Check(
        "transports_differ",
        0.25,
        "share",
        "what the lean transport shows and the reference does not is its own",
        _transports,
    ),
    Check("silent", 40, "s", "a load that does not stream holds nothing open, whatever it counts", _silent),
)
NAMES: tuple[str, ...] = tuple(check.name for check in CHECKS)


def validity(
    record: RunRecord,
    world: World,
    faults: tuple[FaultFinding, ...],
    gaps: tuple[Gap, ...],
    counted: Spans,
    arrivals: ArrivalsFinding | None = None,
    streams: StreamsFinding | None = None,
) -> ValidityFinding:
    """Check a run; `counted` are its stretches without warm-up and drain. The campaign may have set other bounds."""
    look = _Look(record, world, faults, gaps, counted, arrivals, streams)
    checks = tuple(
        _checked(check, look, record.run.validity.get(check.name, check.bound)) for check in CHECKS
    )
    return ValidityFinding(valid=all(check.status is Status.PASSED for check in checks), checks=checks)


def _checked(check: Check, look: _Look, bound: float) -> ValidityCheck:
    value, what = check.measure(look)
    outside = value is not None and not value <= bound
    shown = "nothing to check" if value is None else f"{value:.3g} {check.unit}"
    sentence = (
        f"{check.name.replace('_', ' ')}: {shown}, {what}; at most {bound:g} {check.unit}: {check.reason}"
    )
    return ValidityCheck(
        name=check.name,
        status=Status.UNJUDGED if outside else Status.PASSED,
        value=value,
        bound=bound,
        default=check.bound,
        unit=check.unit,
        sentence=sentence,
    )


def breaches(found: ValidityFinding) -> Iterable[ValidityCheck]:
    """Return the checks that a run did not pass."""
    return (check for check in found.checks if check.status is not Status.PASSED)
