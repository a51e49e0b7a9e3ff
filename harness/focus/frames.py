"""Read one stream message: only the few numbers the harness needs, never the samples themselves. Pure.

Called by the engine for every gRPC message, so it must be cheap. Raises `ValueError` for bytes that are no `DataStream`.
"""

import msgspec
from google.protobuf.message import DecodeError

from harness.wire.pandadatastream_pb2 import DataStream


class Frame(msgspec.Struct, frozen=True):
    """One message of a stream: rows `first_row`..`last_row` of the channels `start_channel`..`end_channel`."""

    start_channel: int
    end_channel: int
    first_row: int
    last_row: int
    rows: int
    first_ms: int
    last_ms: int
    width: int
    """Numbers per row: channels in this stream times frequency bins."""
    maximum: float
    job: int | None
    bytes: int


LARGE = 16 << 10
"""From this length on the samples cost more to copy than to step over."""
MAIN_DATA = 9 << 3 | 2


def read_frame(data: bytes) -> Frame:
    """Return what a message says about itself; `bytes` is its length on the wire."""
    try:
        message = DataStream.FromString(data if len(data) < LARGE else without_samples(data))
    except DecodeError as error:
        raise ValueError(f"{len(data)} bytes are no DataStream: {error}") from error
    rows = message.row_index
    times = message.timestamp_in_milis
    count = len(rows)
    return Frame(
        message.start_channel,
        message.end_channel,
        rows[0] if count else -1,
        rows[-1] if count else -1,
        count,
        times[0] if times else 0,
        times[-1] if times else 0,
        message.data_shape_x,
        message.global_maximum,
        message.job_id if message.HasField("job_id") else None,
        len(data),
    )


def without_samples(data: bytes) -> bytes:
    """Return a message without its `main_data`, field by field; what cannot be stepped through is returned as it is."""
    kept: list[bytes] = []
    at, start, end = 0, 0, len(data)
    try:
        while at < end:
            begin = at
            tag, at = _varint(data, at)
            kind = tag & 7
            if kind == 0:
                _, at = _varint(data, at)
            elif kind == 1:
                at += 8
            elif kind == 5:
                at += 4
            elif kind == 2:
                length, at = _varint(data, at)
                at += length
                if at > end:
                    return data
                if tag == MAIN_DATA:
                    kept.append(data[start:begin])
                    start = at
            else:
                return data
    except IndexError:
        return data
    if at > end:
        return data
    kept.append(data[start:])
    return b"".join(kept)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError("no number has more bytes")
