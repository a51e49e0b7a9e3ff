"""The middle of a run: load on, faults in and out at their instants, load off. Owns guard, load and chaos processes.

`play` returns when the load's time is over or somebody asks to stop; `strike` clears the stage whatever happened: faults
first, load second, guard last. Progress of this loop, and nothing else, renews the lock and beats the guard's heart.
"""

import signal
import time
from collections.abc import Sequence

from harness import chaos
from harness.campaign import Moment
from harness.campaign.plan import UNDO_BOUND_S
from harness.clock import SystemClock, nanoseconds
from harness.cluster import Lease
from harness.conduct.assignment import load_plan
from harness.conduct.children import Child, Children
from harness.conduct.conditions import StopConditions
from harness.conduct.folder import RunFolder
from harness.conduct.orders import Prepared
from harness.conduct.phases import FaultBoard, Phases, chaos_writer
from harness.conduct.stop import Stop
from harness.errors import Exit, HarnessError, RecordUnusable, StillBroken, Unreachable
from harness.history.events import Note
from harness.history.writer import HistoryWriter
from harness.load.plan import write_plan

TICK_S = 0.05
RENEW_S = 0.5
"""The lock is renewed this often, and with it a person's halt is heard."""
STOOD_STILL_S = 6.0
"""No progress of this process for longer than this: others may have undone its faults, so it ends."""
LOAD_LEAD_S = 4.0
"""From starting the load process to its first window: Locust and engine have to start."""
CHAOS_LEAD_S = 10.0
"""From starting a chaos process to its fault: it connects, checks and opens its journal."""
LOAD_GRACE_S = 15.0
GUARD_ENDS_S = 150.0
"""A guard that was let go looks once more and undoes what is open, for up to a minute."""


class Stage:
    """One run's guard, load process and chaos processes."""

    def __init__(
        self,
        prepared: Prepared,
        folder: RunFolder,
        writer: HistoryWriter,
        clock: SystemClock,
        board: FaultBoard,
        children: Children,
        lease: Lease | None,
        stop: Stop,
        conditions: StopConditions,
    ) -> None:
        self._prepared = prepared
        self._folder = folder
        self._writer = writer
        self._clock = clock
        self._board = board
        self._children = children
        self._lease = lease
        self._stop = stop
        self._conditions = conditions
        self._phases = Phases(prepared.plan, board, writer, clock)
        self._alive = chaos.Alive(chaos.undo_folder(folder.path), "conductor")
        self._guard: chaos.Guard | None = None
        self._load: Child | None = None
        self._chaos: dict[str, Child] = {}
        """Chaos processes by their writer's name."""
        self._experiments: dict[str, str] = {}
        self._renew_at = 0.0
        self._passed_on = False
        self._endings: dict[Exit, str] = {}

    def play(self) -> None:
        """Play the plan until its end, or until somebody asks to stop."""
        if self._prepared.plan.moments:
            self._guard = self._new_guard()
        begins_ns = self._clock.now() + nanoseconds(LOAD_LEAD_S)
        self._start_load(begins_ns)
        self.renew()
        waiting = [
            (begins_ns + nanoseconds(moment.inject_s), chaos_writer(number), moment)
            for number, moment in enumerate(self._prepared.plan.moments, start=1)
        ]
        self._conditions.begin(begins_ns, waiting[0][0] if waiting else None, self._writer)
        ends_ns = begins_ns + nanoseconds(self._prepared.plan.duration_s)
        while not self._stop.wait(TICK_S) and (self._clock.now() < ends_ns or self._late(ends_ns, waiting)):
            self._phases.tick(begins_ns)
            self._progress()
            while waiting and self._may_start(waiting[0][0]):
                self._start_chaos(*waiting.pop(0))

    def _may_start(self, at_ns: int) -> bool:
        """Say whether the process of a fault planned for `at_ns` starts now; while another has the API server away it could not, and comes late."""
        return (
            not self._stop.asked
            and at_ns - nanoseconds(CHAOS_LEAD_S) <= self._clock.now()
            and not chaos.api_is_away(self._folder.path)
            and self._conditions.go()
        )

    def _new_guard(self) -> chaos.Guard:
        return chaos.Guard.start(
            self._folder.path,
            self._prepared.target,
            self._clock,
            ward="conductor",
            live=self._folder.live_socket,
            progress=self.renew,
        )

    def _late(self, ends_ns: int, waiting: Sequence[object]) -> bool:
        """Whether a fault that comes late still has to come or go: the load stays on for it, within the undo's bound."""
        late = bool(waiting) or any(child.poll() is None for child in self._chaos.values())
        return late and self._clock.now() < ends_ns + nanoseconds(UNDO_BOUND_S)

    def strike(self) -> dict[Exit, str]:
        """Undo what is in, end the load, look for open undo entries; return the endings found on the way."""
        try:
            self._phases.drain()
        except RecordUnusable as error:  # a full disk: the faults come first
            self._endings[error.code] = str(error)
        if self._load is not None:
            self._load.end_later()
        self._await([*self._chaos.values()], UNDO_BOUND_S)
        if self._load is not None:
            self._await([self._load], 0.0 if self._stop.insisted else LOAD_GRACE_S)
            self._load.end(grace_s=0.0)
        self._progress()
        self._look_for_open_entries()
        return self._endings

    def _start_load(self, begins_ns: int) -> None:
        orders = self._folder.live_socket.parent / "load.json"  # may hold credentials: not for the record
        planned, target = self._prepared.plan, self._prepared.target
        campaign = self._prepared.order.campaign
        write_plan(load_plan(planned, target, self._folder, self._clock, begins_ns, campaign), orders)
        self._load = self._children.start("load", "harness.load", ["--plan", str(orders)])

    def _start_chaos(self, at_ns: int, writer: str, moment: Moment) -> None:
        arguments = [
            "--experiment",
            str(self._prepared.experiments[moment.experiment]),
            "--run",
            str(self._folder.path),
        ]
        arguments += [
            "--target",
            str(self._prepared.target_file),
            "--writer",
            writer,
            "--live",
            str(self._folder.live_socket),
        ]
        arguments += ["--hold", str(moment.undo_s - moment.inject_s), "--at-ns", str(at_ns)]
        for key, value in moment.settings:
            arguments += ["--set", f"{key}={value}"]
        self._experiments[writer] = moment.experiment
        self._chaos[writer] = self._children.start(writer, "harness.chaos", arguments)

    def _progress(self) -> None:
        """Show that this process is alive and working, and take note of processes that ended."""
        gap_s = self._alive.beat()
        if gap_s > STOOD_STILL_S:
            self._stop.ask(f"this process stood still for {gap_s:.0f} s; nothing more is injected")
        if self._guard is not None and (trouble := self._guard.trouble):
            self._replace_guard(trouble)
        self.renew()
        try:
            for child, code in self._children.note_ended():
                self._ended(child, code)
        except RecordUnusable as error:
            self._endings[error.code] = str(error)
            self._stop.ask(str(error))

    def _replace_guard(self, trouble: str) -> None:
        """End the run, and put another guard in the place of one that died or hangs: it undoes what others left."""
        assert self._guard is not None
        if not self._stop.asked:
            self._endings[Exit.INTERNAL] = f"{trouble}; no fault is held without a guard (see undo/guard.log)"
            self._stop.ask(self._endings[Exit.INTERNAL])
        self._pass_on()
        self._guard.abandon()
        self._guard = None
        try:
            self._guard = self._new_guard()
        except HarnessError as error:
            self._note("error", f"no other guard: {error}")
        self._alive.beat()

    def renew(self) -> None:
        """Renew the lock if it is time. The cluster may be what a fault took away; a lock that is lost, halted or run out stops the run."""
        self._alive.beat()
        if self._lease is None or time.monotonic() < self._renew_at:
            return
        self._renew_at = time.monotonic() + RENEW_S
        try:
            self._lease.renew()
        except Unreachable:
            if chaos.api_is_away(self._folder.path):
                self._lease.wait_for_api()
        except HarnessError as error:
            if error.code in {Exit.BUSY, Exit.STOPPED} and not self._stop.asked:
                self._endings[error.code] = str(error)
                self._stop.ask(str(error))

    def _ended(self, child: Child, code: int) -> None:
        if child.name in self._chaos:
            experiment = self._experiments[child.name]
            self._board.ended.add(child.name)
            unheard = (
                self._stop.asked and code == -signal.SIGTERM
            )  # it had not begun to listen: nothing was opened
            if code not in {Exit.OK, Exit.STOPPED, Exit.UNJUDGED} and not unheard:
                known = code in set(Exit)
                ending = Exit(code) if known else Exit.INTERNAL
                self._endings[ending] = (
                    f"{experiment} ended with {code}; see {self._folder.logs / (child.name + '.log')}"
                )
                self._stop.ask(self._endings[ending])
        elif child is self._load and not self._over:
            self._endings[Exit(code) if code in set(Exit) and code else Exit.INTERNAL] = (
                f"the load process ended early with {code}; see {self._folder.logs / 'load.log'}"
            )
            self._stop.ask("the load process ended early")

    @property
    def _over(self) -> bool:
        return self._phases.draining

    def _await(self, children: Sequence[Child], at_most_s: float) -> None:
        """Wait for processes to end, showing progress meanwhile."""
        deadline = time.monotonic() + at_most_s
        while any(child.poll() is None for child in children) and time.monotonic() < deadline:
            if self._stop.asked:  # also one that is asked while we wait
                self._pass_on()
            self._progress()
            time.sleep(TICK_S)

    def _pass_on(self) -> None:
        """Tell the chaos processes to undo and end, once."""
        if not self._passed_on:
            self._passed_on = True
            for child in self._chaos.values():
                child.end_later()

    def _look_for_open_entries(self) -> None:
        """Release the guard, which looks once more and undoes what is open; what it cannot undo is said."""
        if not self._prepared.plan.moments:
            return
        if self._guard is None and chaos.open_entries(self._folder.path):
            try:  # it was lost and could not be replaced: once more
                self._guard = self._new_guard()
            except HarnessError as error:
                self._still_broken(str(error))
                return
        if self._guard is None:
            return
        self._guard.let_go()
        until = time.monotonic() + GUARD_ENDS_S
        while (code := self._guard.poll()) is None and time.monotonic() < until and not self._guard.trouble:
            self.renew()
            time.sleep(TICK_S)
        if code is None and self._guard.trouble:  # it hangs: another one looks in its place
            self._replace_guard(self._guard.trouble)
            code = self._guard.release() if self._guard is not None else Exit.BROKEN
        self._guard = None
        if code != Exit.OK:
            self._still_broken(f"the guard ended with {code}")
        elif not chaos.open_entries(self._folder.path):
            self._endings.pop(Exit.BROKEN, None)  # what a chaos process could not undo in time, the guard has

    def _still_broken(self, why: str) -> None:
        error = StillBroken(f"a fault may still be in ({why}); run: harness undo {self._folder.path}")
        self._endings[error.code] = str(error)
        self._note("error", str(error))

    def close(self) -> None:
        """End the sign of life: nobody is waited for any more."""
        self._alive.close()

    def _note(self, level: str, text: str) -> None:
        try:
            self._writer.event(Note(at_ns=self._clock.now(), level=level, text=text))
        except RecordUnusable as error:
            self._endings[error.code] = str(error)
