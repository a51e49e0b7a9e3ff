"""Read all streams of one window at once, and say how that ended.

Every frame is checked for whose it is before it counts; the first that is somebody else's ends the window and is dropped. Used
by `Window` for exactly one window; the task that awaits `held` owns the readers.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.engine.record import Recorder
from harness.engine.watermark import Range
from harness.focus.answers import ConfigureResponse
from harness.focus.frames import read_frame
from harness.focus.outcomes import stream_end
from harness.focus.ownership import StreamWatch, expected
from harness.focus.payload import corruption, payload_problem
from harness.focus.seam import PLAIN, Style
from harness.focus.stream import StreamEnd, StreamTransport
from harness.history.events import Outcome

SILENCE_S = 5.0  # a live stream without a frame for this long is worth a word in the record
LAST_RESORT_S = 60.0
WORST_FIRST = (
    Outcome.STREAM_BROKEN,
    Outcome.STREAM_BROKEN_BEFORE_DATA,
    Outcome.STREAM_NO_FRAME,
    Outcome.COMPLETE,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a window ended, and what else is worth knowing."""

    outcome: Outcome
    detail: str = ""


class Pace:
    """How late a frame is, compared with the earliest pace its stream ever showed."""

    __slots__ = ("_base_ns", "_row_ns")

    def __init__(self, lines_dt_s: float) -> None:
        self._row_ns = lines_dt_s * 1e9
        self._base_ns = float("inf")

    def lag_ns(self, at_ns: int, row: int) -> int:
        """Return how much later than `row` rows after the stream's earliest start `at_ns` is."""
        due = at_ns - row * self._row_ns
        self._base_ns = min(self._base_ns, due)
        return int(due - self._base_ns)


class Reading:
    """The streams of one window; `frames`, `rows` and `bytes` count what was the window's own."""

    def __init__(
        self,
        channel: StreamTransport,
        response: ConfigureResponse,
        mark: Range,
        *,
        window: int,
        live: bool,
        asked_ns: int,
        record: Recorder,
        first: Callable[[int], None],
        check_payload: bool = False,
        full_checks: float = 0.0,
        style: Style = PLAIN,
    ) -> None:
        self._channel = channel
        self._response = response
        self._window = window
        self._live = live
        self._record = record
        self._is_first = first
        self._style = style
        self._job = response.slot_and_counter if check_payload else None
        self._check_every = round(1 / full_checks) if full_checks > 0 else 0
        self._watches = [
            StreamWatch(expected(response, stream, *mark), live=live, asked_ns=asked_ns)
            for stream in range(response.streams)
        ]
        self._frames_of = [0] * response.streams
        self._ends: dict[int, StreamEnd] = {}
        self._last_ns = 0
        self.frames = 0
        self.rows = 0
        self.bytes = 0
        self.checked = 0
        """Frames whose every row was looked at."""

    async def held(self, first_frame_s: float, hold_s: float) -> Verdict:
        """Read until `hold_s` after the first frame, or until the window ends by itself."""
        loop = asyncio.get_running_loop()
        self._over: asyncio.Future[Verdict] = loop.create_future()
        self._begun: asyncio.Future[None] = loop.create_future()
        deadline_s = first_frame_s + hold_s + LAST_RESORT_S
        readers = [
            asyncio.create_task(self._read(stream, deadline_s)) for stream in range(self._response.streams)
        ]
        try:
            await asyncio.wait(
                (self._over, self._begun), timeout=first_frame_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not self._over.done() and not self._begun.done():
                return Verdict(Outcome.STREAM_NO_FRAME, f"no frame within {first_frame_s:g} s")
            if not self._over.done():
                await asyncio.wait((self._over,), timeout=hold_s)
            return self._over.result() if self._over.done() else self._kept()
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    def _kept(self) -> Verdict:
        """The planned end of a window that was streaming; what was not as it should be is said."""
        words = self._oddities()
        if self._style.reading == "stop":
            return Verdict(Outcome.STREAMING, "; ".join([*words, "not read after the first frames"]))
        silent_s = (time.monotonic_ns() - self._last_ns) / 1e9
        if self._live and silent_s > max(SILENCE_S, 20 * self._response.lines_dt_s):
            words.append(f"no frame in the last {silent_s:.1f} s")
        return Verdict(Outcome.STREAMING, "; ".join(words))

    def _oddities(self) -> list[str]:
        silent = [str(stream) for stream, frames in enumerate(self._frames_of) if not frames]
        skipped = sum(watch.skipped_rows for watch in self._watches)
        words = [f"no frame on stream {', '.join(silent)}"] if silent else []
        return [*words, f"{skipped} rows skipped"] if skipped else words

    async def _read(self, stream: int, deadline_s: float) -> None:
        try:
            await self._followed(stream, deadline_s)
        except StreamEnd as end:
            self._ended(stream, end)
        except ValueError as error:
            broken = Outcome.STREAM_BROKEN if self.frames else Outcome.STREAM_BROKEN_BEFORE_DATA
            self._decide(Verdict(broken, f"stream {stream}: {error}"))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not self._over.done():
                self._over.set_exception(error)

    async def _followed(self, stream: int, deadline_s: float) -> None:
        """Read one stream for ever; leaves by `StreamEnd`, or when a frame is not the window's."""
        call = self._channel.open(stream, deadline_s)
        watch, pace = self._watches[stream], Pace(self._response.lines_dt_s)
        as_fast_as_they_come = self._style.reading == "all"
        paced = self._live and as_fast_as_they_come and self._response.lines_dt_s > 0
        record, window, run_ns = self._record.frame, self._window, self._record.run_ns
        while True:
            data = await call.next()
            at_ns = time.monotonic_ns()
            frame = read_frame(data)
            why = watch.suspicion(frame, at_ns)
            if self._job is not None and not why:
                why = payload_problem(data, *self._job, stream)
            if self._check_every and not why and not self.frames % self._check_every:
                self._check(data)
            if why:
                self._decide(Verdict(Outcome.FOREIGN_STREAM, f"stream {stream}: {why}"))
                return
            lag_ns = pace.lag_ns(at_ns, frame.last_row) if paced and frame.rows else 0
            record((run_ns(at_ns), window, stream, frame.first_row, frame.rows, frame.bytes, lag_ns))
            self._frames_of[stream] += 1
            self.frames += 1
            self.rows += frame.rows
            self.bytes += frame.bytes
            self._last_ns = at_ns
            if not self._begun.done():
                self._begun.set_result(None)
                self._is_first(at_ns)
            if not as_fast_as_they_come:
                await self._dawdle()

    def _check(self, data: bytes) -> None:
        """Look at every row of a message; raise ValueError for one that contradicts itself."""
        self.checked += 1
        if found := corruption(data):
            raise ValueError(f"a corrupt message: {found}")

    async def _dawdle(self) -> None:
        """Do not read for a while, or not any more: what comes meanwhile fills the buffers, and then the server's."""
        if self._style.reading == "stop":
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(self._style.pause_s)

    def _ended(self, stream: int, end: StreamEnd) -> None:
        """One stream was ended by the other side: for a live window that is the end of all of them."""
        self._ends[stream] = end
        if self._live or len(self._ends) == self._response.streams:
            # Only now is it known whether there was data: a stream that ended first may have had nothing yet.
            judged = [
                (stream_end(end.code, end.detail, live=self._live, frames=self.frames), number, end)
                for number, end in self._ends.items()
            ]
            outcome, number, end = min(judged, key=lambda one: WORST_FIRST.index(one[0]))
            self._decide(Verdict(outcome, "; ".join([f"stream {number}: {end}", *self._oddities()])))

    def _decide(self, verdict: Verdict) -> None:
        if not self._over.done():
            self._over.set_result(verdict)
