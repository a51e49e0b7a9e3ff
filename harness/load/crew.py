"""A load played by several workers of Locust's: the master makes one run and gives each worker its part; workers say how they fared.

Everything goes over Locust's own messages. Run folder and clock are shared, so all workers are on the master's machine. Orders reach a
worker before its first users do: Locust sends both over one connection, and `test_start` comes first on the master.
"""

import os
import platform
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import msgspec
from gevent.lock import BoundedSemaphore
from locust import runners

from harness.clock import Instant
from harness.errors import Exit, HarnessError, InputError, RecordUnusable, gravest
from harness.history.events import Event, Note, ProcessEnded, WorkerLost
from harness.history.reader import read_history
from harness.history.run import RUN_FILE
from harness.load.hooks import Hooks, complain
from harness.load.plan import LoadPlan
from harness.load.shares import share
from harness.load.users import OURS

ORDERS, END, SAID = "focus_orders", "focus_end", "focus_said"
"""Kinds of messages: orders to a worker, the end to all workers, and what a worker says."""
END_S = 20.0
"""Workers that have said nothing so long after they were to end are lost; theirs take ten seconds."""
LOOK_S = 0.5
BEATS = 20
"""So many of Locust's heartbeats, one a second, a worker may miss: three, which is Locust's own, are missed on a busy machine. One that is dead is seen by its process."""
IMPORTED_BY = os.getpid()
"""With `--processes` the master, which imports the locustfile before it forks."""
BOOT = Path("/proc/sys/kernel/random/boot_id")


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What the master tells one worker."""

    plan: LoadPlan
    machine: str


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells the master: it has begun, wants the load to end (and why), or has ended."""

    what: str
    pid: int
    code: int = 0
    why: str = ""


class Mate(msgspec.Struct, kw_only=True):
    """One worker as the master knows it."""

    number: int
    pid: int = 0
    code: int | None = None
    """None until it has ended."""
    lost: bool = False

    @property
    def name(self) -> str:
        """Its name in the record."""
        return f"load-{self.number}"

    @property
    def over(self) -> bool:
        """Whether nothing more is to be heard of it."""
        return self.lost or self.code is not None


class Leader:
    """The master's side. `plan` makes a run and returns its plan, `write` appends to the run's record, `ended` ends it."""

    def __init__(
        self,
        environment: Any,
        plan: Callable[[Any], LoadPlan],
        write: Callable[[Callable[[Instant], Event]], None],
        ended: Callable[[Exit, str], None],
    ) -> None:
        self._environment = environment
        self._runner = environment.runner
        self._plan = plan
        self._write = write
        self._ended = ended
        self._crew: dict[str, Mate] = {}
        self._endings = [Exit.OK]
        self._reason = "planned"
        self._history = Path()
        self._playing = False
        self._ending = False
        self._one_end = BoundedSemaphore(1)
        environment.process_exit_code = 0
        runners.HEARTBEAT_LIVENESS = BEATS
        gevent.get_hub().loop.update_now()
        self._runner.register_message(SAID, self._hear)
        environment.events.test_start.add_listener(self._guarded(self._start))
        environment.events.test_stopping.add_listener(self._stopping)
        environment.events.test_stop.add_listener(self._guarded(self._stop))
        environment.events.quitting.add_listener(self._guarded(self._quit))
        gevent.signal_handler(signal.SIGTERM, self.end_users, "stopped (SIGTERM)")

    def end_users(self, reason: str) -> None:
        """End the load soon, and the process with it unless a web page is there to start it again."""
        self._reason = reason
        gevent.spawn(self._runner.stop if self._environment.web_ui else self._runner.quit)

    def _start(self) -> None:
        self._reason, self._ending, self._crew = "planned", False, {}
        clients = self._runner.clients
        ids = [one.id for one in clients.ready + clients.running + clients.spawning]
        ids.sort(key=self._runner.get_worker_index)
        plan = self._plan(self._environment)
        self._history = Path(plan.history)
        self._playing = True
        for part, client in enumerate(ids):
            orders = Orders(plan=share(plan, part, len(ids)), machine=machine())
            self._crew[client] = Mate(number=part + 1)
            self._runner.send_message(ORDERS, msgspec.json.encode(orders), client)
        gevent.spawn(self._watch)

    def _hear(self, msg: Any, **_: Any) -> None:
        said = msgspec.json.decode(msg.data, type=Said)
        mate = self._crew.get(msg.node_id)
        if mate is None:
            return
        mate.pid = said.pid
        match said.what:
            case "leave":
                if not self._ending:
                    self.end_users(said.why)
            case "ended":
                self._end_of(mate, said.code)
                if not self._ending:
                    self._note("warning", f"worker {mate.name} ended before the load did: {said.why}")
                    if self._endings[-1] is not Exit.OK:
                        self.end_users(said.why)

    def _watch(self) -> None:
        """Take note of workers whose process is gone, or who are not heard of any more."""
        while self._playing:
            gevent.sleep(LOOK_S)
            for client, mate in self._crew.items():
                if not mate.over and self._is_gone(client, mate):
                    self._guarded(partial(self._lose, mate))()

    def _is_gone(self, client: str, mate: Mate) -> bool:
        node = self._runner.clients.get(client)
        return node is None or node.state == "missing" or bool(mate.pid and not is_alive(mate.pid))

    def _lose(self, mate: Mate) -> None:
        """Take note of a worker that is gone: its last word may have gone with its connection, and stands in its record as well."""
        ended = self._recorded(mate)
        if ended is not None:
            self._end_of(mate, ended)
            return
        mate.lost = True
        self._endings.append(Exit.UNJUDGED)
        self._note("error", f"worker {mate.name} was lost; how it ended is not known")
        self._write(lambda now: WorkerLost(at_ns=now, process=mate.name, pid=mate.pid))

    def _recorded(self, mate: Mate) -> int | None:
        """Return the exit code with which a worker says in its record that it has ended; None where it does not."""
        try:
            records = read_history(self._history, mate.name).events
        except RecordUnusable:
            return None
        ends = [one.event for one in records if isinstance(one.event, ProcessEnded)]
        return ends[-1].exit_code if ends and ends[-1].process == mate.name else None

    def _end_of(self, mate: Mate, code: int) -> None:
        mate.code = code
        self._endings.append(Exit(code) if code in set(Exit) else Exit.INTERNAL)

    def _stopping(self, **_: Any) -> None:
        """Locust may have told the workers before it tells us: those that end from now on do so in order."""
        self._ending = True

    def _stop(self) -> None:
        with self._one_end:
            if not self._playing:
                return
            self._ending = True
            for client, mate in self._crew.items():
                if not mate.over:
                    self._runner.send_message(END, self._reason, client)
            until = time.monotonic() + END_S
            while not all(mate.over for mate in self._crew.values()) and time.monotonic() < until:
                gevent.sleep(0.05)
            self._playing = False
            for mate in self._crew.values():
                if not mate.over:
                    self._lose(mate)
            self._ended(gravest(self._endings), self._reason)

    def _quit(self) -> None:
        """Locust is about to exit: it reads the exit code after this."""
        if self._playing:
            self._ending = True
            self._runner.stop(send_stop_to_client=False)
        self._stop()
        self._environment.process_exit_code = int(gravest(self._endings))

    def _note(self, level: str, text: str) -> None:
        self._write(lambda now: Note(at_ns=now, level=level, text=text))

    def _guarded(self, job: Callable[[], None]) -> Callable[..., None]:
        def listener(**_: Any) -> None:
            try:
                job()
            except Exception as error:
                complain(error)
                self._endings.append(error.code if isinstance(error, HarnessError) else Exit.INTERNAL)
                self.end_users(f"{type(error).__name__}: {error}")

        return listener


class Follower:
    """A worker's side: it plays what it is told to, with an engine and a record of its own."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._runner = environment.runner
        self._orders: Orders | None = None
        self._runner.register_message(ORDERS, self._ordered)
        self._runner.register_message(END, self._end, concurrent=True)
        self._hooks = Hooks(environment, self._plan, self._over, leave=self._leave)
        environment.events.test_start.add_listener(self._begun)
        if os.getpid() != IMPORTED_BY:  # forked by --processes
            gevent.spawn(self._watch)

    def _ordered(self, msg: Any, **_: Any) -> None:
        self._orders = msgspec.json.decode(msg.data, type=Orders)

    def _plan(self, environment: Any) -> LoadPlan:
        orders, self._orders = self._orders, None
        if orders is None:
            raise InputError("this worker came when the load had begun: it gets no part of it")
        plan = orders.plan
        if orders.machine != machine() or not (Path(plan.history).parent / RUN_FILE).is_file():
            raise InputError(
                "this worker is not on the master's machine: run folder and clock cannot be shared; start workers there (--processes)"
            )
        for user in environment.user_classes:
            if user not in OURS and getattr(user, "host", None) is None:
                user.host = plan.endpoint.url
        return plan

    def _begun(self, **_: Any) -> None:
        session = self._hooks.session
        if session is None:
            self._say("ended", code=int(self._hooks.ending), why="it could not begin")
            return
        self._say("began")
        if session.plan.arrivals is not None:  # each worker has its part of them, wherever Locust puts users
            gevent.spawn(session.arrive)

    def _over(self, code: Exit, reason: str) -> None:
        self._say("ended", code=int(code), why=reason)

    def _leave(self, reason: str) -> None:
        self._say("leave", why=reason)

    def _end(self, msg: Any, **_: Any) -> None:
        self._hooks.because(str(msg.data))
        self._runner.stop()

    def _watch(self) -> None:
        """End with a master that is gone; Locust would notice after a minute, and never if the master had refused to start."""
        while os.getppid() == IMPORTED_BY:
            gevent.sleep(LOOK_S)
        self._hooks.because("the master is gone")
        self._runner.quit()

    def _say(self, what: str, code: int = 0, why: str = "") -> None:
        said = Said(what=what, pid=os.getpid(), code=code, why=why)
        self._runner.send_message(SAID, msgspec.json.encode(said))


def machine() -> str:
    """Return what tells machines apart, and one start of a machine from the next: its clock begins anew."""
    try:
        return BOOT.read_text().strip()
    except OSError:
        return platform.node()


def is_alive(pid: int) -> bool:
    """Say whether a process exists and has not ended (one that nobody has waited for yet has)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
