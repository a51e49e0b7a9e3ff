"""Full checks of a message, samples included: that it does not contradict itself, and the sandbox's payload formula. Pure.

They cost more than everything else about a frame, so the engine does them for a share (`full_checks` of a plan). Only a sandbox sends samples by
its formula (docs/sandbox-focus-server.md, "Payload"), which proves whose every single row is; on any other server that option
(`check_payload`) must stay off.
"""

import itertools
import struct

from harness.wire.pandadatastream_pb2 import DataStream

_HEAD = struct.Struct("<7f")
_SAMPLE = struct.Struct("<f")
MODULUS = 1021


def corruption(data: bytes) -> str:
    """Return what in a message contradicts itself row by row, or an empty text: any server's must not."""
    return _corruption(DataStream.FromString(data))


def _corruption(message: DataStream) -> str:
    rows, width = message.row_index, message.data_shape_x
    if len(message.main_data) != len(rows):
        return f"{len(message.main_data)} rows of samples for {len(rows)} row numbers"
    if len(message.timestamp_in_milis) not in (0, len(rows)):
        return f"{len(message.timestamp_in_milis)} instants for {len(rows)} rows"
    for row, after in itertools.pairwise(rows):
        if after <= row:
            return f"row {after} comes after row {row} in one message"
    for row, samples in zip(rows, message.main_data, strict=True):
        if len(samples) != 4 * width:
            return f"row {row} has {len(samples)} bytes, its width is {width}"
    return ""


def payload_problem(data: bytes, slot: int, counter: int, stream: int) -> str:
    """Return what in a message is not what job `<slot>-<counter>` sends on `stream`, or an empty text."""
    message = DataStream.FromString(data)
    if corrupt := _corruption(message):
        return corrupt
    for row, samples in zip(message.row_index, message.main_data, strict=True):
        width = len(samples) // 4
        if width < 8:
            continue  # too narrow to carry the numbers that are looked at
        wanted = (
            *(row % 256, row // 256 % 256, row // 65536 % 256),
            *(slot % 256, counter % 256, counter // 256 % 256, stream),
        )
        found = _HEAD.unpack_from(samples)
        if found != wanted:
            return f"row {row} of stream {stream} begins {found}, expected {wanted}"
        last = _SAMPLE.unpack_from(samples, 4 * (width - 1))[0]
        due = 0.25 * ((17 * (width - 1) + 257 * stream + 31 * counter + 7 * slot) % MODULUS)
        if width > 8 and last != due:
            return f"row {row} of stream {stream} ends with {last}, expected {due}"
    return ""
