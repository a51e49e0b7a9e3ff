"""Whose frames are these? Ports are reused at once, so a stream that connects may be another job's. Pure.

Judged by what a real server sends: the channel range asked for (unique per open window), the row width, the job number if
there is one, where the rows begin, and that rows, times and the running maximum never go back. The engine asks for every frame;
a mismatch ends the window as `foreign_stream`, and its frames are dropped.
"""

from dataclasses import dataclass

from harness.focus.answers import ConfigureResponse
from harness.focus.frames import Frame

ROW_MARGIN = 20  # rows a live job may be ahead of the clock: buffers, and rates that are only nearly right


@dataclass(frozen=True, slots=True)
class Expected:
    """What the frames of one stream of one window must look like; None where the answer left it open."""

    start_channel: int | None
    end_channel: int | None
    widths: frozenset[int]
    jobs: frozenset[int]
    lines_dt_s: float


def expected(response: ConfigureResponse, stream: int, channel_min: int, channel_max: int) -> Expected:
    """Return what stream number `stream` must look like, given the answer and the channels that were asked for."""
    channels = _channels(response, stream, channel_min, channel_max)
    bins = {n for n in (response.frequencies_amount, len(response.frequencies_hz)) if n > 0}
    return Expected(
        start_channel=channels[0] if channels else None,
        end_channel=channels[-1] if channels else None,
        widths=frozenset(len(channels) * n for n in bins) if channels else frozenset(),
        jobs=frozenset(response.slot_and_counter or ()),
        lines_dt_s=response.lines_dt_s,
    )


def _channels(response: ConfigureResponse, stream: int, low: int, high: int) -> tuple[int, ...]:
    if response.channels_by_stream:
        return response.channels_by_stream[stream]
    # Without a mapping: contiguous, nearly equal, larger groups first, as every observed server splits.
    size, larger = divmod(high - low + 1, response.streams)
    start = low + stream * size + min(stream, larger)
    return tuple(range(start, start + size + (stream < larger)))


class StreamWatch:
    """Follows one stream: `suspicion` of a frame (empty if it is ours), and the rows that were skipped."""

    def __init__(self, wanted: Expected, *, live: bool, asked_ns: int) -> None:
        self._wanted = wanted
        self._live = live
        self._asked_ns = asked_ns
        self._row = -1
        self._ms = 0
        self._width = 0
        self._maximum = float("-inf")
        self.skipped_rows = 0

    def suspicion(self, frame: Frame, at_ns: int) -> str:
        """Return why `frame` (received at `at_ns`, same clock as `asked_ns`) is not this window's, or an empty text."""
        if frame.rows and frame.first_row <= self._row:
            return f"row_index goes back from {self._row} to {frame.first_row}"
        why = self._broken_continuity(frame) if self._width else self._stranger(frame, at_ns)
        if why:
            return why
        if self._row >= 0 and frame.rows:
            self.skipped_rows += frame.first_row - self._row - 1
        if frame.rows:
            self._row, self._ms = frame.last_row, frame.last_ms
        self._width = frame.width
        self._maximum = frame.maximum
        return ""

    def _broken_continuity(self, frame: Frame) -> str:
        wanted = self._wanted
        if frame.start_channel != wanted.start_channel and wanted.start_channel is not None:
            return f"start_channel turned {frame.start_channel}, expected {wanted.start_channel}"
        if frame.width != self._width:
            return f"data_shape_x changed from {self._width} to {frame.width}"
        if frame.rows and frame.first_ms < self._ms:
            return f"timestamps go back by {self._ms - frame.first_ms} ms"
        if frame.maximum < self._maximum:
            return f"global_maximum fell from {self._maximum:g} to {frame.maximum:g}"
        return ""

    def _stranger(self, frame: Frame, at_ns: int) -> str:
        wanted = self._wanted
        if wanted.start_channel is not None and (frame.start_channel, frame.end_channel) != (
            wanted.start_channel,
            wanted.end_channel,
        ):
            return (
                f"channels {frame.start_channel}..{frame.end_channel}, "
                f"expected {wanted.start_channel}..{wanted.end_channel}"
            )
        if wanted.widths and frame.width not in wanted.widths:
            return f"data_shape_x {frame.width}, expected {' or '.join(map(str, sorted(wanted.widths)))}"
        if frame.job is not None and wanted.jobs and frame.job not in wanted.jobs:
            return f"job_id {frame.job}, expected {' or '.join(map(str, sorted(wanted.jobs)))}"
        if self._live and wanted.lines_dt_s > 0:
            most = (at_ns - self._asked_ns) / 1e9 / wanted.lines_dt_s + ROW_MARGIN
            if frame.first_row > most:
                return (
                    f"row_index begins at {frame.first_row}; this job cannot have made more than {most:.0f}"
                )
        return ""
