"""One fault tried once, and what was seen of it: facts, no judgment. `promises.py` judges.

A trial leaves the target as it was, or says what is broken. It goes through `Play`, as a run does, with the journal of a run
and the guard beside it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from harness.chaos.copies import copies, copy_name, remove_copy, write_copy
from harness.chaos.declared import declared_state, differences
from harness.chaos.faults import Case, Fault
from harness.chaos.faults.alteration import serves
from harness.chaos.faults.fault import is_marked, refuse_losses
from harness.chaos.faults.kill_streams import stream_pods
from harness.chaos.journal import Journal, Opened, new_header
from harness.chaos.play import Play
from harness.chaos.preflight import needed_rights
from harness.chaos.registry import register
from harness.chaos.replay import case_of
from harness.chaos.sweep import marks
from harness.chaos.windows import Refused
from harness.chaos.world import Site, freeze
from harness.clock import SystemClock
from harness.cluster import Cluster, Lease, Object, name_of
from harness.contract.watched import Asked, Call, Reach, Watched
from harness.errors import Exit, InjectionFailed, Stopped, TargetError, Unreachable
from harness.history.events import FaultChanged, FaultStep
from harness.history.reader import read_history
from harness.history.writer import HistoryWriter
from harness.target import Target

HOLD_S = 30.0
"""What the entry says; the trial undoes as soon as the effect is seen."""
WINDOW_S = 15.0
SETTLE_S = 5.0
LATE_S = 20.0
"""What a late request made is collected with its owner within this time."""
LOOK_S = 0.2
RENEW_S = 1.0
BY_THE_WAY = frozenset({"events", "leases", "namespaces"})
"""Kinds that are written for every fault: announcements, the lock, our namespace."""


@dataclass
class Trial:
    """What was seen of one fault."""

    fault: Fault[Any, Any]
    skipped: str = ""
    """Why this target cannot take it."""
    no_windows: str = ""
    """Why fewer windows than wanted were open."""
    error: str = ""
    """What went wrong, so that the rest was not tried."""
    by_looking: list[str] = field(default_factory=list)
    """What was changed by those verbs that only read."""
    forgets: list[str] = field(default_factory=list)
    """What does not survive being written to the journal and read back."""
    idle: list[str] = field(default_factory=list)
    """What an undo without an injection has changed of the declared state, or claims to have left."""
    late: list[str] = field(default_factory=list)
    """What a request changed that came late, after the undo."""
    without_right: list[str] = field(default_factory=list)
    unmarked: list[str] = field(default_factory=list)
    """What it changed and made that does not carry its mark while it is in, or that a sweep would not find."""
    active: bool = False
    verified: bool = False
    problem: str = ""
    undone: list[str] = field(default_factory=list)
    """What of the declared state was not as before once it was verified."""
    undone_twice: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    armed: list[str] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    """Each step of the record, in order, and its second."""
    ended: Exit = Exit.OK

    def took_s(self, start: FaultStep, end: FaultStep) -> float | None:
        """Return the time between two steps, None if one is missing."""
        if start.value not in self.steps or end.value not in self.steps:
            return None
        return self.steps[end.value] - self.steps[start.value]


@dataclass
class Bench:
    """A target that faults are tried on, one after the other."""

    target: Target
    cluster: Cluster
    run: Path
    windows: int = 2
    """How many windows are opened first, so that there are streams to hit."""
    trouble: Callable[[], str] = lambda: ""
    """What is wrong with the guard."""
    clock: SystemClock = field(default_factory=SystemClock.start)

    def try_out(self, fault: Fault[Any, Any], given: dict[str, Any] | None = None) -> Trial:
        """Try a fault with its default arguments, or those `given`; what goes wrong is in the trial."""
        trial = Trial(fault)
        try:
            arguments = msgspec.convert(given or {}, fault.arguments)
            self._try(trial, arguments)
        except Exception as error:  # whatever a fault raises is a finding about it
            trial.error = trial.error or f"{type(error).__name__}: {error}"
        return trial

    def _try(self, trial: Trial, arguments: Any) -> None:
        site = Site(self.cluster, self.target)
        with self._play() as (play, watched):
            trial.no_windows = self._open_windows(site, watched.before_asking)
            attempt = _Attempt(trial, play, watched, site, declared_state(site))
            case = attempt.look(arguments)
            if case is None:
                return
            attempt.undo_idly(case)
            attempt.come_late(case)
            attempt.live(arguments)
            trial.without_right = _without_right(site, trial.fault, watched.asked)
            trial.armed = _armed(watched.asked)
        trial.ended = play.finish()
        trial.steps = _steps(self.run, play)

    @contextmanager
    def _play(self) -> Iterator[tuple[Play, Watched]]:
        """Prepare a play as a lone experiment's is, and take the target's lock for as long as it goes."""
        number = len(list((self.run / "undo").glob("contract-*.jsonl"))) + 1
        header = new_header(self.run.name, f"contract-{number}", freeze(self.target), self.clock.start_ns)
        watched = Watched(self.cluster, self.cluster.namespace)
        with Lease.acquire(self.cluster, self.run.name) as lease:
            journal = Journal.create(self.run / "undo" / f"{header.writer}.jsonl", header)
            register(journal)
            play = Play(
                site=Site(watched, self.target, watched.hand, watched.open_window),
                header=header,
                journal=journal,
                history=HistoryWriter(self.run / "history", header.writer),
                clock=self.clock,
                experiment="contract",
                lease=lease,
                trouble=self.trouble,
            )
            watched.before_asking = lambda: _keep(play, lease)
            try:
                yield play, watched
            finally:
                watched.before_write = lambda: None
                if play.open_entries:
                    play.undo()

    def _open_windows(self, site: Site, keep: Callable[[], None]) -> str:
        """See that some windows run; return why there are fewer, if a server refuses: the fault is tried all the same."""
        missing = self.windows - len(_running(site)) if self.target.url else 0
        until = time.monotonic() + WINDOW_S
        why = ""
        while missing > 0 and time.monotonic() < until:
            keep()
            try:
                site.open_window(self.target)
                missing -= 1
            except Refused as refusal:
                why = str(refusal)  # a server that was just started is asked again
                time.sleep(LOOK_S)
        while len(_running(site)) < self.windows - missing and time.monotonic() < until:
            keep()
            time.sleep(LOOK_S)
        return why if missing > 0 else ""


def _keep(play: Play, lease: Lease) -> None:
    """Renew the lock as the trial makes progress; a person who halts it ends it."""
    if lease.unrenewed_s < RENEW_S:
        return
    try:
        lease.renew()
    except Unreachable:
        lease.wait_for_api()  # away by a fault, as it should be
    except Stopped as error:
        play.stop_now(str(error))


@dataclass
class _Attempt:
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
        self.trial.idle = [*fault.reading(site, case).differences, *self._differs()]

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
        self.trial.late += self._differs(within_s=LATE_S)
        fault.undo(site, case)
        self.play.journal.moved(entry.id, FaultStep.VERIFIED.value, "contract")

    def live(self, arguments: Any) -> None:
        """Inject, undo, and undo again."""
        trial, fault, site = self.trial, self.trial.fault, self.play.site
        with self.watched.listening() as heard:
            held = self.play.begin(fault, arguments, min(HOLD_S, site.target.limits.max_hold_s))
        trial.active = fault.is_active(site, held.case)
        if site.world.answers():
            trial.unmarked = _unmarked(self.site, held.entry.id, heard)
        (ending,) = self.play.undo()
        trial.verified, trial.problem = ending.verified, ending.problem
        trial.undone = self._differs(within_s=0)
        fault.undo(site, held.case)
        trial.undone_twice = [*fault.reading(site, held.case).differences, *self._differs()]
        trial.left = [str(mark) for mark in marks(self.site)] + [entry.id for _, entry in copies(self.site)]

    def _differs(self, within_s: float = SETTLE_S) -> list[str]:
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


def _running(site: Site) -> list[Object]:
    return [pod for pod in stream_pods(site) if serves(pod)]


def _steps(run: Path, play: Play) -> dict[str, float]:
    """Return what the record says of the fault that was played."""
    return {
        record.event.step.value: record.event.at_ns / 1e9
        for record in read_history(run / "history").events
        if isinstance(record.event, FaultChanged) and record.writer == play.header.writer
    }
