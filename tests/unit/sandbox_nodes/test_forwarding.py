import asyncio
import hashlib
import os
import socket
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import Self

import pytest
import uvloop

from harness.sandbox.node.forwarding import Backend, Forwarder, reset

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Scene = Callable[[], Coroutine[None, None, None]]


def play(scene: Scene, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Play in a child: closing a loop that still has connections can take for ever, and proxies never do."""
    child = os.fork()
    if child == 0:
        try:
            new_loop().run_until_complete(scene())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


LOOPS = pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


class Stage:
    """A backend and a forwarder before it."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.backend: Backend | None = None
        self.forwarder = Forwarder("127.0.0.1", free_port(), lambda: self.backend)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._handler, "127.0.0.1", 0)
        self.backend = self._server.sockets[0].getsockname()
        await self.forwarder.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.forwarder.close()
        self._server.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.forwarder.host, self.forwarder.port)


async def first_byte(stage: Stage) -> bytes:
    reader, _ = await stage.connect()
    return await asyncio.wait_for(reader.read(1), 10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@LOOPS
def test_bytes_arrive_whole_and_in_order_both_ways_and_the_end_is_passed_on(loop: Callable) -> None:
    sent = bytes(range(256)) * 20_000

    async def echo_digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.read(-1)  # until the client's end
        writer.write(hashlib.sha256(received).digest() + received)
        await writer.drain()
        writer.close()

    async def main() -> None:
        async with Stage(echo_digest) as stage:
            reader, writer = await stage.connect()
            writer.write(sent)
            writer.write_eof()
            received = await asyncio.wait_for(reader.read(-1), 20)
            assert received == hashlib.sha256(sent).digest() + sent
            writer.close()

    play(main, loop)


@LOOPS
def test_a_server_that_speaks_first_is_heard(loop: Callable) -> None:
    async def greets(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        await writer.drain()

    async def main() -> None:
        async with Stage(greets) as stage:
            for _ in range(20):
                reader, writer = await stage.connect()
                assert await asyncio.wait_for(reader.readline(), 10) == b"hello\n"
                writer.close()

    play(main, loop)


@LOOPS
def test_no_backend_and_a_dead_backend_are_resets_and_a_closed_port_refuses(loop: Callable) -> None:
    async def nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        async with Stage(nothing) as stage:
            for backend in (None, ("127.0.0.1", free_port())):
                stage.backend = backend
                with pytest.raises(ConnectionResetError):
                    await first_byte(stage)
            stage.forwarder.close()
            await asyncio.sleep(0.05)
            with pytest.raises(ConnectionRefusedError):
                await stage.connect()

    play(main, loop)


@LOOPS
def test_a_connection_stays_with_its_backend_and_breaks_with_it(loop: Callable) -> None:
    async def main() -> None:
        writers: list[asyncio.StreamWriter] = []

        async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            while line := await reader.readline():
                writer.write(line)

        async with Stage(answers) as stage:
            reader, writer = await stage.connect()
            writer.write(b"one\n")
            assert await reader.readline() == b"one\n"
            stage.backend = None
            stage.forwarder.close()
            writer.write(b"two\n")
            assert await asyncio.wait_for(reader.readline(), 10) == b"two\n"
            reset(writers[0].transport)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(1), 10)
            writer.close()

    play(main, loop)


@LOOPS
def test_a_reader_that_stops_stops_its_sender(loop: Callable) -> None:
    async def main() -> None:
        poured = 0

        async def pours(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal poured
            while True:
                writer.write(bytes(65536))
                await writer.drain()
                poured += 65536

        async with Stage(pours) as stage:
            with socket.create_connection((stage.forwarder.host, stage.forwarder.port)):
                before = -1
                while before != poured:  # until nothing moves for a while
                    before = poured
                    await asyncio.sleep(0.2)
                assert 0 < poured < 64 << 20

    play(main, loop)
