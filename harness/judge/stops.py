"""What became of the stop conditions: how long each held or was not known, and which of them ended the run.

Called by judge. Nothing is decided anew here: a condition is judged while the run goes on, and the record says how.
"""

from harness.errors import Exit
from harness.history.events import ConditionState, StopConditionChanged
from harness.judge.findings import StopFinding
from harness.judge.record import SECOND_NS, RunRecord


def stop_findings(record: RunRecord) -> tuple[StopFinding, ...]:
    """Return every stop condition the run looked at."""
    told: dict[str, list[StopConditionChanged]] = {}
    for change in record.of(StopConditionChanged):
        told.setdefault(change.name, []).append(change)
    return tuple(_finding(name, changes, _over_ns(record)) for name, changes in told.items())


def endings_of(stops: tuple[StopFinding, ...]) -> list[tuple[Exit, str]]:
    """Return how the run had to end by its stop conditions: 10 for one that held, 7 for one that was not known."""
    return [
        (Exit.UNJUDGED if stop.state is ConditionState.UNKNOWN else Exit.FAILED, stop.detail)
        for stop in stops
        if stop.ended
    ]


def _over_ns(record: RunRecord) -> int:
    """Return when the conditions were no longer looked at: the last phase, which begins when the load ends."""
    return record.drain_ns if record.drain_ns is not None else record.end_ns


def _finding(name: str, changes: list[StopConditionChanged], over_ns: int) -> StopFinding:
    last = changes[-1]
    spans = [
        (change.state, max(0, until_ns - change.at_ns))
        for change, until_ns in zip(changes, [*(later.at_ns for later in changes[1:]), over_ns], strict=True)
    ]
    began = [change.at_ns for change in changes if change.state is ConditionState.HOLDS and not change.ended]
    return StopFinding(
        name=name,
        state=last.state,
        value=last.value,
        detail=last.detail,
        held=len(began),
        held_s=sum(ns for state, ns in spans if state is ConditionState.HOLDS) / SECOND_NS,
        unknown_s=sum(ns for state, ns in spans if state is ConditionState.UNKNOWN) / SECOND_NS,
        first_held_ns=began[0] if began else None,
        ended=any(change.ended for change in changes),
    )
