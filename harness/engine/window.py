"""The life of one window: ask for it, wait until its stream is ready, read every stream for a while, close it.

Success is the first frame of the window's own job, never the 200 alone. Nothing is retried: whatever happens ends the window,
with exactly one `Outcome`. Called by the service, one task per window; cancelling the task closes the window.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from harness.engine.purse import Purse, Spent, Wait
from harness.engine.reading import Reading, Verdict
from harness.engine.record import Recorder
from harness.engine.watermark import Range, Watermarks
from harness.focus.answers import ConfigureResponse
from harness.focus.api import AsyncFocusServerAPI
from harness.focus.endpoint import Endpoint, Timeouts
from harness.focus.lean import LeanChannel
from harness.focus.outcomes import POSSIBLY_OPEN, CallFailed
from harness.focus.request import ConfigureRequest
from harness.focus.seam import Answered, Ended, Exhausted, First, Payload, Play, Ready, Style, Told, Transport
from harness.focus.stream import StreamChannel, StreamTransport
from harness.history.events import (
    FirstFrame,
    Outcome,
    WindowAccepted,
    WindowClosed,
    WindowReady,
    WindowUnknown,
)

ENDED = "ended"
"""Why an arrival was not offered that was still to come when the load ended."""


@dataclass(slots=True)
class Stage:
    """What all windows of an engine share."""

    api: AsyncFocusServerAPI
    payload: Payload
    purse: Purse
    marks: Watermarks
    record: Recorder
    creates: asyncio.Semaphore
    tell: Callable[[Told], None]
    base: int = 0
    grace_s: float = 3.0
    """How long the answer of a create is waited for when its window is closed meanwhile."""
    check_payload: bool = False
    full_checks: float = 0.0
    transport: Transport = "reference"
    reference_share: float = 0.0

    def transport_of(self, window: int) -> Transport:
        """Return what carries a window's streams: spread evenly, the same in every run."""
        lean = self.transport == "lean" and window * GOLDEN % 1 >= self.reference_share
        return "lean" if lean else "reference"


GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, taken modulo 1, lie as evenly as numbers can."""
TRANSPORTS: dict[Transport, Callable[[str, Endpoint | None], StreamTransport]] = {
    "reference": StreamChannel,
    "lean": LeanChannel,
}


CHANCE = random.Random()
"""For request ids: seeded by the system, and faster than asking it each time."""


@lru_cache(maxsize=8192)
def request_for(
    payload: Payload, style: Style, mark: Range, start_s: int | None, end_s: int | None
) -> ConfigureRequest:
    """Return what is asked for a window: the plan's payload, changed as its user's style says, on the channels of its mark."""
    return ConfigureRequest(
        channel_min=mark[0],
        channel_max=mark[1],
        duration_s=None if style.bare else payload.duration_s,
        nfft=1 if style.bare else payload.nfft,
        height=payload.height,
        frequency_min_hz=None if style.bare else payload.frequency_min_hz,
        frequency_max_hz=None if style.bare else payload.frequency_max_hz,
        view_type=style.view_type or payload.view_type,
        start_s=start_s,
        end_s=end_s,
    )


class BudgetSpent(Exception):
    """The budget allows no further create."""

    def __init__(self, spent: Spent) -> None:
        super().__init__(spent.text)
        self.spent = spent


class Window:
    """One window from its create to its end."""

    def __init__(self, ask: Play, stage: Stage) -> None:
        self._ask = ask
        self._stage = stage
        self._number = stage.base + ask.window
        self._sent_ns = 0
        self._transport = stage.transport_of(self._number)
        self.task: asyncio.Task[None] | None = None
        self._closed_early = False
        self._on_its_way = False
        """Whether the create is sent and not answered."""
        self._patience: asyncio.TimerHandle | None = None
        self._accepted_ns = 0
        self._ready_ns = 0
        self._first_ns = 0
        self._response: ConfigureResponse | None = None
        self._reading: Reading | None = None

    def start(self) -> "asyncio.Task[None]":
        """Begin to play, in a task of the window's own."""
        self.task = asyncio.create_task(self.play())
        return self.task

    def close(self) -> None:
        """End soon, once: a create on its way is waited for a little longer, to know what became of it."""
        if self.task is None or self._closed_early:
            return
        self._closed_early = True
        if self._on_its_way:
            self._patience = asyncio.get_running_loop().call_later(self._stage.grace_s, self.task.cancel)
        else:
            self.task.cancel()

    async def play(self) -> None:
        """Play the window to its end and tell what became of it."""
        mark = self._stage.marks.take(self._ask.style.channels)
        try:
            verdict = await self._played(mark)
        except asyncio.CancelledError:  # closed from outside before anything was asked
            verdict = Verdict(Outcome.CANCELLED, "closed before it was asked for")
        except BudgetSpent as error:
            self._stage.tell(Exhausted(limit=error.spent.limit, text=error.spent.text))
            verdict = Verdict(Outcome.CANCELLED, error.spent.text)
        finally:
            self._stage.marks.give_back(mark)
        self._ended(verdict)

    def never_sent(self) -> None:
        """Note that an arrival was closed before it had its first turn."""
        self._count("creates", -1)
        self._stage.purse.refused()
        self._stage.purse.closed()
        self._stage.record.not_offered(self._number, 1, self._ask.intended_ns or 0, ENDED)

    async def _played(self, mark: Range) -> Verdict:
        await self._turn()
        try:
            try:
                refusal = await self._create(mark)
            finally:
                self._count("creates", -1)
                if self._ask.intended_ns is None:
                    self._stage.creates.release()
            if refusal:
                return Verdict(refusal)
            if self._closed_early:
                return Verdict(Outcome.CANCELLED, "closed before its stream was asked for")
            return await self._streamed(mark)
        finally:
            self._stage.purse.closed()

    async def _turn(self) -> None:
        """Wait until this create may be sent: a place among the creates in flight, and the budget's word."""
        creates, purse, record = self._stage.creates, self._stage.purse, self._stage.record
        if self._ask.intended_ns is not None:  # an arrival waits for nobody, and is counted already
            return
        await creates.acquire()
        try:
            while isinstance(answer := purse.ask(time.monotonic_ns()), Wait):
                if answer.limit == "max_open_windows":
                    record.note_once("warning", f"budget {answer.limit} is reached; further windows wait")
                await asyncio.sleep(answer.ns / 1e9)
        except BaseException:
            creates.release()
            raise
        if isinstance(answer, Spent):
            creates.release()
            record.note_once("warning", answer.text)
            raise BudgetSpent(answer)
        self._count("creates", 1)

    async def _create(self, mark: Range) -> Outcome | None:
        """Send the one create; return how it failed, or None with `_response` set."""
        stage, request_id = self._stage, f"{CHANCE.getrandbits(128):032x}"
        self._sent_ns = sent_ns = time.monotonic_ns()
        late_ns: int | None = None
        if (intended_ns := self._ask.intended_ns) is not None:
            stage.record.arrived(self._number, intended_ns, sent_ns)
            late_ns = stage.record.run_ns(sent_ns) - intended_ns
        outcome: Outcome | None = None
        status = 0
        self._on_its_way = True
        try:
            self._response = await stage.api.configure_streaming_job(
                request_for(stage.payload, self._ask.style, mark, self._ask.start_s, self._ask.end_s),
                request_id,
                self._number,
            )
        except CallFailed as error:
            outcome, status = error.outcome, error.status
        except asyncio.CancelledError:
            outcome = Outcome.CANCELLED
        finally:
            self._on_its_way = False
            if self._patience is not None:
                self._patience.cancel()
        done_ns = time.monotonic_ns()
        if outcome is None or outcome in POSSIBLY_OPEN:
            stage.purse.made()
        else:
            stage.purse.refused()
        if outcome in POSSIBLY_OPEN:
            stage.record.unknown += 1
            stage.record.event(
                WindowUnknown(
                    at_ns=stage.record.run_ns(done_ns),
                    window=self._number,
                    outcome=outcome or Outcome.UNKNOWN,
                    request_id=request_id,
                )
            )
        elif self._response is not None:
            self._accepted(self._response, sent_ns, done_ns)
        stage.tell(
            Answered(
                window=self._ask.window,
                outcome=outcome,
                status=200 if outcome is None else status,
                latency_ns=done_ns - sent_ns,
                late_ns=late_ns,
            )
        )
        return outcome

    def _accepted(self, response: ConfigureResponse, sent_ns: int, done_ns: int) -> None:
        record = self._stage.record
        self._accepted_ns = done_ns
        record.drift(response.drift, f"job {response.job_id}")
        record.event(
            WindowAccepted(
                at_ns=record.run_ns(done_ns),
                window=self._number,
                job_id=response.job_id,
                streams=response.streams,
                latency_ns=done_ns - sent_ns,
                address=response.address,
                lines_dt_s=response.lines_dt_s if self._ask.start_s is None else 0.0,
                persona=self._ask.style.persona,
                own_pace=self._ask.style.reading != "all",
            )
        )

    async def _streamed(self, mark: Range) -> Verdict:
        """Wait for the stream and read it; a cancellation is the planned end of whatever has begun."""
        response = self._response
        if response is None:
            raise RuntimeError("a window without an answer cannot stream")
        if self._ask.style.reading == "never":
            return await self._abandoned()
        self._count(counted := "opening", 1)
        channel = self._dialled(response)
        try:
            try:
                async with asyncio.timeout(self._timeouts.ready_s):
                    await channel.ready()
            except TimeoutError:
                return Verdict(
                    Outcome.PENDING_NO_START,
                    f"{response.address} not ready within {self._timeouts.ready_s:g} s",
                )
            self._is_ready(response)
            self._count(counted, -1)
            self._count(counted := "streaming", 1)
            self._reading = Reading(
                channel,
                response,
                mark,
                window=self._number,
                live=self._ask.start_s is None,
                asked_ns=self._sent_ns,
                record=self._stage.record,
                first=self._is_first,
                check_payload=self._stage.check_payload,
                full_checks=self._stage.full_checks,
                style=self._ask.style,
            )
            return await self._reading.held(self._timeouts.first_frame_s, self._ask.hold_s)
        except asyncio.CancelledError:
            if self._first_ns:
                return Verdict(Outcome.STREAMING, "closed before its planned end")
            return Verdict(Outcome.CANCELLED, "closed before its first frame")
        finally:
            self._count(counted, -1)
            await channel.close()

    def _dialled(self, response: ConfigureResponse) -> StreamTransport:
        """Return the window's connection, TLS where its address says `https`; what cannot go unverified goes over the lean transport."""
        tls = self._stage.api.endpoint if response.secure else None
        if tls is not None and tls.insecure:
            self._stage.record.note_once(
                "warning", "the streams' certificates are not verified; the lean transport carries them all"
            )
            self._transport = "lean"
        return TRANSPORTS[self._transport](response.address, tls)

    async def _abandoned(self) -> Verdict:
        """Keep away from an accepted window for as long as it would have been watched; what becomes of it is the server's affair."""
        try:
            await asyncio.sleep(self._ask.hold_s)
        except asyncio.CancelledError:
            return Verdict(Outcome.ABANDONED, "until the load ended")
        return Verdict(Outcome.ABANDONED)

    def _is_ready(self, response: ConfigureResponse) -> None:
        record = self._stage.record
        self._ready_ns = time.monotonic_ns()
        since_ns = self._ready_ns - self._accepted_ns
        record.event(
            WindowReady(
                at_ns=record.run_ns(self._ready_ns),
                window=self._number,
                job_id=response.job_id,
                since_accept_ns=since_ns,
                transport=self._transport,
            )
        )
        self._stage.tell(Ready(window=self._ask.window, since_accept_ns=since_ns))

    def _is_first(self, at_ns: int) -> None:
        record, self._first_ns = self._stage.record, at_ns
        job_id = self._response.job_id if self._response else ""
        since_ns = at_ns - self._accepted_ns
        record.event(
            FirstFrame(
                at_ns=record.run_ns(at_ns), window=self._number, job_id=job_id, since_accept_ns=since_ns
            )
        )
        self._stage.tell(First(window=self._ask.window, since_accept_ns=since_ns))

    def _ended(self, verdict: Verdict) -> None:
        record, now_ns = self._stage.record, time.monotonic_ns()
        reading = self._reading
        if self._response is not None:
            record.event(
                WindowClosed(
                    at_ns=record.run_ns(now_ns),
                    window=self._number,
                    job_id=self._response.job_id,
                    outcome=verdict.outcome,
                    frames=reading.frames if reading else 0,
                    rows=reading.rows if reading else 0,
                    bytes=reading.bytes if reading else 0,
                    checked=reading.checked if reading else 0,
                    detail=verdict.detail,
                )
            )
        self._stage.tell(
            Ended(
                window=self._ask.window,
                outcome=verdict.outcome,
                accepted=self._response is not None,
                ready=self._ready_ns > 0,
                first=self._first_ns > 0,
                since_accept_ns=now_ns - self._accepted_ns if self._accepted_ns else 0,
                streamed_ns=now_ns - self._ready_ns if self._ready_ns else 0,
                frames=reading.frames if reading else 0,
                bytes=reading.bytes if reading else 0,
                detail=verdict.detail,
            )
        )

    def _count(self, what: str, by: int) -> None:
        record = self._stage.record
        setattr(record, what, getattr(record, what) + by)

    @property
    def _timeouts(self) -> Timeouts:
        return self._stage.api.endpoint.timeouts
