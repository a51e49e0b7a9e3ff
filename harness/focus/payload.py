"""The sandbox's payload formula, checked: an option that proves whose every single row is. Pure.

Only a sandbox sends samples by this formula (docs/sandbox-focus-server.md, "Payload"); on any other server the option must stay
off, and success never needs it. The engine calls it when a plan says `check_payload`.
"""

import struct

from harness.wire.pandadatastream_pb2 import DataStream

_HEAD = struct.Struct("<7f")
_SAMPLE = struct.Struct("<f")
MODULUS = 1021


def payload_problem(data: bytes, slot: int, counter: int, stream: int) -> str:
    """Return what in a message is not what job `<slot>-<counter>` sends on `stream`, or an empty text."""
    message = DataStream.FromString(data)
    if len(message.main_data) != len(message.row_index):
        return f"{len(message.main_data)} rows of samples for {len(message.row_index)} row numbers"
    for row, samples in zip(message.row_index, message.main_data, strict=True):
        width = len(samples) // 4
        if len(samples) % 4 or width != message.data_shape_x:
            return f"row {row} has {len(samples)} bytes, its width is {message.data_shape_x}"
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
