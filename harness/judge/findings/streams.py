"""What came over the streams, and how evenly: the fleet, kinds of users, and the streams that fared worst."""

from harness.judge.findings.finding import Finding


class StreamRow(Finding, frozen=True, kw_only=True):
    """One stream of one window, or (`window` 0) all streams of some windows together."""

    window: int = 0
    stream: int = 0
    persona: str = ""
    streams: int
    frames: int
    rows: int
    bytes: int
    lost_rows: int
    """Rows that were skipped: row numbers that never came, between two that did."""
    gap_p50_s: float | None
    """From frame to frame."""
    gap_p99_s: float | None
    gap_max_s: float | None
    late_p99_s: float | None
    """How much longer a gap was than its rows take (rows x lines_dt); None where rows have no pace (recordings)."""
    stalls: int
    """Gaps of a live stream that were too long: see `StreamsFinding.stall_after_s`."""
    stalled_s: float
    """How long they were together."""


class TransportRow(Finding, frozen=True, kw_only=True):
    """The windows whose streams one transport carried."""

    transport: str
    """reference or lean."""
    windows: int
    """Those that became ready, and were read as fast as frames came."""
    broken: int
    """Of those, how many streams broke, or never yielded a frame."""
    frames_per_s: float | None
    """Per window, while it streamed."""
    gap_p99_s: float | None


class StreamsFinding(Finding, frozen=True, kw_only=True):
    """All streams that were read as fast as they came."""

    stall_after_s: float
    """A live stream stalls when nothing comes for so long, or for five times as long as the next frame's rows take."""
    fleet: StreamRow
    checked: int = 0
    """Frames whose every row was looked at, of windows that are closed."""
    transports: tuple[TransportRow, ...]
    """What carried them; both where the lean transport was chosen and some windows stayed on the reference."""
    personas: tuple[StreamRow, ...]
    """By kind of user, those that read at their own pace left out."""
    worst: tuple[StreamRow, ...]
    """The streams with the longest stalls; at most ten."""
