"""One experiment being played: what the actions of a chaos process share, and the life of a fault in it.

`python -m harness.chaos` makes it from its command line; under plain `chaos run` the first action makes one of its own
(`harness.chaos.alone`). Everything here runs on the process' main thread, one action after another. It records each
step itself, because Chaos Toolkit swallows what its controls raise.
"""

import dataclasses
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from harness.chaos.alive import Alive
from harness.chaos.announce import announce
from harness.chaos.copies import is_written, write_copy
from harness.chaos.faults import Case, Fault
from harness.chaos.faults.fault import refuse_losses
from harness.chaos.journal import Entry, Header, Journal, Opened, Progress
from harness.chaos.registry import forget_if_closed
from harness.chaos.replay import Ending, refuse_if_broken, replay
from harness.chaos.standing import api_is_away
from harness.chaos.world import Site
from harness.clock import Instant, SystemClock, nanoseconds, seconds
from harness.cluster import Lease, halt_line
from harness.errors import (
    Exit,
    HarnessError,
    InjectionFailed,
    RecordUnusable,
    StillBroken,
    Stopped,
    TargetError,
    Unreachable,
    gravest,
)
from harness.history.events import FaultChanged, FaultStep, Note
from harness.history.writer import HistoryWriter
from harness.target import Target

LOOK_S = 0.4
"""How often a held fault is looked at."""
BLIND_S = 10.0
"""A cluster that does not answer for this long ends the wait for an effect, and the hold."""
NOT_HELD_S = 3.0
LATE_S = 2.0
"""An injection that is later than this is said; the hold counts from the injection, so that it is never cut short."""
RENEW_S = 0.5
"""The lock is renewed this often; a person's halt is heard with it."""
LOOK_FOR_COPY_S = 2.0
STOOD_STILL_S = 6.0
"""A process that made no progress for this long may have been undone by others: it injects nothing more."""
SPARE_S = 20.0
"""`max_hold` beyond the planned hold, unless the target file allows less."""


def longest(fault: Fault[Any, Any], target: Target, hold_s: float) -> float:
    """Return `max_hold`: the planned hold, the time to effect and a spare, and never more than the target allows."""
    return min(target.limits.max_hold_s, hold_s + fault.signature.within_s + SPARE_S)


@dataclass(slots=True)
class Held:
    """A fault that is in."""

    fault: Fault[Any, Any]
    case: Case[Any, Any]
    entry: Entry
    injected_ns: Instant
    missed_since: float | None = None
    told_not_held: bool = False


@dataclass(slots=True)
class _Blind:
    """For how long the cluster has not answered, other than while a fault of this run has the API server away."""

    api_is_away: Callable[[], bool]
    since: float | None = None

    def sees(self) -> None:
        self.since = None

    def for_long(self) -> bool:
        now = time.monotonic()
        if self.since is None or self.api_is_away():
            self.since = now
        return now - self.since > BLIND_S


@dataclass(slots=True)
class Play:
    """The state of one chaos process."""

    site: Site
    header: Header
    journal: Journal
    history: HistoryWriter
    clock: SystemClock
    experiment: str
    at_ns: int | None = None
    hold_s: float | None = None
    """Given by the conductor; overrules what the experiment says."""
    ends: str = ""
    """The planned end, for people who meet a touched object."""
    lease: Lease | None = None
    alive: Alive | None = None
    """This process' sign of life."""
    trouble: Callable[[], str] = lambda: ""
    """What is wrong with those who watch over this process; empty if nothing is."""
    before_first: Callable[[Fault[Any, Any]], None] | None = None
    """Preflight of a play alone; the conductor has done it for all its plays."""
    stop: threading.Event = field(default_factory=threading.Event)
    stop_reason: str = ""
    held: list[Held] = field(default_factory=list)
    failures: list[HarnessError] = field(default_factory=list)
    _renewed: float = 0.0
    _looked_for_copy: float = 0.0

    def __post_init__(self) -> None:
        self.site = dataclasses.replace(self.site, progress=self._wait_on)

    # --- in ---------------------------------------------------------------------------------------

    def begin(self, fault: Fault[Any, Any], arguments: Any, hold_s: float) -> Held:
        """Inject a fault and wait until its effect is seen; raise, with everything undone, if that fails."""
        try:
            return self._begin(fault, arguments, self.hold_s if self.hold_s is not None else hold_s)
        except BaseException as error:
            if isinstance(error, HarnessError):
                self.failures.append(error)
            self.undo()
            self.note("error", f"{fault.kind}: {error}")
            raise

    def _begin(self, fault: Fault[Any, Any], arguments: Any, hold_s: float) -> Held:
        max_hold_s = self._allowed(fault, hold_s)
        if self.before_first is not None:
            self.before_first(fault)
        if self.at_ns is not None:
            self.wait_until(Instant(self.at_ns))
        self.refuse_if_stopped()
        self._progress()
        with self.journal.lock(timeout_s=2.0):
            self.journal.refuse_if_claimed()
            before = fault.look(self.site, arguments)
            self.beat()
            entry, case = self._entry(fault, arguments, before, max_hold_s)
            self.journal.append(Opened(entry=entry))
            self.tell(entry, FaultStep.OPENED, f"held {hold_s:g} s, at most {max_hold_s:g} s")
            owner = write_copy(self.site, self.header, entry, fault.mend(self.site, case))
            case = dataclasses.replace(case, owner_uid=owner)
            self.refuse_if_stopped()
            if not fault.blinds:  # said before the API server goes, or never
                fault.inject(self.site, case)
            announce(
                self.site,
                fault,
                case,
                "FaultInjected",
                f"{fault.kind} on {entry.what}, until {entry.expires_wall}",
            )
            if fault.blinds:
                fault.inject(self.site, case)
            self.journal.moved(entry.id, FaultStep.INJECTED.value, "chaos")
        self.tell(entry, FaultStep.INJECTED, "")
        held = Held(fault, case, entry, self.clock.now())
        self.held.append(held)
        self._await_effect(held)
        return held

    def _allowed(self, fault: Fault[Any, Any], hold_s: float) -> float:
        limit_s = self.site.target.limits.max_hold_s
        if hold_s > limit_s:
            raise TargetError(
                f"{fault.kind} is to be held for {hold_s:g} s, the target allows {limit_s:g} s "
                "(limits.max_hold); hold it shorter, or raise the limit in the target file"
            )
        refuse_losses(fault, self.site.target)
        if hold_s < fault.signature.within_s:
            self.note(
                "warning",
                f"{fault.kind}: a hold of {hold_s:g} s may be too short to be felt; the effect takes up to "
                f"{fault.signature.within_s:g} s",
            )
        return longest(fault, self.site.target, hold_s)

    def _entry(
        self, fault: Fault[Any, Any], arguments: Any, before: Any, max_hold_s: float
    ) -> tuple[Entry, Case[Any, Any]]:
        entry_id = f"{fault.kind}-{secrets.token_hex(4)}"
        expires_wall = (datetime.now(UTC) + timedelta(seconds=max_hold_s)).isoformat(timespec="seconds")
        facts = {
            "run": self.header.run_id,
            "operator": self.header.operator,
            "ends": expires_wall,
            "stop": halt_line(self.site.kubernetes.harness_namespace),
        }
        case = Case(
            entry_id,
            arguments,
            before,
            max_hold_s=max_hold_s,
            marks=tuple(facts.items()),
            still_mine=self._still_mine,
        )
        now_ns = time.monotonic_ns()
        entry = Entry(
            id=entry_id,
            fault=fault.kind,
            experiment=self.experiment,
            what=fault.describe(case),
            arguments=msgspec.Raw(msgspec.json.encode(arguments)),
            before=msgspec.Raw(msgspec.json.encode(before)),
            opened_ns=now_ns,
            expires_ns=now_ns + nanoseconds(max_hold_s),
            expires_wall=expires_wall,
        )
        return entry, case

    def _await_effect(self, held: Held) -> None:
        """Wait until the effect is seen, at most twice as long as expected; the time in which nothing could be seen does not count."""
        within_s = 2 * held.fault.signature.within_s + 1
        until = time.monotonic() + within_s
        blind = _Blind(self._api_is_away)
        while True:
            looked = time.monotonic()
            try:
                self.refuse_if_stopped()
                self._progress()
                held.fault.sustain(self.site, held.case)
                active = held.fault.is_active(self.site, held.case)
            except Unreachable:
                if blind.for_long():
                    raise
                self.stop.wait(0.1)
                until += time.monotonic() - looked
                continue
            blind.sees()
            if active:
                since_s = seconds(self.clock.now() - held.injected_ns)
                self.tell(held.entry, FaultStep.EFFECTIVE, f"seen {since_s:.2f} s after the injection")
                return
            if time.monotonic() > until:
                why = held.fault.obstacle(self.site, held.case) or f"expected: {held.fault.signature.seen}"
                raise InjectionFailed(f"{held.fault.kind}: no effect seen within {within_s:g} s ({why})")
            self.stop.wait(0.1)

    # --- held -------------------------------------------------------------------------------------

    def hold(self, hold_s: float) -> None:
        """Hold what is in until its time is over, the play is stopped, or it cannot be held any longer."""
        if not self.held:
            raise InjectionFailed("there is nothing to hold: no fault is in")
        if self.hold_s is not None:
            hold_s = self.hold_s
        start_ns = min(held.injected_ns for held in self.held)
        if self.at_ns is not None:
            late_s = seconds(start_ns - self.at_ns)
            if late_s > LATE_S:
                self.note(
                    "warning", f"{self.experiment}: injected {late_s:.1f} s later than planned; held in full"
                )
            start_ns = Instant(max(start_ns, self.at_ns))
        end_ns = start_ns + nanoseconds(hold_s)
        end_ns = min(end_ns, *(held.entry.expires_ns - self.clock.start_ns for held in self.held))
        blind = _Blind(self._api_is_away)
        while (left_s := seconds(end_ns - self.clock.now())) > 0:
            try:
                self.refuse_if_stopped()
                self._progress()
                for held in self.held:
                    self._look_at(held)
                blind.sees()
            except Unreachable as error:
                if blind.for_long():
                    self._fail(
                        InjectionFailed(f"not held: {error}"), "the cluster stopped answering; the hold ends"
                    )
                    return
            except Stopped:
                return
            except HarnessError as error:
                self._fail(error, "the hold ends early")
                return
            self.stop.wait(min(LOOK_S, max(0.0, left_s)))

    def _look_at(self, held: Held) -> None:
        held.fault.sustain(self.site, held.case)
        if not held.fault.lasts(held.case.arguments) or held.told_not_held:
            return
        if held.fault.is_active(self.site, held.case):
            held.missed_since = None
            return
        held.missed_since = held.missed_since or time.monotonic()
        if time.monotonic() - held.missed_since >= NOT_HELD_S:
            held.told_not_held = True
            self.tell(
                held.entry, FaultStep.NOT_HELD, f"its effect is gone for {NOT_HELD_S:g} s; not our doing"
            )

    def beat(self) -> None:
        """Show that this process makes progress; stop if it stood still for so long that others count it as dead."""
        gap_s = self.alive.beat() if self.alive is not None else 0.0
        if gap_s > STOOD_STILL_S and not self.stop.is_set():
            self.stop_now(f"this process stood still for {gap_s:.0f} s; nothing more is injected")

    def _wait_on(self) -> None:
        """Show progress while a command of the target runs, and keep the lock; what is wrong with it is said at the next step."""
        self.beat()
        if self.lease is not None and time.monotonic() - self._renewed >= RENEW_S:
            self._renewed = time.monotonic()
            try:
                self.lease.renew()
            except HarnessError:
                self._renewed = 0.0

    def _still_mine(self) -> None:
        """Raise if the play was told to stop, or the entry has been taken over; called between the steps of an injection."""
        self.beat()
        self.refuse_if_stopped()
        self.journal.refuse_if_claimed()

    def _progress(self) -> None:
        """Show progress, and see that those who watch over this process live, that the lock holds, and the entries stand."""
        self.beat()
        self.refuse_if_stopped()
        self.journal.refuse_if_claimed()
        if trouble := self.trouble():
            raise InjectionFailed(f"{trouble}; no fault is held without it")
        now = time.monotonic()
        if self.lease is not None and now - self._renewed >= RENEW_S:
            self._renewed = now
            try:
                self.lease.renew()
            except Unreachable:
                if not self._api_is_away():
                    raise
                self.lease.wait_for_api()
            except Stopped as error:
                self.stop_now(str(error))
                raise
        if self.held and now - self._looked_for_copy >= LOOK_FOR_COPY_S and not self._api_is_away():
            self._looked_for_copy = now
            for held in self.held:
                if not is_written(self.site, held.entry.id):
                    self.stop_now(
                        f"the entry {held.entry.id} is gone from the cluster: somebody has undone it"
                    )
                    self.refuse_if_stopped()

    def _api_is_away(self) -> bool:
        """Say whether a fault of this run, of whichever experiment, has taken the API server away."""
        return api_is_away(self.journal.path.parent.parent)

    # --- out --------------------------------------------------------------------------------------

    def undo(self) -> list[Ending]:
        """Undo and verify everything that is open; never raises for the world, see `failures`."""
        self.held.clear()
        endings = replay([self.journal], lambda _: self.site, "chaos", self.tell, progress=self.beat)
        for ending in endings:
            self.note("info" if ending.verified else "error", str(ending))
        try:
            refuse_if_broken(endings)
        except HarnessError as error:
            self.failures.append(error)
        return endings

    def finish(self) -> Exit:
        """Undo what is left, close the record, and return the exit code this play deserves."""
        if self.journal.read().open_entries:
            self.undo()
        if not self.journal.read().open_entries:  # what could not be undone at first is by now
            self.failures = [failure for failure in self.failures if not isinstance(failure, StillBroken)]
        forget_if_closed(self.journal)
        self.history.close()
        if self.alive is not None:
            self.alive.close()
        codes = [failure.code for failure in self.failures]
        if self.stop.is_set():
            codes.append(Exit.STOPPED)
        return gravest(codes)

    @property
    def open_entries(self) -> tuple[Progress, ...]:
        """What is not verified yet."""
        return self.journal.read().open_entries

    # --- told -------------------------------------------------------------------------------------

    def stop_now(self, reason: str) -> None:
        """End every wait; safe from signal handlers and threads."""
        self.stop_reason = self.stop_reason or reason
        self.stop.set()

    def refuse_if_stopped(self) -> None:
        """Raise Stopped if the play was told to stop."""
        if self.stop.is_set():
            raise Stopped(f"stopped: {self.stop_reason}")

    def wait_until(self, instant: Instant) -> None:
        """Wait for an instant of the run's clock; raise Stopped if told to stop meanwhile."""
        while (left_ns := instant - self.clock.now()) > 0:
            if self.stop.wait(min(0.5, seconds(left_ns))):
                break
            self._progress()
        self.refuse_if_stopped()

    def tell(self, entry: Entry, step: FaultStep, detail: str) -> None:
        """Record one step of a fault."""
        self.history.event(
            FaultChanged(
                at_ns=self.clock.now(),
                entry=entry.id,
                fault=entry.fault,
                experiment=entry.experiment,
                step=step,
                target=entry.what,
                detail=detail,
                by="chaos",
            )
        )

    def note(self, level: str, text: str) -> None:
        """Record a note; one that cannot be written (a full disk) is a failure, and stops nothing else."""
        try:
            self.history.event(Note(at_ns=self.clock.now(), level=level, text=text))
        except RecordUnusable as error:
            self.failures.append(error)

    def _fail(self, error: HarnessError, what: str) -> None:
        self.failures.append(error)
        self.note("error", f"{what}: {error}")
