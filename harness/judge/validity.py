"""Whether a run proves anything: the load was not too slow, the clocks agree, somebody was looking, nothing changed under way.

Called by judge. A run outside its bounds is unjudged, whatever its gates say. Here what was injected may be looked at: a node set that a
fault of ours changed is no surprise.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from harness.history.events import (
    CanarySeen,
    FaultChanged,
    FaultStep,
    LoadState,
    NodeSeen,
    PodSeen,
    ProcessEnded,
    RunEnded,
)
from harness.judge.findings import FaultFinding, Gap, Status, ValidityCheck, ValidityFinding
from harness.judge.record import SECOND_NS, RunRecord, Spans, joined, within
from harness.judge.sightings import DOWN
from harness.judge.steps import Ints, ints
from harness.judge.world import BEHIND_THE_API, World
from harness.measures.catalogue import LEFTOVER_WATCH, died

MEAN_OVER = 10
"""Seconds over which processor time is averaged."""
GRACE_NS = 30 * SECOND_NS
"""What a fault of ours changed may take this long to be as it was."""


@dataclass(frozen=True)
class _Look:
    """What the checks look at."""

    record: RunRecord
    world: World
    faults: tuple[FaultFinding, ...]
    gaps: tuple[Gap, ...]
    counted: Spans
    """The run without warm-up and drain."""

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
    states = look.record.of(LoadState)
    inside = look.inside(ints(state.at_ns for state in states))
    cpu = np.array([state.cpu for state in states], dtype=np.float64)[inside]
    if len(cpu) < MEAN_OVER:
        return None, "the load said too little of its processor time"
    means = np.convolve(cpu, np.full(MEAN_OVER, 1 / MEAN_OVER), mode="valid")
    return float(means.max()), f"processor time of the load, the worst {MEAN_OVER} s"


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


def _clock(look: _Look) -> tuple[float | None, str]:
    ended = look.record.of(RunEnded)
    if not ended:
        return None, "the record has no end"
    return abs(ended[-1].wall_step_s), "the wall clock moved against the run's clock"


def _lost(look: _Look) -> tuple[float | None, str]:
    ended = look.record.of(ProcessEnded)
    names = sorted({one.process for one in ended if died(one)})
    return float(len(names)), f"processes of the run died{': ' + ', '.join(names) if names else ''}"


def _blind(look: _Look) -> tuple[float | None, str]:
    """Measure the watcher that was blind longest, of those that ever saw; an API server that is down blinds nobody of ours."""
    length_ns = sum(to - start for start, to in look.counted)
    silent = look.world.dependencies["kubernetes_api"].steps.equal(DOWN)
    spent: dict[str, int] = {}
    for gap in look.gaps:
        steps = look.world.said_blind.get(gap.watcher)
        if gap.watcher == LEFTOVER_WATCH or steps is None or not (steps.values == 0).any():
            continue
        edges = [edge for start, to in look.counted for edge in (max(start, gap.from_ns), min(to, gap.to_ns))]
        pairs = [(start, to) for start, to in zip(edges[::2], edges[1::2], strict=True) if to > start]
        for start, to in pairs:
            away = _overlap(silent.at_ns, silent.values, start, to) if gap.watcher in BEHIND_THE_API else 0
            spent[gap.watcher] = spent.get(gap.watcher, 0) + to - start - away
    if not length_ns:
        return None, "the run has no phase that counts"
    worst = max(spent.items(), key=lambda item: item[1], default=("no watcher", 0))
    return worst[1] / length_ns, f"of the time {worst[0]} could not see"


def _overlap(at_ns: Ints, values: Ints, from_ns: int, to_ns: int) -> int:
    """Return for how long within two instants a step function of zeros and ones is 1."""
    edges = np.concatenate([[from_ns], at_ns[(at_ns > from_ns) & (at_ns < to_ns)], [to_ns]])
    level = values[np.searchsorted(at_ns, edges[:-1], side="right")]
    return int((np.diff(edges) * level).sum())


def _not_held(look: _Look) -> tuple[float | None, str]:
    names = sorted({fault.experiment for fault in look.faults if fault.not_held_ns is not None})
    return float(len(names)), f"faults that somebody else ended{': ' + ', '.join(names) if names else ''}"


def _images(look: _Look) -> tuple[float | None, str]:
    """Count roles whose pods came with another image than before."""
    images: dict[str, set[str]] = {}
    for _, pod in look.world.of(PodSeen):
        if pod.exists and pod.image and pod.role in ("focus_server", "stream", "mongodb", "broker", "player"):
            images.setdefault(pod.role, set()).add(pod.image)
    changed = sorted(role for role, seen in images.items() if len(seen) > 1)
    if not images:
        return None, "no image was seen"
    return float(len(changed)), f"roles whose image changed{': ' + ', '.join(changed) if changed else ''}"


def _nodes(look: _Look) -> tuple[float | None, str]:
    """Count nodes that came, went, or changed their shares while no fault of ours was in."""
    ours = joined(
        (change.at_ns, change.at_ns + GRACE_NS)
        for change in look.record.of(FaultChanged)
        if change.step in (FaultStep.OPENED, FaultStep.INJECTED, FaultStep.UNDONE, FaultStep.VERIFIED)
    )
    held = joined(
        (fault.opened_ns, (fault.verified_ns or look.record.end_ns) + GRACE_NS)
        for fault in look.faults
        if fault.opened_ns is not None
    )
    known: dict[str, NodeSeen] = {}
    changed: set[str] = set()
    settled = False
    for _, node in look.world.of(NodeSeen):
        settled = settled or node.at_ns > 5 * SECOND_NS
        before = known.get(node.node)
        other = (
            before is None or before.exists != node.exists or before.gpu_allocatable != node.gpu_allocatable
        )
        excused = bool(within(ints([node.at_ns]), joined([*ours, *held]))[0])
        if other and not excused and (before is not None or settled):
            changed.add(node.node)
        known[node.node] = node
    if not known:
        return None, "no node was seen"
    return float(
        len(changed)
    ), f"nodes that changed under way{': ' + ', '.join(sorted(changed)) if changed else ''}"


def _silent(look: _Look) -> tuple[float | None, str]:
    """Measure the longest time without any frame although windows were wanted, no fault was in, and frames had come before."""
    frames = np.sort(look.record.frames["at_ns"].astype(np.int64))
    states = look.record.of(LoadState)
    if not len(frames) or not any(state.wanted for state in states):
        return None, "nothing streamed, or nothing was wanted"
    in_faults = joined(
        (fault.from_ns, fault.to_ns)
        for fault in look.faults
        if fault.from_ns is not None and fault.to_ns is not None
    )
    longest = 0
    for start, to in look.counted:
        wanted_ns = [state.at_ns for state in states if state.wanted and start <= state.at_ns < to]
        wanted = [at for at in wanted_ns if at > frames[0] and not within(ints([at]), in_faults)[0]]
        last = ints(wanted)
        if len(last):
            before = frames[np.maximum(np.searchsorted(frames, last, side="right") - 1, 0)]
            longest = max(longest, int((last - before).max()))
    return longest / SECOND_NS, "without any frame while windows were wanted and no fault was in"


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
    Check("clock_step", 0.5, "s", "records of other tools could not be put beside this one", _clock),
    Check("processes_died", 0, "processes", "what a dead process had to say is missing", _lost),
    Check(
        "blind_share", 0.25, "share", "who looked away a quarter of the time has missed what mattered", _blind
    ),
    Check("faults_not_held", 0, "faults", "a fault that was not in proves nothing", _not_held),
    Check("images_changed", 0, "roles", "two versions were tested, and neither", _images),
    Check("nodes_changed", 0, "nodes", "the cluster at the end is not the one at the start", _nodes),
    Check("silent", 40, "s", "a load that does not stream holds nothing open, whatever it counts", _silent),
)
NAMES: tuple[str, ...] = tuple(check.name for check in CHECKS)


def validity(
    record: RunRecord, world: World, faults: tuple[FaultFinding, ...], gaps: tuple[Gap, ...], counted: Spans
) -> ValidityFinding:
    """Check a run; `counted` are its stretches without warm-up and drain. The campaign may have set other bounds."""
    look = _Look(record, world, faults, gaps, counted)
    checks = tuple(
        _checked(check, look, record.run.validity.get(check.name, check.bound)) for check in CHECKS
    )
    return ValidityFinding(valid=all(check.status is Status.PASSED for check in checks), checks=checks)


def _checked(check: Check, look: _Look, bound: float) -> ValidityCheck:
    value, what = check.measure(look)
    outside = value is not None and value > bound
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
