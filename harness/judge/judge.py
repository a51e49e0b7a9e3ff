"""`judge(run, history) -> Findings`: everything a run's record says, concluded in one pure pass.

Called by conduct at a run's end and by `harness judge` any time later. It reads values, it touches nothing.
"""

from collections import Counter

import numpy as np

from harness.history.events import (
    Drift,
    ExperimentEnded,
    LeftoverSeen,
    LoadState,
    Note,
    Outcome,
    ScenarioSuspended,
)
from harness.history.reader import History
from harness.history.run import RunInfo
from harness.history.samples import Rows
from harness.judge import context, tables
from harness.judge.completeness import deaths, gaps, holes
from harness.judge.counts import disagreements
from harness.judge.faults import fault_findings, windows_of
from harness.judge.findings import (
    DriftFinding,
    ExperimentFinding,
    FaultFinding,
    Findings,
    GeneratorHealth,
    Leftover,
    Limit,
    RefusalGroup,
    Remark,
    RunSummary,
)
from harness.judge.gates import judge_gates
from harness.judge.record import SECOND_NS, RunRecord, outcome_counts, within
from harness.judge.spreads import spreads
from harness.judge.steps import ints
from harness.judge.stops import stop_findings
from harness.judge.verdict import verdict
from harness.judge.world import World
from harness.measures.measure import quantile_s


def judge(run: RunInfo, history: History) -> Findings:
    """Conclude everything from a run's record."""
    record = RunRecord(run, history)
    world = World(record.records, record.attempts, record.end_ns)
    blind_spots = gaps(record)
    faults = fault_findings(record, blind_spots)
    missing = holes(record)
    gates = judge_gates(record, world, faults, missing, blind_spots)
    left = _leftovers(record)
    stops = stop_findings(record)
    ended = record.ended.reason if record.ended else ""
    refusals = _refusals(record, world, faults)
    seconds = tables.seconds_table(record, world)
    below = sum(group.count for group in refusals if group.limit == Limit.BELOW)
    outcomes = outcome_counts(record.creates, record.attempts.texts)
    return Findings(
        run=_summary(record, ended),
        verdict=verdict(run, ended, gates, faults, left, stops),
        gates=gates,
        phases=record.phases,
        by_phase=tables.phase_tables(record, world),
        seconds=seconds,
        creates=len(record.creates),
        outcomes=outcomes,
        refused_503=outcomes.get(Outcome.UNAVAILABLE_503, 0),
        frames=len(record.frames),
        bytes=int(record.frames["bytes"].sum()),
        open_windows=tables.open_windows(record, world, below),
        windows=tables.windows_found(record, world),
        faults=faults,
        experiments=_experiments(record, faults),
        refusals=refusals,
        spreads=spreads(record),
        disagreements=disagreements(seconds),
        gaps=blind_spots,
        incomplete=missing,
        drift=_drift(record),
        leftovers=left,
        deaths=deaths(record),
        generator=_generator(record),
        remarks=_remarks(record),
        stops=stops,
    )


def _summary(record: RunRecord, ended: str) -> RunSummary:
    run = record.run
    return RunSummary(
        run_id=run.run_id,
        campaign=run.campaign,
        target=run.target,
        target_url=run.target_url,
        target_identity=run.target_identity,
        sandbox=run.sandbox,
        harness_version=run.harness_version,
        plan_hash=run.plan_hash,
        seed=run.seed,
        labels=run.labels,
        wall_start=run.wall_start,
        wall_end=run.wall_end,
        planned_s=run.planned_s,
        duration_s=record.end_ns / SECOND_NS,
        ended=ended,
    )


def _refusals(record: RunRecord, world: World, faults: tuple[FaultFinding, ...]) -> tuple[RefusalGroup, ...]:
    """Put every 503 into the group of those that came under the same circumstances."""
    refused = record.creates[record.creates["outcome"] == record.attempts.number(Outcome.UNAVAILABLE_503)]
    if not len(refused):
        return ()
    found = context.contexts(world, record.run.max_windows, refused["sent_ns"], refused["done_ns"])
    experiments = sorted({fault.experiment for fault in faults})
    inside = [within(refused["done_ns"], windows_of(faults, name)) for name in experiments]
    seen = found.keys()
    keys = np.column_stack([seen, *inside]) if inside else seen
    rows, group_of = np.unique(keys, axis=0, return_inverse=True)
    groups = [
        _group(record, world, found, refused, np.flatnonzero(group_of.ravel() == number), experiments, row)
        for number, row in enumerate(rows)
    ]
    return tuple(sorted(groups, key=lambda group: (-group.count, group.first_ns)))


def _group(
    record: RunRecord,
    world: World,
    found: context.Contexts,
    refused: Rows,
    chosen: np.ndarray[tuple[int], np.dtype[np.int64]],
    experiments: list[str],
    row: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> RefusalGroup:
    width = len(row) - len(experiments)
    said = context.circumstances(row[:width], world)
    first_ns = int(refused["done_ns"][chosen[0]])
    return RefusalGroup(
        suggests=said.suggests,
        limit=said.limit,
        shares=said.shares,
        down=said.down,
        blind=said.blind,
        during=tuple(name for name, flag in zip(experiments, row[width:], strict=True) if flag),
        count=len(chosen),
        first_ns=first_ns,
        last_ns=int(refused["done_ns"][chosen[-1]]),
        open=context.interval(found, chosen),
        body=record.attempts.texts[int(refused["body"][chosen[0]])] if record.attempts.texts else "",
        evidence=context.evidence(world, said, first_ns),
    )


def _experiments(record: RunRecord, faults: tuple[FaultFinding, ...]) -> tuple[ExperimentFinding, ...]:
    ended = record.of(ExperimentEnded)
    planned = Counter(step.experiment for step in record.run.steps)
    names = dict.fromkeys([*planned, *(f.experiment for f in faults), *(e.experiment for e in ended)])
    return tuple(
        ExperimentFinding(
            experiment=name,
            planned=planned[name],
            injected=sum(f.experiment == name and f.injected_ns is not None for f in faults),
            statuses=tuple(e.status for e in ended if e.experiment == name),
            deviated=sum(e.deviated for e in ended if e.experiment == name),
        )
        for name in names
    )


def _drift(record: RunRecord) -> tuple[DriftFinding, ...]:
    quirks: dict[str, list[Drift]] = {}
    for drift in record.of(Drift):
        quirks.setdefault(drift.quirk, []).append(drift)
    return tuple(
        DriftFinding(quirk=quirk, detail=seen[0].detail, first_ns=seen[0].at_ns, count=len(seen))
        for quirk, seen in quirks.items()
    )


def _leftovers(record: RunRecord) -> tuple[Leftover, ...]:
    return tuple(
        Leftover(object_kind=left.object_kind, name=left.name, owner=left.owner, at_ns=left.at_ns)
        for left in record.of(LeftoverSeen)
    )


def _generator(record: RunRecord) -> GeneratorHealth:
    states = record.of(LoadState)
    suspended = len(record.of(ScenarioSuspended))
    if not states:
        return GeneratorHealth(
            cpu_mean=None, cpu_max=None, lag_p99_s=None, lag_max_s=None, suspended=suspended
        )
    cpu = [state.cpu for state in states]
    lags = ints(state.lag_ns for state in states)
    return GeneratorHealth(
        cpu_mean=sum(cpu) / len(cpu),
        cpu_max=max(cpu),
        lag_p99_s=quantile_s(lags, 0.99),
        lag_max_s=int(lags.max()) / SECOND_NS,
        suspended=suspended,
    )


def _remarks(record: RunRecord) -> tuple[Remark, ...]:
    return tuple(
        Remark(at_ns=note.at_ns, level=note.level, text=note.text)
        for note in record.of(Note)
        if note.level in ("warning", "error")
    )
