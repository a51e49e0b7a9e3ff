"""Judge the gates of a run, and the one on the record's completeness that is always added.

Called by judge. A gate looks at phases, or at an experiment's window (`fault:kill-mongo`: from injected to recovered); with
neither it looks at everything but warm-up and drain, or at the whole run where its measure says so.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from msgspec.structs import replace as replace_in

from harness.history.events import AuditSeen, LeftoverSeen, Phase, WatcherState, WindowClosed
from harness.history.run import GatePlan
from harness.judge.faults import recoveries, windows_of
from harness.judge.findings import (
    AdmissionFinding,
    CapacityFinding,
    CapacitySearch,
    FaultFinding,
    Gap,
    GateFinding,
    ReclaimFinding,
    RecoveryFinding,
    Status,
    StreamsFinding,
    ValidityFinding,
)
from harness.judge.record import COUNTED, SECOND_NS, RunRecord, Spans, joined
from harness.judge.steps import ints
from harness.judge.validity import breaches
from harness.judge.world import World
from harness.measures.catalogue import BY_NAME, LEFTOVER_WATCH, OURS, UNKNOWN
from harness.measures.gate import OPS, bounds_status, gate_status
from harness.measures.measure import Measure, Measured, measure
from harness.measures.portion import Portion, Recovered

FAULT = "fault:"
GAPS_TOLD = LEAKS_TOLD = 5
CAPACITY = "capacity"
SOUGHT_UNITS = {"windows": "windows", "creates": "creates", "rate": "windows/s"}


@dataclass(frozen=True)
class Concluded:
    """What judging has concluded before the gates, and measures are made of."""

    causes: Callable[[Spans], dict[str, int]]
    """Counts the failures within stretches of time by their primary cause."""
    admission: AdmissionFinding
    validity: ValidityFinding
    recoveries: tuple[RecoveryFinding, ...] = ()
    reclaim: ReclaimFinding | None = None
    streams: StreamsFinding | None = None
    capacity: CapacityFinding | None = None


COMPLETENESS = GatePlan(name="the record is complete", measure="record_holes", op="==", limit=0)
VALIDITY = GatePlan(name="the run proves something", measure="validity_breaches", op="==", limit=0)
NO_LEAKS = GatePlan(name="nothing of ours is left behind", measure="leaks", op="==", limit=0)
OWN_FRAMES = GatePlan(
    name="no window was given another job's frames",
    measure="windows",
    of="foreign_stream",
    op="==",
    limit=0,
    min_samples=0,
    during=tuple(phase.value for phase in Phase),
)


def judge_gates(
    record: RunRecord,
    world: World,
    faults: tuple[FaultFinding, ...],
    holes: tuple[str, ...],
    gaps: tuple[Gap, ...],
    concluded: Concluded,
) -> tuple[GateFinding, ...]:
    """Return the planned gates judged, in their order, then those that no campaign can switch off; completeness is the last."""
    bench = _Bench(record, world, faults, holes, concluded)
    planned = [bench.judge(gate) for gate in record.run.gates]
    complete = bench.judge(COMPLETENESS, built_in=True)
    if gaps:
        complete = replace_in(complete, reason=f"{complete.reason}; {_gaps_in_words(gaps)}")
    valid = _of_validity(bench.judge(VALIDITY, built_in=True), concluded.validity)
    own = [replace_in(bench.judge(OWN_FRAMES, built_in=True), during=())] if record.of(WindowClosed) else []
    if valid.status is not Status.PASSED:
        planned = [_of_an_invalid_run(gate) for gate in planned]
    found = _of_capacity(record, concluded.capacity)
    return (*planned, *found, *_of_leaks(record, bench), *own, valid, complete)


def _of_capacity(record: RunRecord, found: CapacityFinding | None) -> list[GateFinding]:
    """Return a gate for each search that nothing is required of: that its edge was found. Not found is not failed."""
    required = {gate.of for gate in record.run.gates if gate.measure == CAPACITY}
    searches = found.searches if found is not None else ()
    return [
        GateFinding(
            name=f"the capacity of {one.sought} is found",
            measure=CAPACITY,
            of=one.sought,
            during=(),
            op=">=",
            limit=one.value,
            min_samples=1,
            status=Status.PASSED if one.converged else Status.UNJUDGED,
            value=one.value,
            samples=sum(level.probes for level in one.levels),
            unit=SOUGHT_UNITS[one.sought],
            reason=capacity_in_words(one),
            built_in=True,
        )
        for one in searches
        if one.sought not in required
    ]


def capacity_in_words(found: CapacitySearch) -> str:
    """Return what a search found, as a sentence without its end."""
    held = f"{found.value:.4g} {found.unit} were held" if found.value else "no level was shown to be held"
    if found.above is None:
        beyond = "no more was allowed" if found.converged else "nothing above was shown"
    else:
        beyond = f"{found.above:.4g} were not"
    edge = "" if found.converged else ", and the edge between was not found in the time there was"
    return f"{held}, {beyond}{edge}"


def _of_an_invalid_run(gate: GateFinding) -> GateFinding:
    """Return a campaign's gate on a run that proves nothing: it has not failed there either."""
    if gate.status is not Status.FAILED:
        return gate
    return replace_in(gate, status=Status.UNJUDGED, reason=f"{gate.reason}, on a run that proves nothing")


def _of_leaks(record: RunRecord, bench: "_Bench") -> list[GateFinding]:
    """Return the gate on leaks: of every run that had a cluster and came to its end, unless its campaign leaks on purpose."""
    audited = bool(record.of(AuditSeen)) or any(
        state.watcher == LEFTOVER_WATCH for state in record.of(WatcherState)
    )
    if not audited or not record.run.leak_gate:
        return []
    gate = bench.judge(NO_LEAKS, built_in=True)
    left = [one for owners in (OURS, (UNKNOWN,)) for one in record.of(LeftoverSeen) if one.owner in owners]
    unseen = [f"{one.object_kind} ({one.detail})" for one in record.of(AuditSeen) if not one.seen]
    told = [f"{one.object_kind} {one.name}, made by {one.made_by or one.owner}" for one in left[:LEAKS_TOLD]]
    told += [f"{len(left) - LEAKS_TOLD} more"] if len(left) > LEAKS_TOLD else []
    told += [f"nobody could look for: {', '.join(unseen)}"] if unseen else []
    return [replace_in(gate, reason=f"{gate.reason}: {'; '.join(told)}") if told else gate]


def _of_validity(gate: GateFinding, found: ValidityFinding) -> GateFinding:
    """Return the gate on validity: a run outside its bounds has not failed, it cannot be judged."""
    told = [check.sentence for check in breaches(found)]
    if not told:
        return gate
    return replace_in(gate, status=Status.UNJUDGED, reason=f"this run proves nothing: {'; '.join(told)}")


class _Bench:
    def __init__(
        self,
        record: RunRecord,
        world: World,
        faults: tuple[FaultFinding, ...],
        holes: tuple[str, ...],
        concluded: Concluded,
    ) -> None:
        self._record = record
        self._world = world
        self._faults = faults
        self._holes = holes
        self._concluded = concluded
        self._portions: dict[Spans, Portion] = {}

    def judge(self, gate: GatePlan, *, built_in: bool = False) -> GateFinding:
        definition = BY_NAME.get(gate.measure)
        measured, why = Measured(None, 0), ""
        if definition is None:
            why = f"there is no measure {gate.measure!r}"
        elif gate.op not in OPS:
            why = f"there is no comparison {gate.op!r}"
        else:
            spans, why = self._spans(gate, definition)
            if not why:
                measured = measure(definition, [self._portion(spans)], gate.of)
        status = gate_status(measured, gate.op, gate.limit, gate.min_samples)
        search = self._search(gate)
        if search is not None:
            status = bounds_status(search.value, search.top, gate.op, gate.limit)
            why = why or capacity_in_words(search)
        return GateFinding(
            name=gate.name,
            measure=gate.measure,
            of=gate.of,
            during=gate.during,
            op=gate.op,
            limit=gate.limit,
            min_samples=gate.min_samples,
            status=status,
            value=measured.value,
            samples=measured.samples,
            unit=SOUGHT_UNITS[search.sought] if search else definition.unit if definition else "",
            reason=why or _reason(gate, measured, status, self._holes if gate is COMPLETENESS else ()),
            built_in=built_in,
        )

    def _search(self, gate: GatePlan) -> CapacitySearch | None:
        found = self._concluded.capacity
        searches = found.searches if found is not None and gate.measure == CAPACITY else ()
        return next((one for one in searches if one.sought == gate.of and one.levels), None)

    def _spans(self, gate: GatePlan, definition: Measure[Any]) -> tuple[Spans, str]:
        """Return the stretches a gate looks at, or why there are none to look at."""
        if not gate.during:
            if definition.whole_run:
                return self._record.whole, ""
            return self._record.spans_of(COUNTED), ""
        parts: list[tuple[int, int]] = []
        for name in gate.during:
            if name.startswith(FAULT):
                experiment = name.removeprefix(FAULT)
                acted = [fault for fault in self._faults if fault.experiment == experiment]
                lost = [fault for fault in acted if fault.not_held_ns is not None]
                if lost:
                    return (
                        (),
                        f"{experiment} was not held: somebody else ended the fault, so it proves nothing",
                    )
                parts += windows_of(acted, experiment)
            elif name in set(Phase):
                parts += self._record.spans_of([Phase(name)])
            else:
                return (), f"{name!r} is neither a phase nor fault:<experiment>"
        return joined(parts), "" if parts else f"the run has no {' or '.join(gate.during)}"

    def _portion(self, spans: Spans) -> Portion:
        if spans not in self._portions:
            from_ns, to_ns = ints(span[0] for span in spans), ints(span[1] - 1 for span in spans)
            windows = self._world.windows
            self._portions[spans] = replace(
                self._record.portion(spans),
                open_certain=int(windows.certain.highest(from_ns, to_ns).max()) if spans else None,
                open_possible=int(windows.possible.highest(from_ns, to_ns).max()) if spans else None,
                recoveries=recoveries(self._faults),
                causes=self._concluded.causes(spans),
                violations=_violations(self._concluded.admission),
                breaches=sum(1 for _ in breaches(self._concluded.validity)),
                recovered=tuple(_recovered(one, self._faults) for one in self._concluded.recoveries),
                figures=_figures(self._concluded.reclaim, self._concluded.streams, self._concluded.capacity),
                holes=self._holes,
            )
        return self._portions[spans]


def _recovered(one: RecoveryFinding, faults: tuple[FaultFinding, ...]) -> Recovered:
    fault = next(fault for fault in faults if fault.entry == one.entry)
    baseline_s = None
    if fault.first_effect_ns is not None and fault.undone_ns is not None and fault.baseline_success:
        baseline_s = float("inf") if fault.baseline_after_s is None else fault.baseline_after_s
    return Recovered(
        experiment=one.experiment,
        baseline_after_s=baseline_s,
        streams=one.streams_running,
        interrupted=one.streams_interrupted,
        errors=one.errors,
        dirty=one.dirty_errors,
    )


def _figures(
    reclaimed: ReclaimFinding | None, streams: StreamsFinding | None, found: CapacityFinding | None
) -> dict[str, tuple[float, int]]:
    """Return what was concluded of the whole run, as measures: value, and from how many windows, frames or probes."""
    told: dict[str, tuple[float | None, int]] = {
        f"{CAPACITY} of {one.sought}": (one.value, sum(level.probes for level in one.levels))
        for one in (found.searches if found is not None else ())
        if one.levels
    }
    if reclaimed is not None:
        told |= {
            "reclaim_p50": (reclaimed.reclaim_p50_s, reclaimed.windows),
            "reclaim_p95": (reclaimed.reclaim_p95_s, reclaimed.windows),
            "sustainable_rate": (reclaimed.sustainable_per_s, reclaimed.windows),
        }
    if streams is not None:
        fleet = streams.fleet
        told |= {
            "stream_gap_p99": (fleet.gap_p99_s, fleet.frames),
            "stream_stalls": (float(fleet.stalls), fleet.frames),
            "rows_lost": (float(fleet.lost_rows), fleet.frames),
        }
    return {name: (value, samples) for name, (value, samples) in told.items() if value is not None}


def _violations(found: AdmissionFinding) -> dict[str, int] | None:
    """Return the violations of the admission limit by kind; None where it could not be judged."""
    if found.status is Status.UNJUDGED:
        return None
    return {one.kind: one.count for one in found.violations}


def _gaps_in_words(gaps: tuple[Gap, ...]) -> str:
    """Return the blind spots, which are no holes: the record says itself who could not see when."""
    told = [
        f"{gap.watcher} {gap.from_ns / SECOND_NS:.1f}-{gap.to_ns / SECOND_NS:.1f} s"
        for gap in gaps[:GAPS_TOLD]
    ]
    more = [f"{len(gaps) - GAPS_TOLD} more"] if len(gaps) > GAPS_TOLD else []
    return f"not seen: {', '.join([*told, *more])}"


def _reason(gate: GatePlan, measured: Measured, status: Status, missing: tuple[str, ...]) -> str:
    where = f" during {', '.join(gate.during)}" if gate.during else ""
    what = f"{gate.measure} of {gate.of}" if gate.of else gate.measure
    if status == Status.UNJUDGED:
        need = max(1, gate.min_samples)
        return f"{what}{where}: {measured.samples} samples, {need} needed to judge"
    said = f"{what}{where} is {_shown(measured.value)}, must be {gate.op} {gate.limit:g} ({measured.samples} samples)"
    return f"{said}: {'; '.join(missing)}" if missing else said


def _shown(value: float | None) -> str:
    return "never" if value is not None and math.isinf(value) else f"{value:.6g}"
