"""A stream whose frames have a known clock, so that the engine knows how late it reads: served by a process of its own.

Started by the engine, which reads it on the loop that reads every other stream. Each frame carries when it was due and when it was sent, in
microseconds of the monotonic clock that both share; so what is late at the sender is not blamed on the reader. The process ends with
its standard input: with the engine, however that ends.
"""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from harness.engine.record import Recorder
from harness.focus.stream import StreamChannel, StreamEnd
from harness.history.events import CanarySeen
from harness.wire import pandadatastream_pb2 as wire

PERIOD_S = 0.1
METHODS = "pandadatastream.DataStreamService"
DAY_S = 86_400.0
SECOND_FRAMES = round(1 / PERIOD_S)
STARTS_WITHIN_S = 20.0
ENDS_WITHIN_S = 2.0
PR_SET_PDEATHSIG = 1


async def _frames(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
    """Send a frame every `PERIOD_S`, on absolute instants."""
    began, number = time.monotonic(), 0
    while True:
        due = began + number * PERIOD_S
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        frame = wire.DataStream(
            row_index=[number],
            timestamp_in_milis=[round(due * 1e6), time.monotonic_ns() // 1000],
        )
        yield frame.SerializeToString()
        number += 1


async def serve() -> None:
    """Serve the stream on a free port of loopback, say which, and end when nobody holds our standard input."""
    server = grpc.aio.server()
    handler = grpc.unary_stream_rpc_method_handler(_frames)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(METHODS, {"StreamData": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    await server.stop(None)


class Canary:
    """The engine's end: starts the process, reads its stream, and writes once a second how late frames were."""

    def __init__(self, record: Recorder) -> None:
        self._record = record

    async def watch(self) -> None:
        """Read until cancelled; a canary that cannot be had, or dies, is missed in the record and costs nothing else."""
        self._record.event(CanarySeen(at_ns=self._record.now(), frames=0, lost=0, lag_ns=0))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            str(os.getpid()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        channel: StreamChannel | None = None
        try:
            port = await asyncio.wait_for(process.stdout.readline(), STARTS_WITHIN_S)
            channel = StreamChannel(f"127.0.0.1:{int(port)}")
            await asyncio.wait_for(channel.ready(), STARTS_WITHIN_S)
            await self._read(channel)
        except (StreamEnd, TimeoutError, ValueError, DecodeError) as error:
            self._record.note("warning", f"the canary stream ended: {error or type(error).__name__}")
        finally:
            if channel is not None:
                await channel.close()
            process.stdin.close()
            await _ended(process)

    async def _read(self, channel: StreamChannel) -> None:
        call = channel.open(0, DAY_S)
        frames = lost = lag_ns = pacing_ns = 0
        expected = 0
        while True:
            frame = wire.DataStream.FromString(await call.next())
            now_ns = time.monotonic_ns()
            due_us, sent_us = frame.timestamp_in_milis
            lag_ns = max(lag_ns, now_ns - sent_us * 1000)
            pacing_ns = max(pacing_ns, (sent_us - due_us) * 1000)
            frames, lost, expected = frames + 1, lost + frame.row_index[0] - expected, frame.row_index[0] + 1
            if frames >= SECOND_FRAMES:
                at_ns = self._record.run_ns(now_ns)
                seen = CanarySeen(at_ns=at_ns, frames=frames, lost=lost, lag_ns=lag_ns, pacing_ns=pacing_ns)
                self._record.event(seen)
                frames = lost = lag_ns = pacing_ns = 0


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Wait for the process; one that stands still is killed, so that it does not keep its engine from ending."""
    try:
        await asyncio.wait_for(process.wait(), ENDS_WITHIN_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def _end_with(parent: int) -> None:
    """Have the kernel end this process with its parent, where it can: one that stands still sees no end of its input."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it had ended before that
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _end_with(int(sys.argv[1]))
    asyncio.run(serve())
