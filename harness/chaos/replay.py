"""Bring back what open undo entries say: the one way anything is ever undone.

The end of a hold, the guard, `harness undo` and the finally of a chaos process all call `replay`. It makes passes over the open
entries, those that restore access first, then newest first; one failing never stops the others; an entry counts as
verified after two equal readings at least a second apart. After `budget_s` it says what is left. It never injects.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from harness.chaos.announce import announce
from harness.chaos.copies import remove_copy
from harness.chaos.faults import Case, Fault, fault_named
from harness.chaos.journal import Entry, Journal, Progress
from harness.chaos.world import Site, thaw
from harness.errors import HarnessError, IdentityMismatch, InputError, RecordUnusable, StillBroken
from harness.history.events import FaultStep
from harness.target import Target

BUDGET_S = 60.0
APART_S = 1.0
"""Two readings that verify an undo are at least this far apart."""
PAUSE_S = 0.2
UNDO_AGAIN_S = 2.0
LOCK_S = 2.0

Tell = Callable[[Entry, FaultStep, str], None]
"""Called with entry, step and detail whenever an entry moves."""


@dataclass(slots=True)
class Way:
    """One open entry on its way back."""

    journal: Journal
    entry: Entry
    steps: frozenset[str]
    site: Site | None = None
    undone_at: float = 0.0
    first: tuple[float, str] | None = None
    """When the first clean reading was, and what it saw."""
    verified: bool = False
    problem: str = "not tried"
    hopeless: bool = False
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Ending:
    """How the way back of one entry ended."""

    entry: Entry
    verified: bool
    problem: str
    mend: str
    notes: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{self.entry.fault} on {self.entry.what}"
        if self.verified:
            return f"{text}: undone and verified" + "".join(f"; {note}" for note in self.notes)
        return f"{text}: {self.problem}; by hand: {self.mend}"


def replay(
    journals: Sequence[Journal],
    site_of: Callable[[Journal], Site],
    by: str,
    tell: Tell,
    *,
    only: Callable[[Progress], bool] | None = None,
    budget_s: float = BUDGET_S,
    claim: bool = False,
    progress: Callable[[], object] = lambda: None,
) -> list[Ending]:
    """Undo and verify every open entry that `only` accepts; return how each ended, newest first.

    With `claim` the journals are taken over first, so that their injector injects nothing more. `progress` is called between
    steps. Raises nothing of the world's: what could not be undone is an Ending that is not verified.
    """
    ways: list[Way] = []
    for journal in journals:
        contents = journal.read()
        chosen = [progress for progress in contents.open_entries if only is None or only(progress)]
        if chosen and claim:
            try:
                journal.claim(by)
                with journal.lock(LOCK_S):
                    contents = journal.read()  # what the injector still wrote before it saw the claim
            except (RecordUnusable, OSError):
                pass  # a full disk: an injector cannot open entries on it either, so undo all the same
            chosen = [progress for progress in contents.open_entries if only is None or only(progress)]
        ways += [Way(journal, progress.entry, progress.steps) for progress in chosen]
    ways.sort(key=_order)
    until = time.monotonic() + budget_s
    while True:
        for way in ways:
            progress()
            if not way.verified and not way.hopeless:
                _step(way, site_of, by, tell)
        if all(way.verified or way.hopeless for way in ways) or time.monotonic() >= until:
            break
        time.sleep(PAUSE_S)
    return [_ending(way, tell) for way in ways]


def refuse_if_broken(endings: Sequence[Ending]) -> None:
    """Raise StillBroken with every entry that is not verified, and how to mend each."""
    left = [ending for ending in endings if not ending.verified]
    if left:
        raise StillBroken("\n".join(["something may still be broken:", *(f"  {ending}" for ending in left)]))


def case_of(entry: Entry, target: Target) -> tuple[Fault[Any, Any], Case[Any, Any]]:
    """Return the fault and the case an entry stands for; raises TargetError or InputError if it cannot be read."""
    fault = fault_named(entry.fault, target.faults)
    try:
        arguments = msgspec.json.decode(entry.arguments, type=fault.arguments)
        before = msgspec.json.decode(entry.before, type=fault.before)
    except msgspec.MsgspecError as error:
        raise InputError(f"undo entry {entry.id} ({entry.fault}) cannot be read: {error}") from error
    return fault, Case(entry.id, arguments, before)


def _order(way: Way) -> tuple[bool, int]:
    """Order what restores access before the rest, then newest first."""
    try:
        header = way.journal.read().header
        outside = thaw(header.target).faults if header is not None else ()
        first = fault_named(way.entry.fault, outside).restores_access
    except Exception:  # whatever is wrong with it is said when it is its turn
        first = False
    return (not first, -way.entry.opened_ns)


def _step(way: Way, site_of: Callable[[Journal], Site], by: str, tell: Tell) -> None:
    """Bring one entry as far as it comes now."""
    try:
        if way.site is None:
            way.site = site_of(way.journal)
        fault, case = case_of(way.entry, way.site.target)
        _undo(way, fault, case, by, tell)
        reading = fault.reading(way.site, case)
        way.notes = reading.notes
        now = time.monotonic()
        if reading.differences:
            way.first = None
            way.problem = "; ".join(reading.differences)
        elif way.first is None or way.first[1] != reading.seen:
            way.first = (now, reading.seen)
            way.problem = "undone, not yet seen twice"
        elif now - way.first[0] >= APART_S:
            if (
                "injected" in way.steps
            ):  # else a command of a process that died half way may still be on its way
                fault.settle(way.site, case)
            remove_copy(way.site, way.entry.id)
            way.verified = True
            _note(way, FaultStep.VERIFIED, by, tell, "; ".join((reading.seen, *reading.notes)))
    except (IdentityMismatch, InputError) as error:
        way.problem, way.hopeless = str(error), True
    except Exception as error:  # whatever it is, the others must still be undone
        way.first = None
        way.problem = f"{error}" if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}"


def _undo(way: Way, fault: Fault[Any, Any], case: Case[Any, Any], by: str, tell: Tell) -> None:
    """Undo at first, and again while the world does not look it."""
    assert way.site is not None
    now = time.monotonic()
    if way.undone_at and (way.first is not None or now - way.undone_at < UNDO_AGAIN_S):
        return
    fault.undo(way.site, case)
    first_time = not way.undone_at
    way.undone_at = now
    if first_time and "undone" not in way.steps:
        _note(way, FaultStep.UNDONE, by, tell, "")
        announce(
            way.site, fault, case, "FaultUndone", f"{way.entry.fault} on {way.entry.what}: undone by {by}"
        )


def _note(way: Way, step: FaultStep, by: str, tell: Tell, detail: str) -> None:
    """Write down that an entry moved. A full disk does not make an undo fail: replaying it again changes nothing."""
    try:
        way.journal.moved(way.entry.id, step.value, by)
        tell(way.entry, step, detail)
    except RecordUnusable as error:
        way.notes = (*way.notes, str(error))


def _ending(way: Way, tell: Tell) -> Ending:
    mend = "harness undo"
    try:
        if way.site is not None:
            fault, case = case_of(way.entry, way.site.target)
            mend = fault.mend(way.site, case)
    except Exception:  # noqa: S110  (the other endings must still be told; `harness undo` is always an answer)
        pass
    ending = Ending(way.entry, way.verified, way.problem, mend, way.notes)
    if not way.verified:
        try:
            tell(way.entry, FaultStep.FAILED, f"{way.problem}; by hand: {mend}")
        except RecordUnusable:
            pass  # the ending says it
    return ending
