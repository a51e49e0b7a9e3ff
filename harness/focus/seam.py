"""The seam between those who want windows and the engine that plays them: a small message set over a stream socket.

The load process asks ("play this window"), the engine answers with batches of what became of it. Each message is four bytes
of length (big-endian) and msgpack. Imported by both sides, so nothing here knows Locust, asyncio, HTTP or gRPC.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Literal

import msgspec

from harness.errors import InputError
from harness.focus.answers import Span
from harness.focus.arrivals import Arrivals
from harness.focus.endpoint import Endpoint
from harness.history.events import Outcome

Transport = Literal["reference", "lean"]
"""What carries the streams: grpcio's asyncio client, or `harness.focus.lean`."""
LENGTH = Struct(">I")
LIMIT = 16 << 20


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What the load may cost the target at most; the engine enforces it."""

    max_jobs: int = 500
    max_rate_per_s: float = 20.0
    max_duration_s: float = 3600.0
    max_open_windows: int = 60


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What windows look like; the channel range of each is its own (see `harness.engine.watermark`)."""

    duration_s: int = 10
    height: int = 100
    nfft: int = 1024
    channels: int = 50
    """How many channels a window shows."""
    channel_min: int = 1
    channel_max: int = 2337
    frequency_min_hz: float = 0.0
    frequency_max_hz: float = 500.0
    view_type: str = "0"

    def __post_init__(self) -> None:
        room = self.channel_max - self.channel_min + 1
        if not 1 <= self.channels <= room:
            raise InputError(
                f"channels: {self.channels} do not fit between {self.channel_min} and {self.channel_max} ({room})"
            )


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """How one user's windows differ from the plan's payload, and what is done with their streams."""

    persona: str = ""
    view_type: str | None = None
    """None: the payload's."""
    channels: int | None = None
    """How many channels it shows; None: the payload's."""
    bare: bool = False
    """Ask as a waterfall must: without duration and frequencies, and with nfft 1."""
    reading: Literal["all", "slow", "stop", "never"] = "all"
    """Read every frame; one in `pause_s`; none after the first; or do not even connect."""
    pause_s: float = 1.0


PLAIN = Style()


# --- to the engine --------------------------------------------------------------------------------


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What the load says to its engine."""


class Begin(Ask, frozen=True, kw_only=True, tag="begin"):
    """First message: what to load, how, and where to write the history."""

    endpoint: Endpoint
    budget: Budget
    payload: Payload
    creates_in_flight: int
    history: str
    writer: str
    clock_start_ns: int
    live: str | None = None
    window_base: int = 0
    """Added to every window number in the history, so that engines of one run do not collide."""
    check_payload: bool = False
    """Check every sample row against the sandbox's formula; only a sandbox passes."""
    full_checks: float = 0.0
    """Share of the frames whose every row is looked at."""
    canary: bool = False
    """Read a canary stream beside the others."""
    transport: Transport = "reference"
    reference_share: float = 0.2
    """With `lean`: the share of windows that stay on the reference, so that both can be compared."""
    part: int = 0
    parts: int = 1
    """Several engines load one server: each takes channel ranges that no other takes."""


class Play(Ask, frozen=True, kw_only=True, tag="play"):
    """Open a window, stream it for `hold_s` after its first frame, close it. With times it is historic."""

    window: int
    hold_s: float
    start_s: int | None = None
    end_s: int | None = None
    intended_ns: int | None = None
    """The planned instant of an open arrival (of the run); the budget has been asked already."""
    style: Style = PLAIN


class Arrive(Ask, frozen=True, kw_only=True, tag="arrive"):
    """Play a plan of open arrivals: each opens a live window, `first` and those after it, held as long as is drawn from `hold_s`."""

    arrivals: Arrivals
    first: int
    hold_s: tuple[float, float]


class Cease(Ask, frozen=True, kw_only=True, tag="cease"):
    """Offer no further arrivals; windows that are open stay."""


class Close(Ask, frozen=True, kw_only=True, tag="close"):
    """Close a window now; a create on its way is given up (and is then possibly open)."""

    window: int


class AskRecordings(Ask, frozen=True, kw_only=True, tag="ask_recordings"):
    """Ask the server what was recorded between two instants (epoch seconds)."""

    ask: int
    start_s: int
    end_s: int


class Errand(Ask, frozen=True, kw_only=True, tag="errand"):
    """Send one request that is to open no window: a question by its name, or a create that `body` makes invalid."""

    ask: int
    what: Literal["ack", "channels", "live_metadata", "configure_invalid"]
    body: bytes = b""


class Beat(Ask, frozen=True, kw_only=True, tag="beat"):
    """Once a second: the load process' CPU time so far, and how many windows are wanted now."""

    cpu_s: float
    wanted: int


class Drain(Ask, frozen=True, kw_only=True, tag="drain"):
    """Close every window, write everything down, say `Drained`, and end."""

    within_s: float


# --- from the engine ------------------------------------------------------------------------------


class Told(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What the engine tells the load."""


class Begun(Told, frozen=True, kw_only=True, tag="begun"):
    """The engine is ready to play."""

    pid: int


class Answered(Told, frozen=True, kw_only=True, tag="answered"):
    """`POST /configure` ended; `outcome` is None for a 200."""

    window: int
    outcome: Outcome | None
    status: int
    latency_ns: int
    bytes: int = 0
    late_ns: int | None = None
    """How much later than planned an open arrival was sent."""


class Ready(Told, frozen=True, kw_only=True, tag="ready"):
    """The stream's channel is up."""

    window: int
    since_accept_ns: int


class First(Told, frozen=True, kw_only=True, tag="first"):
    """The window's own first frame came."""

    window: int
    since_accept_ns: int


class Ended(Told, frozen=True, kw_only=True, tag="ended"):
    """The window is over, whether it ever opened or not."""

    window: int
    outcome: Outcome
    accepted: bool = False
    ready: bool = False
    first: bool = False
    since_accept_ns: int = 0
    streamed_ns: int = 0
    frames: int = 0
    bytes: int = 0
    detail: str = ""


class NotOffered(Told, frozen=True, kw_only=True, tag="not_offered"):
    """So many planned arrivals in a row were not sent at all; `why` is a limit of the budget, `in_flight` or `ended`."""

    count: int
    why: str


class ArrivalsOver(Told, frozen=True, kw_only=True, tag="arrivals_over"):
    """No arrival is left: so many were planned, so many of them were sent, on time or late."""

    planned: int
    offered: int


class RecordingsFound(Told, frozen=True, kw_only=True, tag="recordings_found"):
    """Answer to `AskRecordings`; `outcome` is None when the server answered."""

    ask: int
    outcome: Outcome | None
    spans: tuple[Span, ...]
    latency_ns: int = 0


class ErrandDone(Told, frozen=True, kw_only=True, tag="errand_done"):
    """Answer to `Errand`; `outcome` is None where the server did as it should (an invalid create: answered it with 4xx)."""

    ask: int
    what: str
    outcome: Outcome | None
    status: int = 0
    latency_ns: int = 0


class Exhausted(Told, frozen=True, kw_only=True, tag="exhausted"):
    """The budget is used up: `limit` is its name. Nothing more is opened."""

    limit: str
    text: str


class Failed(Told, frozen=True, kw_only=True, tag="failed"):
    """The engine itself cannot go on; `code` is the exit code that says why."""

    code: int
    text: str


class Drained(Told, frozen=True, kw_only=True, tag="drained"):
    """Everything is closed and written; the engine ends now."""


AnyAsk = Begin | Play | Arrive | Cease | Close | AskRecordings | Errand | Beat | Drain
AnyTold = (
    Begun
    | Answered
    | Ready
    | First
    | Ended
    | NotOffered
    | ArrivalsOver
    | RecordingsFound
    | ErrandDone
    | Exhausted
    | Failed
    | Drained
)

_encoder = msgspec.msgpack.Encoder()
_asks = msgspec.msgpack.Decoder(AnyAsk)
_batches = msgspec.msgpack.Decoder(tuple[AnyTold, ...])


def packed(message: Ask | tuple[Told, ...]) -> bytes:
    """Return one message (or one batch) as it goes over the socket."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


def unpacked_ask(body: bytes) -> AnyAsk:
    """Read one message to the engine."""
    ask: AnyAsk = _asks.decode(body)
    return ask


def unpacked_batch(body: bytes) -> tuple[AnyTold, ...]:
    """Read one batch from the engine."""
    return _batches.decode(body)


class Inbox:
    """Cuts a byte stream into messages, however it arrives in pieces."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take `data` and yield every message that is complete now; raise `ValueError` for an impossible length."""
        self._bytes += data
        at = 0
        try:
            while len(self._bytes) - at >= LENGTH.size:
                (length,) = LENGTH.unpack_from(self._bytes, at)
                if length > LIMIT:
                    raise ValueError(f"a message of {length} bytes is no message of ours")
                end = at + LENGTH.size + length
                if len(self._bytes) < end:
                    return
                body = bytes(self._bytes[at + LENGTH.size : end])
                at = end
                yield body
        finally:
            del self._bytes[:at]
