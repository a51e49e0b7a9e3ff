"""Every fault from opening to proof of undoing, and what clients felt of it in between and until they recovered.

Called by judge; gates ask it for a fault's window (`fault:<experiment>`). An effect is attributed by time alone here: a failed
create, a window accepted and never served, or a broken stream inside the fault's window.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from harness.history.events import (
    FaultChanged,
    FaultStep,
    FirstFrame,
    Outcome,
    Phase,
    WindowAccepted,
    WindowClosed,
)
from harness.history.samples import ACCEPTED, Rows
from harness.judge.findings import FaultFinding, Gap
from harness.judge.record import SECOND_NS, RunRecord, Spans, joined, outcome_counts
from harness.judge.steps import Bools, Ints, ints
from harness.measures.catalogue import BROKEN, UNSERVED

BASELINE_NS = 30 * SECOND_NS
"""How much of the time before an injection the baseline is taken from."""
RECOVERED_NS = 5 * SECOND_NS
"""Over this time the success rate must be back."""
RECOVERED_SHARE = 0.9
SLICE_NS = SECOND_NS // 10
"""Recovery is looked for in steps of this size."""


@dataclass(slots=True)
class _Entry:
    changes: list[FaultChanged] = field(default_factory=list)

    def at(self, step: FaultStep) -> int | None:
        return next((change.at_ns for change in self.changes if change.step == step), None)

    def last(self, step: FaultStep) -> FaultChanged | None:
        return next((change for change in reversed(self.changes) if change.step == step), None)


def fault_findings(record: RunRecord, gaps: tuple[Gap, ...]) -> tuple[FaultFinding, ...]:
    """Return one finding per undo entry, by the instant it was opened."""
    entries: dict[str, _Entry] = {}
    for change in record.of(FaultChanged):
        entries.setdefault(change.entry, _Entry()).changes.append(change)
    clients = _Clients(record)
    return tuple(_finding(entry, clients, gaps) for entry in entries.values())


class _Clients:
    """What clients felt, in arrays."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self.creates = record.creates
        self.done_ns = self.creates["done_ns"]
        self.accepted = self.creates["outcome"] == record.attempts.number(ACCEPTED)
        cancelled = self.creates["outcome"] == record.attempts.number(Outcome.CANCELLED)
        self.counted = ~cancelled
        self.failed_ns: Ints = self.done_ns[~self.accepted & ~cancelled]
        self.broken_ns = ints(e.at_ns for e in record.of(WindowClosed) if e.outcome in BROKEN)
        accepted_at = {e.window: e.at_ns for e in record.of(WindowAccepted)}
        unserved = (e for e in record.of(WindowClosed) if e.outcome in UNSERVED)
        self.unserved_ns = ints(accepted_at.get(e.window, e.at_ns) for e in unserved)
        firsts = record.of(FirstFrame)
        self.first_ns = ints(e.at_ns for e in firsts)
        self.first_accept_ns = ints(accepted_at.get(e.window, e.at_ns - e.since_accept_ns) for e in firsts)

    def success_after(self, undone_ns: int, injected_ns: int) -> int | None:
        return _first(self.first_ns[self.first_accept_ns >= injected_ns], undone_ns)

    def success_share(self, from_ns: int, to_ns: int) -> float | None:
        chosen = slice(*np.searchsorted(self.done_ns, [from_ns, to_ns]))
        counted = int(self.counted[chosen].sum())
        return float(self.accepted[chosen].sum()) / counted if counted else None


def _finding(entry: _Entry, clients: _Clients, gaps: tuple[Gap, ...]) -> FaultFinding:
    record = clients.record
    first = entry.changes[0]
    injected_ns, undone_ns = entry.at(FaultStep.INJECTED), entry.at(FaultStep.UNDONE)
    verified_ns = entry.at(FaultStep.VERIFIED)
    success_ns = None
    accepted_ns = None
    if injected_ns is not None and undone_ns is not None:
        success_ns = clients.success_after(undone_ns, injected_ns)
        accepted_ns = _first(clients.done_ns[clients.accepted], undone_ns)
    to_ns = (
        None if injected_ns is None else _window_end(record, injected_ns, undone_ns, verified_ns, success_ns)
    )
    inside = _inside(clients.creates, injected_ns, to_ns)
    refusals = int((inside["outcome"] == record.attempts.number(Outcome.UNAVAILABLE_503)).sum())
    broken_ns = _between(clients.broken_ns, injected_ns, to_ns)
    unserved_ns = _between(clients.unserved_ns, injected_ns, to_ns)
    effects_ns = np.concatenate([_between(clients.failed_ns, injected_ns, to_ns), broken_ns, unserved_ns])
    felt = bool(len(effects_ns))
    baseline = None
    if injected_ns is not None:
        baseline = clients.success_share(max(0, injected_ns - BASELINE_NS), injected_ns)
    failure, undo = entry.last(FaultStep.FAILED), entry.last(FaultStep.UNDONE)
    return FaultFinding(
        entry=first.entry,
        fault=first.fault,
        experiment=first.experiment,
        target=first.target,
        opened_ns=entry.at(FaultStep.OPENED),
        injected_ns=injected_ns,
        effective_ns=entry.at(FaultStep.EFFECTIVE),
        not_held_ns=entry.at(FaultStep.NOT_HELD),
        undone_ns=undone_ns,
        verified_ns=verified_ns,
        failed=(failure.detail or "it failed") if failure else "",
        undone_by=undo.by if undo else "",
        from_ns=injected_ns,
        to_ns=to_ns,
        creates=len(inside),
        outcomes=outcome_counts(inside, record.attempts.texts),
        refusals_503=refusals,
        refusal_expected=any(
            s.refusal_expected for s in record.run.steps if s.experiment == first.experiment
        ),
        streams_broken=len(broken_ns),
        windows_unserved=len(unserved_ns),
        first_effect_ns=int(effects_ns.min()) if felt else None,
        last_effect_ns=int(effects_ns.max()) if felt else None,
        first_accepted_after_undo_ns=accepted_ns,
        first_success_after_undo_ns=success_ns,
        recovery_s=_seconds(undone_ns, success_ns) if felt else None,
        baseline_success=baseline,
        baseline_after_s=back_to_baseline(
            clients.done_ns, clients.accepted, clients.counted, baseline, undone_ns, record.end_ns
        ),
        never_recovered=felt and undone_ns is not None and success_ns is None,
        blind=_blind(gaps, injected_ns, to_ns),
    )


def _window_end(
    record: RunRecord,
    injected_ns: int,
    undone_ns: int | None,
    verified_ns: int | None,
    success_ns: int | None,
) -> int:
    ends = [end for end in (verified_ns, success_ns) if end is not None]
    if undone_ns is not None and success_ns is not None and ends:
        return max(ends) + 1
    drains = [from_ns for from_ns, _ in record.spans_of([Phase.DRAIN]) if from_ns > injected_ns]
    return max([min([*drains, record.end_ns + 1]), *ends])


def back_to_baseline(
    done_ns: Ints, accepted: Bools, counted: Bools, baseline: float | None, undone_ns: int | None, end_ns: int
) -> float | None:
    """Return the seconds from an undo to the first accepted create of 5 s in which their share is back at 90 % of the baseline.

    The three arrays hold one entry per create, in order of `done_ns`; None without a baseline above 0, or if it never comes back.
    """
    if not baseline or undone_ns is None:
        return None
    starts = np.arange(undone_ns, max(undone_ns, end_ns - RECOVERED_NS) + 1, SLICE_NS)
    low, high = np.searchsorted(done_ns, starts), np.searchsorted(done_ns, starts + RECOVERED_NS)
    good, asked = (np.concatenate([[0], np.cumsum(one)]) for one in (accepted, counted))
    asked = asked[high] - asked[low]
    where = np.flatnonzero((asked > 0) & (good[high] - good[low] >= RECOVERED_SHARE * baseline * asked))
    if not len(where):
        return None
    first = low[where[0]] + int(np.argmax(accepted[low[where[0]] :]))
    return float(done_ns[first] - undone_ns) / SECOND_NS


def windows_of(faults: Iterable[FaultFinding], experiment: str) -> Spans:
    """Return the stretches in which any fault of `experiment` acted: from injected to recovered."""
    return joined(
        (fault.from_ns, fault.to_ns)
        for fault in faults
        if fault.experiment == experiment and fault.from_ns is not None and fault.to_ns is not None
    )


def recoveries(faults: Iterable[FaultFinding]) -> tuple[tuple[str, float], ...]:
    """Return experiment and recovery time in seconds of each fault that had an effect; infinite if it never came."""
    return tuple(
        (fault.experiment, float("inf") if fault.recovery_s is None else fault.recovery_s)
        for fault in faults
        if fault.first_effect_ns is not None and fault.undone_ns is not None
    )


def _first(at_ns: Ints, from_ns: int) -> int | None:
    later = at_ns[at_ns >= from_ns]
    return int(later.min()) if len(later) else None


def _inside(creates: Rows, from_ns: int | None, to_ns: int | None) -> Rows:
    if from_ns is None or to_ns is None:
        return creates[:0]
    return creates[slice(*np.searchsorted(creates["done_ns"], [from_ns, to_ns]))]


def _between(at_ns: Ints, from_ns: int | None, to_ns: int | None) -> Ints:
    if from_ns is None or to_ns is None:
        return at_ns[:0]
    return at_ns[(at_ns >= from_ns) & (at_ns < to_ns)]


def _seconds(from_ns: int | None, to_ns: int | None) -> float | None:
    return None if from_ns is None or to_ns is None else (to_ns - from_ns) / SECOND_NS


def _blind(gaps: tuple[Gap, ...], from_ns: int | None, to_ns: int | None) -> tuple[str, ...]:
    if from_ns is None or to_ns is None:
        return ()
    return tuple(sorted({gap.watcher for gap in gaps if gap.from_ns < to_ns and gap.to_ns > from_ns}))
