"""A stream server that costs next to nothing, so that the client is what is measured: frames that were encoded before, over plain HTTP/2.

`python -m benchmarks.sender --bytes 4096 [--per-second 10]` prints its port and serves until its input closes. Without a pace it sends as fast as flow
control and the socket let it. Bench only: it trusts its clients. When it ends it prints how late it was itself (p99, ms).
"""

import argparse
import asyncio
import json
import struct
import sys
import time

import hpack
import numpy as np
import uvloop

from harness.focus.lean import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WORD,
    _frame,
)
from harness.wire.pandadatastream_pb2 import DataStream

CHANNELS = 9
BURST = 16
"""Frames of one stream that are written together when nothing paces them."""


class Frames:
    """One row per frame: everything but the row's number is encoded once."""

    def __init__(self, size: int) -> None:
        width = max(1, (size - 60) // 4)
        message = DataStream(
            start_channel=1,
            end_channel=CHANNELS,
            timestamp_in_milis=[1_700_000_000_000],
            row_index=[0x0FFFFFFF],
            data_shape_x=width,
            data_shape_y=1,
            global_maximum=1.0,
            main_data=[struct.pack(f"<{width}f", *([1.5] * width))],
        ).SerializeToString()
        at = message.index(b"\xff\xff\xff\x7f")
        self._head, self._tail = message[:at], message[at + 4 :]
        self.length = len(message)
        self.width = width
        self._prefix = b"\0" + WORD.pack(self.length)

    def frame(self, row: int) -> bytes:
        """Return a gRPC message; the row's number always takes four bytes."""
        number = bytes((row & 0x7F | 0x80, row >> 7 & 0x7F | 0x80, row >> 14 & 0x7F | 0x80, row >> 21 & 0x7F))
        return b"".join((self._prefix, self._head, number, self._tail))


class Sender(asyncio.Protocol):
    """One connection."""

    def __init__(self, frames: Frames, per_second: float, late_ns: list[int]) -> None:
        self._frames = frames
        self._gap_s = 1 / per_second if per_second else 0.0
        self._late_ns = late_ns
        self._window = 65_535
        self._initial = 65_535
        self._frame_limit = 16_384
        self._streams: dict[int, list[int]] = {}
        """Window and next row, by stream."""
        self._rest = b""
        self._preface = len(PREFACE)
        self._paused = False
        self._task: asyncio.Task[None] | None = None
        self._more = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        transport.set_write_buffer_limits(high=1 << 20)  # type: ignore[attr-defined]
        self._transport.write(_frame(SETTINGS, 0, 0, b""))
        self._task = asyncio.get_running_loop().create_task(self._send())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._more.set()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        skip = min(self._preface, len(data))
        self._preface -= skip
        at = skip
        while len(data) - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at - 9 < length:
                break
            kind, flags, number = data[at + 3], data[at + 4], WORD.unpack_from(data, at + 5)[0]
            self._frame(kind, flags, number, data[at + 9 : at + 9 + length])
            at += 9 + length
        self._rest = data[at:]
        self._more.set()

    def _frame(self, kind: int, flags: int, number: int, body: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            for place in range(0, len(body), 6):
                name, value = struct.unpack_from(">HI", body, place)
                if name == 4:
                    for stream in self._streams.values():
                        stream[0] += value - self._initial
                    self._initial = value
                elif name == 5:
                    self._frame_limit = value
            self._transport.write(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._transport.write(_frame(PING, ACK, 0, body))
        elif kind == WINDOW_UPDATE:
            more = WORD.unpack(body)[0]
            if number == 0:
                self._window += more
            elif number in self._streams:
                self._streams[number][0] += more
        elif kind == HEADERS:
            head = hpack.Encoder().encode([(":status", "200"), ("content-type", "application/grpc")])
            self._transport.write(_frame(HEADERS, END_HEADERS, number, head))
            self._streams[number] = [self._initial, 0]
        elif kind == RST_STREAM:
            self._streams.pop(number, None)
        elif kind in (DATA, GOAWAY) and flags & END_STREAM:
            pass

    async def _send(self) -> None:
        while not self._streams:
            self._more.clear()
            await self._more.wait()
        began, ticks = time.monotonic(), 0
        while True:
            if self._gap_s:
                due = began + ticks * self._gap_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                self._late_ns.append(time.monotonic_ns() - int(due * 1e9))
                ticks += 1
            sent = [self._some(number, 1 if self._gap_s else BURST) for number in tuple(self._streams)]
            if not self._gap_s:
                if not any(sent) or self._paused:
                    self._more.clear()
                    await self._more.wait()
                else:
                    await asyncio.sleep(0)

    def _some(self, number: int, most: int) -> int:
        stream, size = self._streams[number], self._frames.length + 5
        can = min(stream[0], self._window) // size
        count = min(most, can)
        pieces: list[bytes] = []
        for _ in range(count):
            body = self._frames.frame(stream[1])
            stream[1] += 1
            cuts = range(0, size, self._frame_limit)
            pieces.extend(_frame(DATA, 0, number, body[at : at + self._frame_limit]) for at in cuts)
        stream[0] -= count * size
        self._window -= count * size
        if pieces:
            self._transport.write(b"".join(pieces))
        return count


async def _serve(size: int, per_second: float) -> None:
    frames, late_ns = Frames(size), list[int]()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Sender(frames, per_second, late_ns), "127.0.0.1", 0)
    told = {"port": server.sockets[0].getsockname()[1], "width": frames.width, "bytes": frames.length}
    print(json.dumps(told), flush=True)  # noqa: T201
    await loop.run_in_executor(None, sys.stdin.read)
    late_ms = float(np.quantile(late_ns, 0.99)) / 1e6 if late_ns else 0.0
    print(json.dumps({"late_ms": late_ms}), flush=True)  # noqa: T201


def main() -> None:
    """Serve until the input closes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sender", description=__doc__)
    parser.add_argument("--bytes", type=int, default=4096)
    parser.add_argument("--per-second", type=float, default=0.0)
    given = parser.parse_args()
    uvloop.run(_serve(given.bytes, given.per_second))


if __name__ == "__main__":
    main()
