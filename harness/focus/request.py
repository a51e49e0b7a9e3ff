"""What is asked of `POST /configure`: a checked value, and its JSON body. Pure.

The check is the client's contract (the field's server accepts almost anything). Campaigns and the engine build requests;
`from_body` reads the JSON people have at hand, with the types they tend to use.
"""

from functools import lru_cache
from typing import Any

import msgspec

from harness.errors import InputError

VIEWS: dict[str, str] = {"multichannel": "0", "singlechannel": "1", "waterfall": "2"}


class InvalidRequest(InputError):
    """A window was asked for in a way no Focus Server could serve; nothing was sent."""


class ConfigureRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A window: what to show, of which channels and frequencies, live (no times) or historic (both times)."""

    channel_min: int
    channel_max: int
    duration_s: int | None = 10
    """`displayTimeAxisDuration`: seconds the window shows."""
    nfft: int | None = 1024
    height: int | None = 100
    """Pixel rows of the display; None leaves it out (only the paper server has a default)."""
    frequency_min_hz: float | None = 0
    frequency_max_hz: float | None = 500
    start_s: int | None = None
    """Epoch seconds; with `end_s` it makes the window historic."""
    end_s: int | None = None
    view_type: str = "0"
    """Sent as a string, which every build accepts; one build refuses integers."""

    def __post_init__(self) -> None:
        problems = [text for wrong, text in self._checks() if wrong]
        if problems:
            raise InvalidRequest("this window cannot be asked for: " + "; ".join(problems))

    def _checks(self) -> tuple[tuple[bool, str], ...]:
        low, high = self.channel_min, self.channel_max
        least, most = self.frequency_min_hz, self.frequency_max_hz
        start, end = self.start_s, self.end_s
        return (
            (low < 0, f"channels.min {low} is below 0"),
            (high < low, f"channels.max {high} is below channels.min {low}"),
            (
                self.duration_s is not None and self.duration_s <= 0,
                f"duration {self.duration_s} s is not above 0",
            ),
            (self.nfft is not None and self.nfft <= 0, f"nfft {self.nfft} is not above 0"),
            (self.height is not None and self.height <= 0, f"height {self.height} is not above 0"),
            ((least is None) != (most is None), "frequencyRange needs both ends or neither"),
            (
                least is not None and most is not None and not 0 <= least < most,
                f"frequencyRange {least}..{most} Hz is not a range",
            ),
            (
                (start is None) != (end is None),
                "start_time and end_time: give both (historic) or neither (live)",
            ),
            (
                start is not None and end is not None and end <= start,
                f"end_time {end} is not after start_time {start}",
            ),
            (self.view_type not in VIEWS.values(), f"view_type {self.view_type!r} is not one of 0, 1, 2"),
        )

    @property
    def live(self) -> bool:
        """Whether the window follows the fibre rather than a recording."""
        return self.start_s is None

    def body(self) -> bytes:
        """Return the JSON body, in the server's own field names."""
        return _body_of(self)

    def _encoded(self) -> bytes:
        body: dict[str, Any] = {
            "displayTimeAxisDuration": self.duration_s,
            "nfftSelection": self.nfft,
            "displayInfo": None if self.height is None else {"height": self.height},
            "channels": {"min": self.channel_min, "max": self.channel_max},
            "frequencyRange": None
            if self.frequency_min_hz is None
            else {"min": self.frequency_min_hz, "max": self.frequency_max_hz},
        }
        present = {key: value for key, value in body.items() if value is not None}
        present |= {"start_time": self.start_s, "end_time": self.end_s, "view_type": self.view_type}
        return msgspec.json.encode(present)

    @classmethod
    def from_body(cls, body: bytes | str | dict[str, Any]) -> "ConfigureRequest":
        """Read the server's own JSON; raise `InvalidRequest` for what is missing or not understood."""
        try:
            raw = body if isinstance(body, dict) else msgspec.json.decode(body)
            sent = msgspec.convert(raw, _Body, strict=False)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise InvalidRequest(f"this is not the body of a window: {error}") from error
        return cls(
            channel_min=sent.channels.min,
            channel_max=sent.channels.max,
            duration_s=sent.displayTimeAxisDuration,
            nfft=sent.nfftSelection,
            height=sent.displayInfo.height if sent.displayInfo else None,
            frequency_min_hz=sent.frequencyRange.min if sent.frequencyRange else None,
            frequency_max_hz=sent.frequencyRange.max if sent.frequencyRange else None,
            start_s=sent.start_time,
            end_s=sent.end_time,
            view_type=str(sent.view_type),
        )


@lru_cache(maxsize=8192)
def _body_of(request: ConfigureRequest) -> bytes:
    return request._encoded()


class _Channels(msgspec.Struct):
    min: int
    max: int


class _Hertz(msgspec.Struct):
    min: float
    max: float


class _Display(msgspec.Struct):
    height: int


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    channels: _Channels
    displayTimeAxisDuration: int | None = None  # noqa: N815  (the server's spelling)
    nfftSelection: int | None = None  # noqa: N815
    displayInfo: _Display | None = None  # noqa: N815
    frequencyRange: _Hertz | None = None  # noqa: N815
    start_time: int | None = None
    end_time: int | None = None
    view_type: str | int = "0"
