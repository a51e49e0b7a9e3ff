"""The samples of a stream: float32 rows as a checkable function of job, stream and row.

Called by the stream server for every row and by whoever wants to check a frame. The formula (also in
docs/sandbox-focus-server.md), for a row of `n` samples of job `<slot>-<counter>`:

    v[i] = 0.25 * ((17 i + 257 stream + 31 counter + 7 slot) mod 1021)          for i >= 8
    v[0..2] = row mod 256, (row // 256) mod 256, (row // 65536) mod 256
    v[3] = slot mod 256, v[4..5] = counter mod 256, (counter // 256) mod 256, v[6] = stream
    v[7] = global_maximum(row) = 256 + 0.25 * min(row // 8, 2976)

Every value is a multiple of 0.25 below 1001, so float32 holds it exactly. Only eight samples change from row to
row: the rest is computed once.
"""

from __future__ import annotations

import struct
from array import array

HEADER = 8
_MODULUS = 1021


def global_maximum(row: int) -> float:
    """Return the job's running maximum at a row; never decreases."""
    return 256.0 + 0.25 * min(row // 8, 2976)


def parse_job_id(job_id: str) -> tuple[int, int]:
    """Return slot and counter of `<slot>-<counter>`; ValueError for anything else."""
    slot, dash, counter = job_id.partition("-")
    if not dash:
        raise ValueError(f"job id {job_id!r} is not <slot>-<counter>")
    return int(slot), int(counter)


class Samples:
    """The rows of one stream of one job."""

    def __init__(self, slot: int, counter: int, stream: int, width: int) -> None:
        self.slot, self.counter, self.stream, self.width = slot, counter, stream, width
        offset = 257 * stream + 31 * counter + 7 * slot
        cycle = array("f", [0.25 * ((17 * i + offset) % _MODULUS) for i in range(_MODULUS)])
        # 17 i mod 1021 repeats every 1021 samples, so one cycle, repeated, is the whole row.
        whole, rest = divmod(width, _MODULUS)
        self._base = cycle.tobytes() * whole + cycle[:rest].tobytes()

    def row(self, row: int) -> bytes:
        """Return one row as little-endian float32, channel-major."""
        head = struct.pack("<8f", *self._head(row))
        return (head + self._base[len(head) :])[: 4 * self.width]

    def _head(self, row: int) -> tuple[float, ...]:
        return (
            row % 256,
            row // 256 % 256,
            row // 65536 % 256,
            self.slot % 256,
            self.counter % 256,
            self.counter // 256 % 256,
            self.stream,
            global_maximum(row),
        )


def matches(job_id: str, stream: int, row: int, data: bytes) -> bool:
    """Return whether a row's bytes are what the sandbox sends for this job, stream and row."""
    slot, counter = parse_job_id(job_id)
    return data == Samples(slot, counter, stream, len(data) // 4).row(row)
