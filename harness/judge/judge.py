"""`judge(run, history) -> Findings`: everything a run's record says, concluded in one pure pass.

Called by conduct at a run's end and by `harness judge` any time later. It reads values, it touches nothing.
"""

from collections import Counter

import msgspec
import numpy as np

from harness.history.events import (
    AuditSeen,
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
from harness.judge import tables
from harness.judge.admission import Refusals, Spans, admission
from harness.judge.arrivals import arrivals
from harness.judge.blame import UNEXPLAINED, VERSION, Blames, blame
from harness.judge.blame.groups import by_cause, cited, groups_of
from harness.judge.capacity import capacity
from harness.judge.completeness import deaths, gaps, holes
from harness.judge.counts import disagreements
from harness.judge.faults import fault_findings, windows_of
from harness.judge.findings import (
    AdmissionFinding,
    AuditRow,
    DriftFinding,
    ExperimentFinding,
    FaultFinding,
    Findings,
    GeneratorHealth,
    Leftover,
    Limit,
    Remark,
    RunSummary,
)
from harness.judge.gates import Concluded, judge_gates
from harness.judge.own import own
from harness.judge.reclaim import reclaim
from harness.judge.record import COUNTED, SECOND_NS, RunRecord, outcome_counts
from harness.judge.recovery import recoveries
from harness.judge.spreads import spreads
from harness.judge.steps import ints
from harness.judge.stops import stop_findings
from harness.judge.streams import streams
from harness.judge.sweep import sweep
from harness.judge.validity import validity
from harness.judge.verdict import verdict
from harness.judge.world import World
from harness.measures.catalogue import OURS
from harness.measures.measure import quantile_s

LIMITING = ("max_windows", UNEXPLAINED)
"""What the limit answers for when a refusal takes long: a refusal for another cause takes as long as that cause lets it."""


def judge(run: RunInfo, history: History) -> Findings:
    """Conclude everything from a run's record."""
    record = RunRecord(run, history)
    world = World(record.records, record.attempts, record.end_ns)
    blind_spots = gaps(record)
    faults = fault_findings(record, blind_spots)
    missing = holes(record)
    blames = blame(record, world)
    admitted = _admission(record, world, blames)
    back = recoveries(record, world, faults, lambda start, end: by_cause(blames, ((start, end),)))
    reclaimed = reclaim(record, world)
    came, streamed = arrivals(record), streams(record)
    valid = validity(record, world, faults, blind_spots, record.spans_of(COUNTED), came, streamed)
    sustained = capacity(record)
    concluded = Concluded(
        lambda spans: by_cause(blames, spans), admitted, valid, back, reclaimed, streamed, sustained
    )
    gates = judge_gates(record, world, faults, missing, blind_spots, concluded)
    left = _leftovers(record)
    stops = stop_findings(record)
    ended = record.ended.reason if record.ended else ""
    experiments = sorted({fault.experiment for fault in faults})
    acted = {name: windows_of(faults, name) for name in experiments}
    failures = groups_of(record, world, blames, acted)
    seconds = tables.seconds_table(record, world)
    below = sum(group.refused_503 for group in failures if group.limit == Limit.BELOW)
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
        admission=admitted,
        windows=tables.windows_found(record, world),
        faults=faults,
        recoveries=back,
        reclaim=reclaimed,
        capacity=sustained,
        experiments=_experiments(record, faults),
        failures=failures,
        cited=cited(record.records, (one for group in failures for one in group.evidence)),
        blame_version=VERSION,
        spreads=spreads(record),
        arrivals=came,
        streams=streamed,
        own=own(record),
        disagreements=disagreements(seconds),
        gaps=blind_spots,
        incomplete=missing,
        drift=_drift(record),
        leftovers=left,
        audit=_audit(record, left),
        deaths=deaths(record),
        generator=_generator(record),
        validity=valid,
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


def _admission(record: RunRecord, world: World, blames: Blames) -> AdmissionFinding:
    creates, windows = blames.creates, world.windows
    refused = creates.refused
    unexplained = blames.primary[: len(creates)] == blames.causes.index(UNEXPLAINED)
    sent_ns, done_ns = (each[refused].astype(np.int64) for each in (creates.sent_ns, creates.done_ns))
    by_limit = np.isin(blames.primary[: len(creates)], [blames.causes.index(one) for one in LIMITING])[
        refused
    ]
    refusals = Refusals(
        sent_ns,
        done_ns,
        ~unexplained[refused],
        creates.rows["window"][refused].astype(np.int64),
        np.where(by_limit, done_ns - sent_ns - world.engine_lag.highest(sent_ns, done_ns), 0),
    )
    lost = ints(window.number for window in windows.unknown)
    broke = [record.attempts.number(outcome) for outcome in (Outcome.SERVER_5XX, Outcome.PARSE_500)]
    rows = record.creates[np.isin(record.creates["window"], lost) | np.isin(record.creates["outcome"], broke)]
    unclear = Spans(rows["sent_ns"].astype(np.int64), rows["done_ns"].astype(np.int64))
    found = admission(
        windows.holds,
        refusals,
        limit=record.run.max_windows,
        sighted=windows.foreign is not None and world.sees_slots,
        blind_share=world.slots_blind_share,
        end_ns=record.end_ns,
        unclear=unclear,
    )
    if record.run.max_windows is None:
        return msgspec.structs.replace(found, sweep=sweep(record, world))
    proof = (line for violation in found.violations for line in violation.proof)
    shown = cited(record.records, (one for line in proof for one in line.evidence))
    return msgspec.structs.replace(found, cited=shown)


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
        Leftover(
            object_kind=left.object_kind,
            name=left.name,
            owner=left.owner,
            at_ns=left.at_ns,
            job_id=left.job_id,
            made_by=left.made_by,
        )
        for left in record.of(LeftoverSeen)
    )


def _audit(record: RunRecord, left: tuple[Leftover, ...]) -> tuple[AuditRow, ...]:
    ours = Counter(one.object_kind for one in left if one.owner in OURS)
    return tuple(
        AuditRow(
            object_kind=seen.object_kind,
            before=seen.before,
            after=seen.after,
            later=seen.later,
            ours=ours[seen.object_kind],
            seen=seen.seen,
            detail=seen.detail,
        )
        for seen in record.of(AuditSeen)
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
