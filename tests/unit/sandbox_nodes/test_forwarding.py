import asyncio
import hashlib
import os
import socket
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import Self

import pytest
import uvloop

from harness.sandbox.impairments import NONE, Impairment
from harness.sandbox.node.forwarding import Forwarder, reset
from harness.sandbox.node.traffic import LANE_BYTES, Backend, Traffic

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
        self.traffic = Traffic()
        self.forwarder = Forwarder("127.0.0.1", free_port(), lambda: self.backend, self.traffic)

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


class Source:
    """A backend that sends as fast as it may."""

    def __init__(self) -> None:
        self.poured = 0

    async def __call__(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            self.poured += 65536

    async def stuck_at(self) -> int:
        """Return how much it had sent when nothing moved any more."""
        before = -1
        while before != self.poured:
            before = self.poured
            await asyncio.sleep(0.2)
        return before


@LOOPS
def test_a_reader_that_stops_stops_its_sender(loop: Callable) -> None:
    async def main() -> None:
        source = Source()
        async with Stage(source) as stage:
            with socket.create_connection((stage.forwarder.host, stage.forwarder.port)):
                assert 0 < await source.stuck_at() < 64 << 20

    play(main, loop)


async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A backend that gives back each line, and its end after the client's."""
    while line := await reader.readline():
        writer.write(line)
    writer.close()


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> float:
    """Send a line and give the seconds until it is back."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    writer.write(line)
    assert await asyncio.wait_for(reader.readline(), 10) == line
    return loop.time() - began


async def nothing_comes(reader: asyncio.StreamReader) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.3)


@LOOPS
def test_slow_adds_its_delay_to_each_way_of_what_is_established_and_clearing_takes_it_away(
    loop: Callable,
) -> None:
    async def main() -> None:
        async with Stage(echoes) as stage:
            reader, writer = await stage.connect()
            assert await asked(reader, writer, b"quick\n") < 0.1
            stage.traffic.impair(Impairment(delay_s=0.2))
            assert 0.39 < await asked(reader, writer, b"slow\n") < 0.6
            stage.traffic.impair(Impairment(delay_s=30))
            writer.write(b"held\n")
            await nothing_comes(reader)
            stage.traffic.impair(NONE)
            assert await asyncio.wait_for(reader.readline(), 0.2) == b"held\n"
            writer.close()

    play(main, loop)


@LOOPS
def test_what_is_delayed_keeps_its_order_and_loses_nothing_and_ends_come_last(loop: Callable) -> None:
    sent = bytes(range(256)) * 40_000  # twice what a lane keeps

    async def main() -> None:
        digest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def digests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"first")
            writer.write_eof()
            digest.set_result(hashlib.sha256(await reader.read(-1)).digest())
            writer.close()

        async with Stage(digests) as stage:
            stage.traffic.impair(Impairment(delay_s=0.1))
            reader, writer = await stage.connect()
            writer.write(sent)
            asyncio.get_running_loop().call_later(0.15, stage.traffic.impair, Impairment(delay_s=0.02))
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(-1), 20) == b"first"
            assert await asyncio.wait_for(digest, 20) == hashlib.sha256(sent).digest()
            writer.close()

    play(main, loop)


@LOOPS
def test_while_packets_are_dropped_everything_stands_still_and_then_flows_again(loop: Callable) -> None:
    async def main() -> None:
        served = 0

        async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal served
            served += 1
            await echoes(reader, writer)

        async with Stage(counts) as stage:
            reader, writer = await stage.connect()
            await asked(reader, writer, b"before\n")
            stage.traffic.impair(Impairment(drops=True))
            writer.write(b"lost?\n")
            late_reader, late_writer = await stage.connect()
            late_writer.write(b"late\n")
            await nothing_comes(reader)
            await nothing_comes(late_reader)
            assert served == 1
            stage.traffic.impair(NONE)
            assert await asyncio.wait_for(reader.readline(), 0.5) == b"lost?\n"
            assert await asyncio.wait_for(late_reader.readline(), 0.5) == b"late\n"
            for one in (writer, late_writer):
                one.close()

    play(main, loop)


@LOOPS
def test_the_end_and_the_loss_of_a_connection_do_not_get_through_while_packets_are_dropped(
    loop: Callable,
) -> None:
    async def main() -> None:
        served: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

        async def notes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.append((reader, writer))
            writer.write(b"x")

        async with Stage(notes) as stage:
            clients = []
            for _ in range(2):
                clients.append(await stage.connect())
                assert await asyncio.wait_for(clients[-1][0].read(1), 10) == b"x"
            stage.traffic.impair(Impairment(drops=True))
            clients[0][1].close()
            reset(served[1][1].transport)
            await nothing_comes(served[0][0])
            await nothing_comes(clients[1][0])
            stage.traffic.impair(NONE)
            assert await asyncio.wait_for(served[0][0].read(1), 1) == b""
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(clients[1][0].read(1), 1)

    play(main, loop)


@LOOPS
def test_a_sender_has_to_wait_when_nothing_it_sends_gets_through(loop: Callable) -> None:
    async def main() -> None:
        source = Source()
        async with Stage(source) as stage:
            reader, _ = await stage.connect()
            await asyncio.wait_for(reader.read(1), 10)
            stage.traffic.impair(Impairment(drops=True))
            before = await source.stuck_at()
            assert before < 8 * LANE_BYTES
            stage.traffic.impair(NONE)
            await asyncio.wait_for(reader.readexactly(8 * LANE_BYTES), 20)
            assert source.poured > before

    play(main, loop)


@LOOPS
def test_policies_hold_back_the_clients_they_do_not_allow_and_no_others(loop: Callable) -> None:
    async def main() -> None:
        async with Stage(echoes) as stage:
            free = await asyncio.open_connection(
                stage.forwarder.host, stage.forwarder.port, local_addr=("127.0.0.9", 0)
            )
            held = await stage.connect()
            for connection in (free, held):
                await asked(*connection, b"before\n")
            stage.traffic.police(lambda source, backend: source == "127.0.0.9" and backend == stage.backend)
            held[1].write(b"held\n")
            await nothing_comes(held[0])
            await asked(*free, b"free\n")
            stage.traffic.police(lambda _source, _backend: True)
            assert await asyncio.wait_for(held[0].readline(), 0.5) == b"held\n"
            for _, writer in (free, held):
                writer.close()

    play(main, loop)
