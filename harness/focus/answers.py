"""Read Focus Server's answers: liberal about what is accepted, exact about what was odd. Pure.

Every parser returns a value or raises `BrokenAnswer`. What departs from the contract and could be understood all the same
is named in the value's `drift` (see docs/load.md for the list); the engine counts it. The `metadata` tree is looked at only
for its presence: the field's holds credentials and is never kept.
"""

import math
from typing import Any, TypeGuard

import msgspec

from harness.errors import TargetError


class BrokenAnswer(TargetError):
    """The server answered something that cannot be read as what was asked for."""


class ConfigureResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What an accepted window is: its job, where its streams are, how they are cut."""

    job_id: str
    host: str
    port: int
    streams: int
    lines_dt_s: float
    channels_by_stream: tuple[tuple[int, ...], ...] = ()
    """Per stream the channels it carries, ascending; empty when the answer did not say."""
    frequencies_hz: tuple[float, ...] = ()
    frequencies_amount: int = 0
    channel_amount: int = 0
    view_type: str = ""
    status: str = ""
    secure: bool = False
    """Whether the stream is served over TLS: its address said `https://`."""
    drift: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """Return `host:port` to dial."""
        return f"{self.host}:{self.port}"

    @property
    def slot_and_counter(self) -> tuple[int, int] | None:
        """Return the two numbers of a `<slot>-<counter>` job id, or None for another form."""
        slot, dash, counter = self.job_id.partition("-")
        return (int(slot), int(counter)) if dash and slot.isdecimal() and counter.isdecimal() else None


class Channels(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /channels`: the channels a window may ask for."""

    lowest: int
    highest: int
    drift: tuple[str, ...] = ()


class LiveMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /live_metadata`, as far as it decides anything."""

    prr: float
    sw_version: str
    number_of_channels: float | None = None
    fiber_description: str = ""
    drift: tuple[str, ...] = ()

    @property
    def waiting_for_fiber(self) -> bool:
        """Whether live windows must fail: there is no fibre behind the server."""
        return not self.prr > 0 or self.sw_version == "waiting for fiber"


class Span(msgspec.Struct, frozen=True):
    """A recording, in epoch seconds; `end_s` is None while it is still being written."""

    start_s: float
    end_s: float | None


class Recordings(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /recordings_in_time_range`: what is on disk in a span of time."""

    spans: tuple[Span, ...]
    drift: tuple[str, ...] = ()


def parse_configure(body: bytes) -> ConfigureResponse:
    """Read a 200 of `/configure`; raise `BrokenAnswer` without a job, an address or a stream."""
    raw = _mapping(body, "configure")
    odd: list[str] = []
    host = _host(raw.get("stream_url"), odd)
    port = _integer(raw, "stream_port", odd)
    streams = _integer(raw, "stream_amount", odd)
    job_id = raw.get("job_id")
    if not isinstance(job_id, str) or not job_id:
        raise BrokenAnswer(f"configure: job_id is {_short(job_id)}, not a name")
    if not 0 < port < 65536:
        raise BrokenAnswer(f"configure: stream_port is {port}, not a port")
    if not 0 < streams <= 1024:
        raise BrokenAnswer(f"configure: stream_amount is {streams}, not a number of streams")
    bins = _numbers(raw.get("frequencies_list"), odd)
    amount = _integer(raw, "frequencies_amount", odd, default=len(bins))
    if bins and amount != len(bins):
        odd.append("frequencies_amount_differs")
    view = raw.get("view_type")
    if isinstance(view, str):
        odd.append("view_type_string")
    if "metadata" not in raw:
        odd.append("metadata_missing")
    status = raw.get("status")
    if status not in ("", None):
        odd.append("status_set")
    return ConfigureResponse(
        job_id=job_id,
        host=host,
        port=port,
        streams=streams,
        lines_dt_s=_positive(raw.get("lines_dt"), odd),
        channels_by_stream=_split(raw.get("channel_to_stream_index"), streams, odd),
        frequencies_hz=bins,
        frequencies_amount=amount,
        channel_amount=_integer(raw, "channel_amount", odd, default=0),
        view_type="" if view is None else str(view),
        status=status if isinstance(status, str) else "",
        secure=str(raw["stream_url"]).lower().startswith("https://"),
        drift=tuple(odd),
    )


def parse_channels(body: bytes) -> Channels:
    """Read `/channels`."""
    raw = _mapping(body, "channels")
    odd: list[str] = []
    return Channels(
        lowest=_integer(raw, "lowest_channel", odd),
        highest=_integer(raw, "highest_channel", odd),
        drift=tuple(odd),
    )


def parse_live_metadata(body: bytes) -> LiveMetadata:
    """Read `/live_metadata`; the waiting state's nulls and odd numbers are its normal form."""
    raw = _mapping(body, "live_metadata")
    odd: list[str] = []
    prr = raw.get("prr")
    if not _is_number(prr) and prr is not None:
        odd.append("prr_not_a_number")
    channels = raw.get("number_of_channels")
    if _is_number(channels) and float(channels) != int(channels):
        odd.append("number_of_channels_float")
    return LiveMetadata(
        prr=float(prr) if _is_number(prr) else 0.0,
        sw_version=str(raw.get("sw_version") or ""),
        number_of_channels=float(channels) if _is_number(channels) else None,
        fiber_description=str(raw.get("fiber_description") or ""),
        drift=tuple(odd),
    )


def parse_recordings(body: bytes) -> Recordings:
    """Read recordings, bare (`[[start, end], ...]`) or wrapped (`{"recordings": [...]}`); what is no pair is left out."""
    raw = _json(body, "recordings_in_time_range")
    odd: list[str] = []
    if isinstance(raw, dict) and isinstance(raw.get("recordings"), list):
        odd.append("recordings_wrapped")
        raw = raw["recordings"]
    if not isinstance(raw, list):
        raise BrokenAnswer(f"recordings_in_time_range: {_short(raw)} is no list of recordings")
    spans = []
    for item in raw:
        pair = (item.get("start_time"), item.get("end_time")) if isinstance(item, dict) else item
        if isinstance(item, dict):
            odd.append("recording_as_object")
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(map(_is_number, pair)):
            odd.append("recording_not_a_pair")
            continue
        spans.append(Span(float(pair[0]), None if pair[1] == -1 else float(pair[1])))
    return Recordings(spans=tuple(spans), drift=tuple(dict.fromkeys(odd)))


def _json(body: bytes, what: str) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenAnswer(f"{what}: the answer is not JSON ({error}): {_short(body[:80])}") from error


def _mapping(body: bytes, what: str) -> dict[str, Any]:
    raw = _json(body, what)
    if not isinstance(raw, dict):
        raise BrokenAnswer(f"{what}: the answer is {_short(raw)}, not an object")
    return raw


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _integer(raw: dict[str, Any], key: str, odd: list[str], default: int | None = None) -> int:
    value = raw.get(key)
    if isinstance(value, bool) or value is None:
        if default is None:
            raise BrokenAnswer(f"{key} is {_short(value)}, not a number")
        odd.append(f"{key}_missing")
        return default
    if isinstance(value, int):
        return value
    try:
        number = int(value) if isinstance(value, str) else int(float(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise BrokenAnswer(f"{key} is {_short(value)}, not a number") from error
    odd.append(f"{key}_{type(value).__name__}")
    return number


def _positive(value: object, odd: list[str]) -> float:
    if _is_number(value) and float(value) > 0:
        return float(value)
    odd.append("lines_dt_missing")
    return 0.0


def _host(url: object, odd: list[str]) -> str:
    if not isinstance(url, str) or not url:
        raise BrokenAnswer(f"configure: stream_url is {_short(url)}, not an address")
    scheme, separator, rest = url.partition("://")
    if not separator:
        odd.append("stream_url_without_scheme")
        rest = scheme
    host = rest.split("/", 1)[0]
    if host.count(":") == 1:  # a port here is ignored: stream_port is the one that counts
        odd.append("stream_url_with_port")
        host = host.partition(":")[0]
    if not host or any(char.isspace() for char in host):
        raise BrokenAnswer(f"configure: stream_url is {_short(url)}, not an address")
    return host


def _numbers(value: object, odd: list[str]) -> tuple[float, ...]:
    if isinstance(value, list) and all(map(_is_number, value)):
        return tuple(map(float, value))
    odd.append("frequencies_list_object" if value == {} else "frequencies_list_missing")
    return ()


def _split(value: object, streams: int, odd: list[str]) -> tuple[tuple[int, ...], ...]:
    """Return the channels of each stream, or nothing when the mapping cannot be trusted."""
    if not isinstance(value, dict) or not value:
        odd.append("channel_mapping_missing")
        return ()
    split: list[list[int]] = [[] for _ in range(streams)]
    for channel, stream in value.items():
        if (
            not isinstance(stream, int)
            or isinstance(stream, bool)
            or not 0 <= stream < streams
            or not channel.isdecimal()
            or len(channel) > 9
        ):
            odd.append("channel_mapping_odd")
            return ()
        split[stream].append(int(channel))
    if not all(split):
        odd.append("channel_mapping_odd")
        return ()
    return tuple(tuple(sorted(channels)) for channels in split)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
