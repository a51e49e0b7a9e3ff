"""A fault on its way through a trial: looked at, undone without an injection, come too late, injected, undone, undone again.

It writes down what it sees and judges nothing. It goes through `Play`, as a run does. Whatever happens, what was injected is undone
by the play, or by the guard beside it.
"""

import time
from dataclasses import dataclass, replace
from typing import Any

from harness.chaos.copies import copies, copy_name, remove_copy, write_copy
from harness.chaos.declared import declared_state, differences
from harness.chaos.faults import Case, Fault
from harness.chaos.faults.fault import is_marked, refuse_losses
from harness.chaos.journal import Opened
from harness.chaos.play import Play
from harness.chaos.preflight import needed_rights
from harness.chaos.replay import case_of
from harness.chaos.sweep import marks
from harness.chaos.world import Site
from harness.cluster import name_of
from harness.contract.trial import Trial
from harness.contract.watched import Asked, Call, Reach, Watched
from harness.errors import InjectionFailed, TargetError
from harness.history.events import FaultStep

HOLD_S = 30.0
"""What the entry says; it is undone as soon as the effect is seen."""
SETTLE_S = 5.0
LATE_S = 20.0
"""What a late request made is collected with its owner within this time."""
LOOK_S = 0.2
BY_THE_WAY = frozenset({"events", "leases", "namespaces"})
"""Kinds that are written for every fault: announcements, the lock, our namespace."""


@dataclass
class Attempt:
    """A fault on its way through a trial: `play` and `watched` are what it acts by, `site` is what it is looked at by."""

    trial: Trial
    play: Play
    watched: Watched
    site: Site
    before: dict[str, object]

    def look(self, arguments: Any) -> Case[Any, Any] | None:
        """Ask what the fault would do; None, and why, if this target cannot take it."""
        fault, site = self.trial.fault, self.play.site
        with self.watched.listening() as heard:
            try:
                refuse_losses(fault, site.target)
                before = fault.look(site, arguments)
            except TargetError as refusal:
                self.trial.skipped = str(refusal)
                return None
            entry, case = self.play._entry(fault, arguments, before, HOLD_S)
            fault.rights(site)
            fault.touched(case)
            fault.mend(site, case)
            fault.is_active(site, case)
            fault.obstacle(site, case)
        self.trial.by_looking = [str(asked) for asked in heard if asked.writes]
        _, read_back = case_of(entry, site.target)
        for name in ("arguments", "before"):
            if getattr(read_back, name) != getattr(case, name):
                self.trial.forgets.append(name)
        return case

    def undo_idly(self, case: Case[Any, Any]) -> None:
        """Undo what was never injected, twice."""
        fault, site = self.trial.fault, self.play.site
        fault.undo(site, case)
        fault.undo(site, case)
        fault.settle(site, case)
        self.trial.idle = [*fault.reading(site, case).differences, *self._differs(SETTLE_S)]

    def come_late(self, looked: Case[Any, Any]) -> None:
        """Inject as a process that stood still just before its first write, while somebody else undid its entry."""
        fault, site = self.trial.fault, self.play.site
        entry, case = self.play._entry(fault, looked.arguments, looked.before, HOLD_S)
        overtaken = False

        def still_mine() -> None:
            if overtaken:
                raise InjectionFailed("somebody else has undone this entry")

        def overtake() -> None:
            nonlocal overtaken
            self.watched.before_write = lambda: None
            overtaken = True
            fault.undo(site, case)
            fault.settle(site, case)
            remove_copy(site, entry.id)

        self.play.journal.append(Opened(entry=entry))  # should this process die, the guard knows
        owner = write_copy(site, self.play.header, entry, fault.mend(site, case))
        case = replace(case, owner_uid=owner, still_mine=still_mine)
        self.watched.before_write = overtake
        try:
            fault.inject(site, case)
        except InjectionFailed:
            pass
        else:
            self.trial.late.append("inject went on to its end")
        self.watched.before_write = lambda: None
        self.trial.late += self._differs(LATE_S)
        fault.undo(site, case)
        fault.settle(site, case)
        self.play.journal.moved(entry.id, FaultStep.VERIFIED.value, "contract")

    def live(self, arguments: Any) -> None:
        """Inject, undo, and undo again."""
        trial, fault, site = self.trial, self.trial.fault, self.play.site
        with self.watched.listening() as heard:
            held = self.play.begin(fault, arguments, min(HOLD_S, site.target.limits.max_hold_s))
        trial.active = fault.is_active(site, held.case)
        if not fault.blinds:
            trial.unmarked = _unmarked(self.site, held.entry.id, heard)
        (ending,) = self.play.undo()
        trial.verified, trial.problem = ending.verified, ending.problem
        trial.undone = self._differs(0)
        fault.undo(site, held.case)
        trial.undone_twice = [*fault.reading(site, held.case).differences, *self._differs(SETTLE_S)]
        trial.left = [str(mark) for mark in marks(self.site)] + [entry.id for _, entry in copies(self.site)]

    def look_back(self) -> None:
        """Note what was asked for without a right, and which timers are still armed."""
        self.trial.without_right = _without_right(self.site, self.trial.fault, self.watched.asked)
        self.trial.armed = _armed(self.watched.asked)

    def _differs(self, within_s: float) -> list[str]:
        """Return what of the declared state is not as before, once controllers have had their time."""
        until = time.monotonic() + within_s
        while (found := differences(self.before, declared_state(self.site))) and time.monotonic() < until:
            self.watched.before_asking()
            time.sleep(LOOK_S)
        return found


def _unmarked(site: Site, entry: str, heard: list[Asked]) -> list[str]:
    """Return what was changed or made and carries no mark, or a mark that a sweep would not find."""
    calls = {
        (call.right.kind, call.right.namespace, call.name)
        for call in heard
        if isinstance(call, Call) and call.right.verb in {"patch", "create"} and not call.right.subresource
    }
    swept = {(mark.kind, mark.namespace, name_of(mark.obj)) for mark in marks(site)}
    found: list[str] = []
    for kind, namespace, name in sorted(calls):
        if kind in BY_THE_WAY or name == copy_name(entry):
            continue
        obj = site.world.find(kind, name, namespace or None)
        if obj is None:
            continue
        if not is_marked(obj, entry):
            found.append(f"{kind}/{name} does not carry the entry's label")
        elif (kind, namespace, name) not in swept:
            found.append(f"{kind}/{name}: no sweep looks at objects of its kind there")
    return found


def _without_right(site: Site, fault: Fault[Any, Any], asked: list[Asked]) -> list[str]:
    """Return what was asked of the API and is neither in the fault's rights nor in everybody's."""
    rights = set(needed_rights(site, [fault]))
    wide = {(right.verb, right.kind, right.subresource) for right in rights if not right.namespace}
    missing = {
        call.right
        for call in asked
        if isinstance(call, Call)
        and call.right.kind not in BY_THE_WAY
        and call.right not in rights
        and (call.right.verb, call.right.kind, call.right.subresource) not in wide
    }
    return [str(right) for right in sorted(missing)]


def _armed(asked: list[Asked]) -> list[str]:
    """Return the timers that were armed and not forgotten."""
    last = {reach.timer: reach for reach in asked if isinstance(reach, Reach) and reach.timer}
    return [str(reach) for reach in last.values() if reach.arms]
