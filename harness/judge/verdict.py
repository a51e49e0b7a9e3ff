"""The run's ending: word, exit code and reasons; and the document other programs read (`verdict.json`, `schema: 1`).

Called by judge and by whoever writes the file (cli, conduct). Which ending wins when several apply is `errors.PRECEDENCE`.
"""

import msgspec

from harness.errors import RETRY_MAKES_SENSE, Exit, gravest
from harness.history.run import RunInfo
from harness.judge.completeness import PLANNED
from harness.judge.findings import (
    FaultFinding,
    Findings,
    GateFinding,
    Leftover,
    Status,
    StopFinding,
    Verdict,
)
from harness.judge.stops import endings_of

STOPPED = "stopped"
OWN_ENDINGS = frozenset({Exit.FAILED, Exit.UNJUDGED, Exit.OK})
"""Endings that judging finds out anew; the conductor's other ones are taken from run.json."""


def verdict(
    run: RunInfo,
    ended: str,
    gates: tuple[GateFinding, ...],
    faults: tuple[FaultFinding, ...],
    leftovers: tuple[Leftover, ...],
    stops: tuple[StopFinding, ...] = (),
) -> Verdict:
    """Return how the run ended, gravest reason first."""
    stopped = endings_of(stops)
    conducted = _conducted(run, ended, by_condition=bool(stopped))
    endings = [
        *conducted,
        *stopped,
        *_faults(faults),
        *_left(leftovers),
        *_gates(gates, cut_short=bool(stopped)),
    ]
    code = gravest(ending for ending, _ in endings)
    order = [code, *(ending for ending in Exit if ending != code)]
    reasons = tuple(text for _, text in sorted(endings, key=lambda ending: order.index(ending[0])))
    if code == Exit.OK:
        reasons = (f"all {len(gates)} gates passed" if len(gates) > 1 else "the only gate passed",)
    unjudged = code in (Exit.UNJUDGED, Exit.STOPPED)
    return Verdict(
        status=Status.PASSED if code == Exit.OK else Status.UNJUDGED if unjudged else Status.FAILED,
        exit_code=code,
        reason=reasons[0],
        reasons=reasons,
        retry_makes_sense=code in RETRY_MAKES_SENSE,
    )


def _conducted(run: RunInfo, ended: str, *, by_condition: bool) -> list[tuple[Exit, str]]:
    """What the conductor knew before judging; that a stop condition ended the run is told by the condition itself."""
    if run.exit_code is not None and run.exit_code in set(Exit) - OWN_ENDINGS:
        return [(Exit(run.exit_code), run.exit_reason or f"the run ended: {ended}")]
    if ended == STOPPED:
        return [(Exit.STOPPED, "the run was stopped from outside; what was injected is undone")]
    if ended and ended != PLANNED and not by_condition:
        return [(Exit.FAILED, f"the run ended early: {ended}")]
    return []


def _faults(faults: tuple[FaultFinding, ...]) -> list[tuple[Exit, str]]:
    found = []
    for fault in faults:
        what = f"{fault.fault} ({fault.experiment}) on {fault.target}" if fault.target else fault.fault
        if fault.verified_ns is not None:
            if fault.failed and fault.injected_ns is None:
                found.append((Exit.INJECTION, f"{what} could not be injected: {fault.failed}; it is undone"))
            continue
        if fault.injected_ns is not None:
            why = f": {fault.failed}" if fault.failed else ""
            found.append(
                (
                    Exit.BROKEN,
                    f"{what} may still be broken, its undoing is not verified{why}; run `harness undo`",
                )
            )
        elif fault.failed:
            found.append((Exit.INJECTION, f"{what} could not be injected: {fault.failed}"))
    return found


def _left(leftovers: tuple[Leftover, ...]) -> list[tuple[Exit, str]]:
    ours = [left for left in leftovers if left.owner == "fault"]
    if not ours:
        return []
    names = ", ".join(f"{left.object_kind} {left.name}" for left in ours)
    return [(Exit.BROKEN, f"a fault left something behind: {names}; run `harness undo`")]


def _gates(gates: tuple[GateFinding, ...], *, cut_short: bool) -> list[tuple[Exit, str]]:
    """Return the gates' endings. What a run that was cut short did not reach is not judged: it might have got there."""
    failed = [
        (Exit.UNJUDGED, f"gate not reached, the run was cut short: {g.name}: {g.reason}")
        if cut_short and g.value is not None and g.value < g.limit
        else (Exit.FAILED, f"gate failed: {g.name}: {g.reason}")
        for g in gates
        if g.status == Status.FAILED
    ]
    blind = [
        (Exit.UNJUDGED, f"gate not judged: {g.name}: {g.reason}")
        for g in gates
        if g.status == Status.UNJUDGED
    ]
    return failed + blind


class GateVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One gate in verdict.json."""

    name: str
    measure: str
    of: str
    during: tuple[str, ...]
    op: str
    limit: float
    min_samples: int
    status: Status
    value: float | None
    """Null when there was nothing to measure, or when what was waited for never came."""
    samples: int
    unit: str
    reason: str


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The run in a few numbers, in verdict.json."""

    creates: int
    outcomes: dict[str, int]
    refused_503: int
    max_windows: int | None
    open_windows_certain_max: int
    open_windows_possible_max: int
    faults: int
    faults_verified: int
    leftovers: int
    record_holes: int
    watcher_gaps: int


class VerdictDocument(msgspec.Struct, frozen=True, kw_only=True):
    """verdict.json: what a program needs of a run's ending."""

    schema: int = 1
    run_id: str
    campaign: str
    target: str
    verdict: Status
    exit_code: int
    reason: str
    reasons: tuple[str, ...]
    retry_makes_sense: bool
    gates: tuple[GateVerdict, ...]
    counts: Counts


def verdict_document(findings: Findings) -> VerdictDocument:
    """Return what verdict.json holds; encode it with `msgspec.json`."""
    return VerdictDocument(
        run_id=findings.run.run_id,
        campaign=findings.run.campaign,
        target=findings.run.target,
        verdict=findings.verdict.status,
        exit_code=int(findings.verdict.exit_code),
        reason=findings.verdict.reason,
        reasons=findings.verdict.reasons,
        retry_makes_sense=findings.verdict.retry_makes_sense,
        gates=tuple(
            GateVerdict(**{name: getattr(gate, name) for name in GateVerdict.__struct_fields__})
            for gate in findings.gates
        ),
        counts=Counts(
            creates=findings.creates,
            outcomes=findings.outcomes,
            refused_503=findings.refused_503,
            max_windows=findings.open_windows.max_windows,
            open_windows_certain_max=findings.open_windows.certain_max,
            open_windows_possible_max=findings.open_windows.possible_max,
            faults=len(findings.faults),
            faults_verified=sum(fault.verified_ns is not None for fault in findings.faults),
            leftovers=len(findings.leftovers),
            record_holes=len(findings.incomplete),
            watcher_gaps=len(findings.gaps),
        ),
    )
