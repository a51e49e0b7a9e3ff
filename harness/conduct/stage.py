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
from harness.conduct.folder import RunFolder
from harness.conduct.orders import Prepared
from harness.conduct.phases import FaultBoard, Phases, chaos_writer
from harness.conduct.stop import Stop
from harness.errors import Exit, HarnessError, StillBroken
from harness.history.events import Note
from harness.history.writer import HistoryWriter
from harness.load.plan import write_plan

TICK_S = 0.05
RENEW_S = 2.0
HEARTBEAT_S = 10.0
LOAD_LEAD_S = 4.0
"""From starting the load process to its first window: Locust and engine have to start."""
CHAOS_LEAD_S = 10.0
"""From starting a chaos process to its fault: it connects, checks and opens its journal."""
LOAD_GRACE_S = 15.0


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
    ) -> None:
        self._prepared = prepared
        self._folder = folder
        self._writer = writer
        self._clock = clock
        self._board = board
        self._children = children
        self._lease = lease
        self._stop = stop
        self._phases = Phases(prepared.plan, board, writer, clock)
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
            self._guard = chaos.Guard.start(
                self._folder.path,
                self._prepared.target,
                self._clock,
                heartbeat_s=HEARTBEAT_S,
                live=self._folder.live_socket,
            )
        begins_ns = self._clock.now() + nanoseconds(LOAD_LEAD_S)
        self._start_load(begins_ns)
        waiting = [
            (begins_ns + nanoseconds(moment.inject_s), chaos_writer(number), moment)
            for number, moment in enumerate(self._prepared.plan.moments, start=1)
        ]
        ends_ns = begins_ns + nanoseconds(self._prepared.plan.duration_s)
        while not self._stop.wait(TICK_S) and (self._clock.now() < ends_ns or self._recovering(ends_ns)):
            self._phases.tick(begins_ns)
            self._progress()
            while waiting and waiting[0][0] - nanoseconds(CHAOS_LEAD_S) <= self._clock.now():
                self._start_chaos(*waiting.pop(0))

    def _recovering(self, ends_ns: int) -> bool:
        """Whether a fault that came late still has to go: the load stays on for it, within the undo's bound."""
        late = any(child.poll() is None for child in self._chaos.values())
        return late and self._clock.now() < ends_ns + nanoseconds(UNDO_BOUND_S)

    def strike(self) -> dict[Exit, str]:
        """Undo what is in, end the load, look for open undo entries; return the endings found on the way."""
        self._phases.drain()
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
        write_plan(load_plan(planned, target, self._folder, self._clock, begins_ns), orders)
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
        if self._guard is not None:
            self._guard.beat()
            if not self._guard.alive() and not self._over and not self._stop.asked:
                self._endings[Exit.INTERNAL] = (
                    "the guard process ended; no fault is held without it (see undo/guard.log)"
                )
                self._stop.ask(self._endings[Exit.INTERNAL])
        self.renew()
        for child, code in self._children.note_ended():
            self._ended(child, code)

    def renew(self) -> None:
        """Renew the lock if it is time. The cluster may be what a fault took away; only a lost lock stops the run."""
        if self._lease is None or time.monotonic() < self._renew_at:
            return
        self._renew_at = time.monotonic() + RENEW_S
        try:
            self._lease.renew()
        except HarnessError as error:
            if error.code is Exit.BUSY:
                self._endings[Exit.BUSY] = str(error)
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
            if self._stop.asked and not self._passed_on:  # also one that is asked while we wait
                self._passed_on = True
                for child in self._chaos.values():
                    child.end_later()
            self._progress()
            time.sleep(TICK_S)

    def _look_for_open_entries(self) -> None:
        """Release the guard, which looks once more and undoes what is open; what it cannot undo is said."""
        if self._guard is None:
            return
        code = self._guard.release()
        self._guard = None
        if code != Exit.OK:
            error = StillBroken(f"a fault may still be in; run: harness undo {self._folder.path}")
            self._endings[error.code] = str(error)
            self._writer.event(Note(at_ns=self._clock.now(), level="error", text=str(error)))
