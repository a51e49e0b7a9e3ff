"""What is missing from a run's record, who was blind when, who died: the grounds every other finding stands on.

Called by judge. Holes make the gate on completeness fail, which no campaign can switch off. A watcher's gap is no hole (it is
said so in the record) and is listed beside.
"""

from collections import Counter

from harness.history.events import (
    FaultChanged,
    FaultStep,
    LoadState,
    Phase,
    PhaseChanged,
    ProcessEnded,
    ProcessStarted,
    RunStarted,
    WatcherState,
    WorkerLost,
)
from harness.judge.findings import Gap, ProcessDeath
from harness.judge.record import SECOND_NS, RunRecord
from harness.measures.catalogue import died

ENTRY_STEPS = (FaultStep.OPENED, FaultStep.INJECTED, FaultStep.UNDONE, FaultStep.VERIFIED)
PLANNED = "planned"
SIGTERM = 15


def holes(record: RunRecord) -> tuple[str, ...]:
    """Return what is missing from the record, one sentence each; empty when it is complete."""
    return (*_damage(record), *_ends(record), *_steps(record), *_writers(record))


def _damage(record: RunRecord) -> list[str]:
    return [f"{d.file}: {d.what} ({d.bytes_cut} bytes cut)" for d in record.history.damage]


def _ends(record: RunRecord) -> list[str]:
    missing = []
    if not record.of(RunStarted):
        missing.append("the record has no start of the run")
    if record.ended is None:
        missing.append("the record has no end of the run: the conductor died or was killed")
    return missing


def _steps(record: RunRecord) -> list[str]:
    """Every planned step that was due must have left all its fault's records."""
    due = _due(record)
    missing = []
    for experiment, times in sorted(due.items()):
        changes = [change for change in record.of(FaultChanged) if change.experiment == experiment]
        if any(change.step == FaultStep.FAILED for change in changes):
            continue  # it says itself that it failed, which is an ending of its own
        found = {step: len({c.entry for c in changes if c.step == step}) for step in ENTRY_STEPS}
        if min(found.values()) < times:
            told = ", ".join(f"{step} {count}" for step, count in found.items())
            missing.append(f"experiment {experiment}: planned {times}, recorded {told}")
    return missing


def _due(record: RunRecord) -> Counter[str]:
    """Count the steps that were to be played: all of the plan, or those whose time came before the run was ended early."""
    planned = Counter(step.experiment for step in record.run.steps)
    ended = record.ended
    if ended is not None and ended.reason == PLANNED:
        return planned
    if record.drain_ns is None:
        over_ns = record.end_ns - SECOND_NS
        return Counter(step.experiment for step in record.run.steps if step.at_s * SECOND_NS < over_ns)
    over_ns = record.drain_ns - SECOND_NS
    begun = Counter(
        change.step
        for change in record.of(PhaseChanged)
        if change.phase is Phase.INJECT and change.at_ns < over_ns
    )
    return planned & begun


def _writers(record: RunRecord) -> list[str]:
    """Every process that started must have written and ended, and none may have died with records unwritten."""
    open_pids = {started.pid: started.process for started in record.of(ProcessStarted)}
    missing = []
    for ended in record.of(ProcessEnded):
        open_pids.pop(ended.pid, None)
        if died(ended):
            missing.append(f"process {ended.process} died with exit code {ended.exit_code}")
    for lost in record.of(WorkerLost):  # said so, and a matter of validity
        open_pids.pop(lost.pid, None)
    missing += [f"process {name} (pid {pid}) has no end in the record" for pid, name in open_pids.items()]
    writers = {line.writer for line in record.records}
    unheard = {  # asked to end before they had begun: they opened nothing, so nothing of theirs is missing
        ended.pid
        for ended in record.of(ProcessEnded)
        if ended.process.startswith(("chaos", "load")) and ended.exit_code == -SIGTERM
    }
    missing += [
        f"process {started.process} has written no record"
        for started in record.of(ProcessStarted)
        if started.pid not in unheard and not any(_wrote(writer, started.process) for writer in writers)
    ]
    asked = len(record.attempts.rows) or len(record.requests.rows)
    if record.run.planned_s > 0 and not asked and _asking(record):
        missing.append("the record has no attempt: the load wrote nothing")
    return missing


def _asking(record: RunRecord) -> bool:
    """Return whether there must be attempts: always, unless the run was ended before the load asked for windows."""
    if record.ended is None or record.ended.reason == PLANNED or record.drain_ns is None:
        return True
    over_ns = record.drain_ns - SECOND_NS
    return any(state.wanted > 0 and state.at_ns < over_ns for state in record.of(LoadState))


def _wrote(writer: str, process: str) -> bool:
    """Return whether a writer's name is one of a process: its own, numbered, or that of the load's engine."""
    names = (process, "engine") if process == "load" else (process,)
    return any(writer == name or writer.startswith(f"{name}-") for name in names)


def gaps(record: RunRecord) -> tuple[Gap, ...]:
    """Return every stretch in which a watcher said it could not see; the last one may last until the run's end."""
    open_gaps: dict[str, WatcherState] = {}
    found: list[Gap] = []
    for state in record.of(WatcherState):
        before = open_gaps.pop(state.watcher, None)
        if before is not None:
            found.append(_gap(before, state.at_ns))
        if not state.seeing:
            open_gaps[state.watcher] = state
    found += [_gap(state, record.end_ns) for state in open_gaps.values()]
    return tuple(sorted((gap for gap in found if gap.to_ns > gap.from_ns), key=lambda gap: gap.from_ns))


def _gap(state: WatcherState, to_ns: int) -> Gap:
    return Gap(watcher=state.watcher, from_ns=state.at_ns, to_ns=to_ns, detail=state.detail)


def deaths(record: RunRecord) -> tuple[ProcessDeath, ...]:
    """Return the processes that ended other than planned."""
    return tuple(
        ProcessDeath(process=ended.process, pid=ended.pid, exit_code=ended.exit_code, at_ns=ended.at_ns)
        for ended in record.of(ProcessEnded)
        if died(ended)
    )
