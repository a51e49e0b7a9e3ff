"""The engine's side of the seam: takes asks from one load process, plays them, tells in batches, ends when told or when alone.

One per process. The socket is also the lifeline: when it closes, whoever wanted the windows is gone, so they are closed, the
history is written down, and the process ends.
"""

import asyncio
import os
import signal
import socket
import time
import traceback
from collections.abc import Coroutine
from typing import Any

from harness.engine.arriving import Arriving
from harness.engine.canary import Canary
from harness.engine.purse import Go, Purse, Wait
from harness.engine.record import Recorder
from harness.engine.watermark import Watermarks
from harness.engine.window import Stage, Window
from harness.errors import Exit, HarnessError, RecordUnusable
from harness.focus.api import AsyncFocusServerAPI, Attempt
from harness.focus.endpoint import INSECURE_WARNING
from harness.focus.outcomes import POSSIBLY_OPEN, CallFailed
from harness.focus.seam import (
    Arrive,
    AskRecordings,
    Beat,
    Begin,
    Begun,
    Cease,
    Close,
    Drain,
    Drained,
    Errand,
    ErrandDone,
    Exhausted,
    Failed,
    Inbox,
    Play,
    RecordingsFound,
    Told,
    packed,
    unpacked_ask,
)
from harness.history.events import Outcome

BATCH_S = 0.02
LOOK_S = 0.02
ALONE_S = 5.0


class Engine:
    """Plays what one load process asks for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._inbox = Inbox()
        self._told: list[Told] = []
        self._windows: dict[int, Window] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._arriving: asyncio.Task[None] | None = None
        self._drain_s: float | None = None
        self._stopped = asyncio.Event()
        self.exit = Exit.OK

    async def serve(self) -> None:
        """Serve until drained, or until the load process is gone."""
        begin = await self._first()
        if begin is None:
            return
        try:
            self._record = Recorder(begin, self._record_broken)
        except RecordUnusable as error:
            self._record_broken(error)
            await self._farewell()
            return
        self._record.started(os.getpid())
        if begin.endpoint.unverified:
            self._record.note("warning", INSECURE_WARNING.format(url=begin.endpoint.url))
        async with AsyncFocusServerAPI(begin.endpoint, self._seen) as api:
            self._stage = Stage(
                api=api,
                payload=begin.payload,
                purse=Purse(begin.budget, time.monotonic_ns()),
                marks=Watermarks(begin.payload, begin.part, begin.parts),
                record=self._record,
                creates=asyncio.Semaphore(begin.creates_in_flight),
                tell=self.tell,
                base=begin.window_base,
                check_payload=begin.check_payload,
                full_checks=begin.full_checks,
                transport=begin.transport,
                reference_share=begin.reference_share,
            )
            jobs = [self._listen, self._seconds, self._lag]
            jobs += [Canary(self._record).watch] if begin.canary else []
            own = [asyncio.create_task(job()) for job in jobs]
            self.tell(Begun(pid=os.getpid()))
            await self._stopped.wait()
            await self._close_all()
            for task in own:
                task.cancel()
            await asyncio.gather(*own, return_exceptions=True)
        self._record.close(os.getpid())
        self.tell(Drained())
        await self._farewell()

    async def _farewell(self) -> None:
        """Send what is still to be told, and hang up."""
        self._send()
        try:
            await asyncio.wait_for(self._writer.drain(), 1.0)
        except (OSError, TimeoutError):
            pass  # nobody listens any more; the history is what counts
        self._writer.close()

    def tell(self, told: Told) -> None:
        """Tell the load something, soon: what is told within a moment travels together."""
        if not self._told:
            asyncio.get_running_loop().call_later(BATCH_S, self._send)
        self._told.append(told)

    def stop(self) -> None:
        """End as if the load process had gone (SIGTERM)."""
        self._stopped.set()

    def _send(self) -> None:
        if self._told and not self._writer.is_closing():
            self._writer.write(packed(tuple(self._told)))
        self._told.clear()

    async def _first(self) -> Begin | None:
        while data := await self._reader.read(1 << 16):
            for body in self._inbox.feed(data):
                ask = unpacked_ask(body)
                if not isinstance(ask, Begin):
                    raise TypeError(f"the first message must be Begin, not {type(ask).__name__}")
                return ask
        return None

    async def _listen(self) -> None:
        try:
            data = b""  # what came together with the first message is in the inbox already
            while True:
                for body in self._inbox.feed(data):
                    self._obey(unpacked_ask(body))
                if not (data := await self._reader.read(1 << 16)):
                    break
        except Exception as error:
            self._failed(error)
        self._stopped.set()

    def _obey(self, ask: object) -> None:
        match ask:
            case Play():
                if self._drain_s is None:
                    self._play(ask)
            case Arrive():
                if self._arriving is not None:
                    raise ValueError("an engine plays one plan of arrivals")
                arriving = Arriving(ask, self._stage, self._play)
                self._arriving = asyncio.create_task(arriving.run())
                self._arriving.add_done_callback(lambda done: self._arrived(arriving, done))
            case Cease():
                if self._arriving is not None:
                    self._arriving.cancel()
            case Close():
                if (window := self._windows.get(ask.window)) is not None:
                    window.close()
            case AskRecordings():
                self._run_errand(self._recordings(ask))
            case Errand():
                self._run_errand(self._errand(ask))
            case Beat():
                self._record.heard(ask.cpu_s, ask.wanted)
            case Drain():
                self._drain_s = ask.within_s
                self._stopped.set()
            case _:
                raise ValueError(f"{type(ask).__name__} is not expected here")

    def _play(self, ask: Play) -> None:
        self._windows[ask.window] = window = Window(ask, self._stage)
        window.start().add_done_callback(lambda done: self._window_done(ask, window, done))

    def _arrived(self, arriving: Arriving, done: "asyncio.Task[None]") -> None:
        arriving.end()
        if not done.cancelled() and (error := done.exception()) is not None:
            self._failed(error)

    def _window_done(self, ask: Play, window: Window, done: asyncio.Task[None]) -> None:
        self._windows.pop(ask.window, None)
        if done.cancelled():  # before its first step: whatever comes later ends in order
            if ask.intended_ns is not None:
                window.never_sent()
        elif (error := done.exception()) is not None:
            self._failed(error)

    async def _close_all(self) -> None:
        within_s = self._drain_s if self._drain_s is not None else ALONE_S
        if self._arriving is not None:
            self._arriving.cancel()
            await asyncio.gather(self._arriving, return_exceptions=True)
        for window in tuple(self._windows.values()):
            window.close()
        tasks = (window.task for window in self._windows.values())
        waiting = {*(task for task in tasks if task is not None), *self._errands}
        for errand in self._errands:
            errand.cancel()
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=within_s)
            if late:
                self._record.note("warning", f"{len(late)} windows did not close within {within_s:g} s")

    def _run_errand(self, job: Coroutine[Any, Any, None]) -> None:
        errand = asyncio.create_task(job)
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def _errand(self, ask: Errand) -> None:
        """Ask one question, or send one invalid create: the budget's jobs and rate hold for that too, should it be accepted."""
        api, purse, sent_ns = self._stage.api, self._stage.purse, time.monotonic_ns()
        status = 0
        outcome: Outcome | None = None
        invalid = ask.what == "configure_invalid"
        if invalid and not await self._may_create():
            self.tell(ErrandDone(ask=ask.ask, what=ask.what, outcome=Outcome.CANCELLED))
            return
        try:
            if invalid:
                await api.configure_invalid(ask.body)
            else:
                await getattr(api, ask.what)()
        except CallFailed as error:
            outcome, status = error.outcome, error.status
        if invalid:
            (purse.made if outcome in POSSIBLY_OPEN else purse.refused)()
            purse.closed()
            if status == 200:
                self._record.note("warning", f"an invalid create was accepted: {ask.body[:120]!r}")
        latency_ns = time.monotonic_ns() - sent_ns
        self.tell(
            ErrandDone(ask=ask.ask, what=ask.what, outcome=outcome, status=status, latency_ns=latency_ns)
        )

    async def _may_create(self) -> bool:
        """Wait for the budget's word on a create."""
        while isinstance(answer := self._stage.purse.ask(time.monotonic_ns()), Wait):
            await asyncio.sleep(answer.ns / 1e9)
        return isinstance(answer, Go)

    async def _recordings(self, ask: AskRecordings) -> None:
        sent_ns = time.monotonic_ns()
        try:
            found = await self._stage.api.recordings_in_time_range(ask.start_s, ask.end_s)
        except CallFailed as error:
            answer = RecordingsFound(ask=ask.ask, outcome=error.outcome, spans=())
        else:
            self._record.drift(found.drift, "recordings_in_time_range")
            answer = RecordingsFound(
                ask=ask.ask, outcome=None, spans=found.spans, latency_ns=time.monotonic_ns() - sent_ns
            )
        self.tell(answer)

    def _seen(self, attempt: Attempt) -> None:
        self._record.attempt(attempt, attempt.about)

    async def _seconds(self) -> None:
        due, told = time.monotonic(), False
        while True:
            due += 1.0
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._record.second()
            spent = self._stage.purse.late(time.monotonic_ns())
            if spent is not None and not told:
                told = True
                self._record.note_once("warning", spent.text)
                self.tell(Exhausted(limit=spent.limit, text=spent.text))

    async def _lag(self) -> None:
        """Measure how late the loop is, the worst of many short sleeps; pack samples in between, a few at a time."""
        while True:
            due_ns = time.monotonic_ns() + int(LOOK_S * 1e9)
            await asyncio.sleep(LOOK_S)
            self._record.lag_ns = max(self._record.lag_ns, time.monotonic_ns() - due_ns)
            self._record.gather()

    def _record_broken(self, error: RecordUnusable) -> None:
        if self.exit is Exit.OK:
            self.exit = error.code
            self.tell(Failed(code=int(error.code), text=str(error)))
            self._stopped.set()

    def _failed(self, error: BaseException) -> None:
        """Our own mistake or an unusable record: say so everywhere, then end cleanly."""
        code = error.code if isinstance(error, HarnessError) else Exit.INTERNAL
        if self.exit is not Exit.OK:
            return
        self.exit = code
        trace = "".join(traceback.format_exception(error))
        self._record.note("error", f"engine: {type(error).__name__}: {error}")
        self.tell(Failed(code=int(code), text=trace))
        self._stopped.set()


async def serve(fd: int) -> Exit:
    """Serve the load process at the other end of the socket `fd`."""
    end = socket.socket(fileno=fd)
    end.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=end)
    engine = Engine(reader, writer)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, engine.stop)
    # Ctrl-C reaches the whole terminal; whoever started the engine decides what it means for it.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    await engine.serve()
    return engine.exit
