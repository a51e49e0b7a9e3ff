"""Read one stream message: only the few numbers the harness needs, never the samples themselves. Pure.

Called by the engine for every gRPC message, so it must be cheap. Raises `ValueError` for bytes that are no `DataStream`.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from harness.wire.pandadatastream_pb2 import DataStream


@dataclass(frozen=True, slots=True)
class Frame:
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


def read_frame(data: bytes) -> Frame:
    """Return what a message says about itself; `bytes` is its length on the wire."""
    try:
        message = DataStream.FromString(data)
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
