"""The load's end of the seam: starts the engine process, talks to it over a socket pair, notices when it is gone.

Runs under gevent: everything that waits here lets other users run. The engine gets no path and no name, only the socket; when
this process dies, however it dies, the socket closes and the engine closes its windows and ends.
"""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import gevent
from gevent import Greenlet
from gevent.event import AsyncResult, Event

import harness
from harness.errors import Exit, HarnessError
from harness.focus.arrivals import Arrivals, instants_ns
from harness.focus.seam import (
    PLAIN,
    ArrivalsOver,
    Arrive,
    Ask,
    AskRecordings,
    Begin,
    Begun,
    Cease,
    Close,
    Drain,
    Drained,
    Ended,
    Errand,
    ErrandDone,
    Inbox,
    Play,
    RecordingsFound,
    Style,
    Told,
    packed,
    unpacked_batch,
)

START_S = 30.0
END_S = 2.0
logger = logging.getLogger("harness.load")


class EngineGone(HarnessError):
    """The engine process ended while it was needed."""


class EngineLink:
    """One engine process and the conversation with it."""

    def __init__(
        self, begin: Begin, hear: Callable[[Told], None], lost: Callable[[EngineGone], None]
    ) -> None:
        """Start the engine; `hear` gets everything it tells, `lost` is called if it goes without being asked to."""
        self._hear = hear
        self._lost = lost
        self._windows: dict[int, AsyncResult] = {}
        self._asks: dict[int, AsyncResult] = {}
        self._number = 0
        self._ask = 0
        self._arrivals: AsyncResult | None = None
        self._unsent: list[bytes] = []
        self._sending: Greenlet | None = None
        self._begun = Event()
        self._drained = AsyncResult()
        self._draining = False
        mine, theirs = socket.socketpair()
        self._socket = mine
        package = Path(harness.__file__).resolve().parent.parent
        path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.engine", "--fd", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                env={**os.environ, "PYTHONPATH": path},
                process_group=0,  # Ctrl-C is for us to hear: the engine has windows to close first
            )
        finally:
            theirs.close()
        # Nothing here waits for the engine: Locust would not notice a stop that is asked for meanwhile. What users ask
        # of it until it is up waits in the socket.
        self._reader = gevent.spawn(self._listen)
        gevent.get_hub().loop.update_now()
        self._watchdog = gevent.spawn_later(START_S, self._look_at_start)
        self.send(begin)

    @property
    def pid(self) -> int:
        """The engine's process id."""
        return self._process.pid

    def wait(self) -> None:
        """Return when the engine is up; what is asked of it before waits for that by itself."""
        self._begun.wait()

    def send(self, ask: Ask) -> None:
        """Send one message, with whatever else is to be sent in this round of the loop; an engine that is gone is noticed by the listener."""
        self._unsent.append(packed(ask))
        if not self._sending:
            self._sending = gevent.spawn(self._send_all)

    def _send_all(self) -> None:
        while self._unsent:
            together = b"".join(self._unsent)
            self._unsent.clear()
            try:
                self._socket.sendall(together)
            except OSError:
                break

    def play(
        self, hold_s: float, start_s: int | None = None, end_s: int | None = None, style: Style = PLAIN
    ) -> Ended:
        """Have a window played and return how it ended; a killed user closes its window on the way out."""
        self._number += 1
        number = self._number
        result = self._windows[number] = AsyncResult()
        self._refuse_if_gone()
        self.send(Play(window=number, hold_s=hold_s, start_s=start_s, end_s=end_s, style=style))
        ended: Ended | None = None
        try:
            ended = result.get()
        finally:
            self._windows.pop(number, None)
            if ended is None:
                self.send(Close(window=number))
        return ended

    def arrive(self, arrivals: Arrivals, hold_s: tuple[float, float]) -> ArrivalsOver:
        """Have a plan of arrivals played, once, and return when none is left; a killed user ends them on the way out."""
        first = self._number + 1
        self._number += len(instants_ns(arrivals))
        self._arrivals = AsyncResult()
        self._refuse_if_gone()
        self.send(Arrive(arrivals=arrivals, first=first, hold_s=hold_s))
        over: ArrivalsOver | None = None
        try:
            over = self._arrivals.get()
        finally:
            if over is None:
                self.send(Cease())
        return over

    def recordings(self, start_s: int, end_s: int) -> RecordingsFound:
        """Return what was recorded between two instants (epoch seconds)."""
        found: RecordingsFound = self._asked(lambda ask: AskRecordings(ask=ask, start_s=start_s, end_s=end_s))
        return found

    def errand(
        self, what: Literal["ack", "channels", "live_metadata", "configure_invalid"], body: bytes = b""
    ) -> ErrandDone:
        """Have one request sent that is to open no window, and return how it went."""
        done: ErrandDone = self._asked(lambda ask: Errand(ask=ask, what=what, body=body))
        return done

    def _asked(self, ask: Callable[[int], Ask]) -> Any:
        self._ask += 1
        number = self._ask
        result = self._asks[number] = AsyncResult()
        self._refuse_if_gone()
        self.send(ask(number))
        try:
            return result.get()
        finally:
            self._asks.pop(number, None)

    def drain(self, within_s: float) -> Exit:
        """Close every window, have the history written, end the engine; return its exit code."""
        self._draining = True
        self.send(Drain(within_s=within_s))
        try:
            self._drained.get(timeout=within_s + END_S)
            code = self._process.wait(timeout=END_S)
        except (gevent.Timeout, subprocess.TimeoutExpired):
            self._process.kill()
            code = self._process.wait()
        self._reader.kill()
        self._watchdog.kill()
        if self._sending:
            self._sending.kill()
        self._socket.close()
        return Exit(code) if code in set(Exit) else Exit.INTERNAL

    def _listen(self) -> None:
        inbox = Inbox()
        try:
            while data := self._socket.recv(1 << 16):
                for body in inbox.feed(data):
                    for told in unpacked_batch(body):
                        self._dispatch(told)
        except OSError:
            pass
        self._drained.set(None)
        if not self._draining:
            self._gone()

    def _dispatch(self, told: Told) -> None:
        self._hear(told)
        match told:
            case Ended():
                if (window := self._windows.get(told.window)) is not None:
                    window.set(told)
            case Begun():
                self._begun.set()
            case Drained():
                self._drained.set(told)
            case ArrivalsOver() if self._arrivals is not None:
                self._arrivals.set(told)
            case RecordingsFound() | ErrandDone() if told.ask in self._asks:
                self._asks[told.ask].set(told)

    def _look_at_start(self) -> None:
        if not self._begun.ready():
            logger.error("the engine did not start within %g s", START_S)
            self._process.kill()  # the listener hears that and says so

    def _gone(self) -> None:
        self._draining = True
        try:
            code: int | None = self._process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            code = None
        error = EngineGone(f"the engine process ended by itself (exit code {code})")
        if code in set(Exit):
            error.code = Exit(code)
        arrivals = () if self._arrivals is None else (self._arrivals,)
        for waiting in (*self._windows.values(), *self._asks.values(), *arrivals):
            if not waiting.ready():
                waiting.set_exception(error)
        self._lost(error)

    def _refuse_if_gone(self) -> None:
        if self._draining:
            raise EngineGone("the engine is not there any more")
