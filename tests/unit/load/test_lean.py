"""The lean transport beside the reference: the same frames, the same endings; and by itself against bytes that are cut, wrong, or noise."""

import asyncio
import atexit
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import hpack
import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.focus import lean
from harness.focus.endpoint import Endpoint
from harness.focus.lean import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    LeanChannel,
    _frame,
)
from harness.focus.stream import StreamChannel, StreamEnd, StreamTransport


@dataclass(frozen=True)
class Certificates:
    """A server's certificate, and how a client knows it."""

    server: grpc.ServerCredentials
    known: Endpoint
    unknown: Endpoint
    unverified: Endpoint


@lru_cache(maxsize=1)
def certificates() -> Certificates:
    folder, ours, another = Path(tempfile.mkdtemp(prefix="tls-")), trustme.CA(), trustme.CA()
    atexit.register(shutil.rmtree, folder)
    ours.cert_pem.write_to_path(folder / "ca.pem")
    another.cert_pem.write_to_path(folder / "another.pem")
    issued = ours.issue_cert("127.0.0.1")
    pair = issued.private_key_pem.bytes(), b"".join(part.bytes() for part in issued.cert_chain_pems)
    return Certificates(
        grpc.ssl_server_credentials([pair]),
        Endpoint(url="https://127.0.0.1", ca_file=str(folder / "ca.pem")),
        Endpoint(url="https://127.0.0.1", ca_file=str(folder / "another.pem")),
        Endpoint(url="https://127.0.0.1", insecure=True),
    )


@dataclass(frozen=True)
class Way:
    """A transport, over plaintext or TLS."""

    make: Callable[[str, Endpoint | None], StreamTransport]
    secure: bool = False

    def __call__(self, address: str) -> StreamTransport:
        return self.make(address, certificates().known if self.secure else None)

    def listen(self, server: grpc.aio.Server, address: str = "127.0.0.1:0") -> int:
        """Have a server listen for it; return the port."""
        if self.secure:
            return int(server.add_secure_port(address, certificates().server))
        return int(server.add_insecure_port(address))


TRANSPORTS = [StreamChannel, LeanChannel]
BOTH = pytest.mark.parametrize("transport", TRANSPORTS, ids=["reference", "lean"])
WAYS = pytest.mark.parametrize(
    "way",
    [Way(make, secure) for secure in (False, True) for make in TRANSPORTS],
    ids=["reference", "lean", "reference over TLS", "lean over TLS"],
)
OK_HEAD = [(":status", "200"), ("content-type", "application/grpc")]
OK_TRAILER = [("grpc-status", "0"), ("grpc-message", "")]


def message(body: bytes) -> bytes:
    return b"\0" + len(body).to_bytes(4, "big") + body


@asynccontextmanager
async def served(way: Way, stream: Callable[[bytes, Any], AsyncIterator[bytes]]) -> AsyncIterator[str]:
    """A real gRPC server with one stream method."""
    server = grpc.aio.server(options=[("grpc.max_send_message_length", 200 << 20)])
    handler = grpc.unary_stream_rpc_method_handler(stream)
    generic = grpc.method_handlers_generic_handler(
        "pandadatastream.DataStreamService", {"StreamData": handler}
    )
    server.add_generic_rpc_handlers((generic,))
    port = way.listen(server)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def read(
    channel: StreamTransport, stream: int = 0, deadline_s: float = 5.0
) -> tuple[list[bytes], str, str]:
    """All messages of a stream, and how it ended."""
    call, found = channel.open(stream, deadline_s), []
    while True:
        try:
            found.append(await call.next())
        except StreamEnd as end:
            return found, end.code, end.detail


def played(
    way: Way, serve: Callable[[bytes, Any], AsyncIterator[bytes]], **how: Any
) -> tuple[list[bytes], str, str]:
    async def run() -> tuple[list[bytes], str, str]:
        async with served(way, serve) as address:
            channel = way(address)
            try:
                await asyncio.wait_for(channel.ready(), 5)
                return await read(channel, **how)
            finally:
                await channel.close()

    return asyncio.run(run())


async def never_ready(channel: StreamTransport) -> None:
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.ready(), 1.0)
    finally:
        await channel.close()


async def one(_: bytes, __: Any) -> AsyncIterator[bytes]:
    yield b"one"


@BOTH
def test_a_server_that_is_not_known_is_never_ready(transport: Any) -> None:
    async def run() -> None:
        async with served(Way(transport, secure=True), one) as address:
            await never_ready(transport(address, certificates().unknown))

    asyncio.run(run())


@BOTH
@pytest.mark.parametrize("secure", [False, True])
def test_who_speaks_tls_and_who_does_not_never_meet(transport: Any, secure: bool) -> None:
    async def run() -> None:
        async with served(Way(transport, secure=secure), one) as address:
            await never_ready(Way(transport, secure=not secure)(address))

    asyncio.run(run())


def test_only_the_lean_transport_can_leave_a_certificate_unverified() -> None:
    unverified = certificates().unverified

    async def run() -> tuple[list[bytes], str, str]:
        async with served(Way(LeanChannel, secure=True), one) as address:
            channel = LeanChannel(address, unverified)
            await asyncio.wait_for(channel.ready(), 5)
            found = await read(channel)
            await channel.close()
            return found

    assert asyncio.run(run())[:2] == ([b"one"], "OK")
    with pytest.raises(InputError, match="name the CA"):
        StreamChannel("127.0.0.1:1", unverified)


@WAYS
def test_small_large_and_empty_messages_come_whole_and_in_order(way: Way) -> None:
    sizes = (0, 1, 4096, 5, 70_000, 200_000, 3_000_000, 9_000_000, 17)

    async def stream(request: bytes, _: Any) -> AsyncIterator[bytes]:
        for number, size in enumerate(sizes):
            yield bytes([number]) * size + request

    found, code, _ = played(way, stream, stream=300)
    assert found == [bytes([number]) * size + b"\x08\xac\x02" for number, size in enumerate(sizes)]
    assert code == "OK"


@WAYS
@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("UNAVAILABLE", "Cancelling all calls"),
        ("NOT_FOUND", "no such stream: ä/%"),
        ("RESOURCE_EXHAUSTED", ""),
    ],
)
def test_errors_end_a_stream_with_their_code_and_words_before_and_after_data(
    way: Way, before: int, status: str, text: str
) -> None:
    async def stream(_: bytes, context: Any) -> AsyncIterator[bytes]:
        for _n in range(before):
            yield b"x"
        await context.abort(grpc.StatusCode[status], text)

    assert played(way, stream) == ([b"x"] * before, status, text)


@WAYS
def test_a_message_of_100_mb_ends_its_stream_and_nothing_else(way: Way) -> None:
    async def stream(request: bytes, _: Any) -> AsyncIterator[bytes]:
        yield b"one"
        if not request:
            yield bytes(100_000_000)
        yield b"two"

    async def run() -> tuple[tuple[list[bytes], str, str], ...]:
        async with served(way, stream) as address:
            channel = way(address)
            await asyncio.wait_for(channel.ready(), 5)
            found = await read(channel, 0), await read(channel, 1)
            await channel.close()
            return found

    large, other = asyncio.run(run())
    assert large[:2] == ([b"one"], "RESOURCE_EXHAUSTED")
    assert other[:2] == ([b"one", b"two"], "OK")


@WAYS
def test_a_deadline_ends_a_stream_that_says_nothing(way: Way) -> None:
    async def stream(_: bytes, __: Any) -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.sleep(20)

    assert played(way, stream, deadline_s=0.3)[:2] == ([b"one"], "DEADLINE_EXCEEDED")


@WAYS
def test_a_method_that_is_not_there_is_unimplemented(way: Way) -> None:
    async def run() -> str:
        server = grpc.aio.server()
        port = way.listen(server)
        await server.start()
        channel = way(f"127.0.0.1:{port}")
        await channel.ready()
        _, code, _ = await read(channel)
        await channel.close()
        await server.stop(0)
        return code

    assert asyncio.run(run()) == "UNIMPLEMENTED"


@WAYS
def test_a_server_that_goes_away_makes_its_streams_unavailable(way: Way) -> None:
    async def run() -> list[tuple[list[bytes], str, str]]:
        async def stream(_: bytes, __: Any) -> AsyncIterator[bytes]:
            yield b"one"
            await asyncio.sleep(20)

        async with served(way, stream) as address:
            channel = way(address)
            await channel.ready()
            readers = [asyncio.create_task(read(channel, number)) for number in range(3)]
            await asyncio.sleep(0.2)
        found = await asyncio.gather(*readers)
        await channel.close()
        return found

    for found, code, _ in asyncio.run(run()):
        assert (found, code) == ([b"one"], "UNAVAILABLE")


@WAYS
def test_a_reader_that_stops_reading_holds_the_server_up_and_nobody_else(way: Way) -> None:
    async def run() -> tuple[int, int]:
        sent = [0, 0]

        async def stream(request: bytes, __: Any) -> AsyncIterator[bytes]:
            number = 1 if request else 0
            for _n in range(600):
                yield b"x" * 100_000
                sent[number] += 1

        async with served(way, stream) as address:
            channel = way(address)
            await channel.ready()
            sleeper = channel.open(1, 20.0)
            await sleeper.next()
            found, code, _ = await read(channel, 0, 20.0)
            assert (len(found), code) == (600, "OK")
            await channel.close()
        return sent[0], sent[1]

    other, stopped = asyncio.run(run())
    assert other == 600
    assert stopped < 400, "60 MB were there to be sent"


@WAYS
def test_dialling_goes_on_until_somebody_listens(way: Way) -> None:
    async def run() -> str:
        async def stream(_: bytes, __: Any) -> AsyncIterator[bytes]:
            yield b"x"

        async with served(way, stream) as address:
            pass
        channel = way(address)
        dialling = asyncio.create_task(channel.ready())
        await asyncio.sleep(0.3)
        server = grpc.aio.server()
        handler = grpc.unary_stream_rpc_method_handler(stream)
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "pandadatastream.DataStreamService", {"StreamData": handler}
                ),
            )
        )
        way.listen(server, address)
        await server.start()
        await asyncio.wait_for(dialling, 5)
        _, code, _ = await read(channel)
        await channel.close()
        await server.stop(0)
        return code

    assert asyncio.run(run()) == "OK"


# --- by itself, against bytes ---------------------------------------------------------------------


class Raw:
    """A server that answers the first request on a connection with pieces of bytes, as they are."""

    def __init__(self, *pieces: bytes, gap_s: float = 0.0, close: bool = True) -> None:
        self.pieces = pieces
        self.heard = b""
        self._gap_s = gap_s
        self._close = close

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readexactly(len(PREFACE))
            writer.write(_frame(SETTINGS, 0, 0, b""))
            while _frame(DATA, END_STREAM, 1, b"")[3:] not in self.heard:  # the whole request is there
                self.heard += await reader.read(4096)
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(self._gap_s)
            while not self._close and (more := await reader.read(4096)):
                self.heard += more
        with suppress(OSError):
            writer.close()


def answered(server: Raw, act: Callable[[LeanChannel], Awaitable[Any]] | None = None) -> Any:
    async def run() -> Any:
        listening = await asyncio.start_server(server, "127.0.0.1", 0)
        channel = LeanChannel(f"127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        try:
            await asyncio.wait_for(channel.ready(), 5)
            return await (act or read)(channel)
        finally:
            await channel.close()
            listening.close()
            await asyncio.sleep(0.02)

    return asyncio.run(run())


def answer(*bodies: bytes, trailers: list[tuple[str, str]] | None = None) -> bytes:
    encoder = hpack.Encoder()
    head = _frame(HEADERS, END_HEADERS, 1, encoder.encode(OK_HEAD))
    data = b"".join(_frame(DATA, 0, 1, body) for body in bodies)
    return head + data + _frame(HEADERS, END_HEADERS | END_STREAM, 1, encoder.encode(trailers or OK_TRAILER))


WHOLE = answer(message(b"one") + message(b""), message(b"three" * 40))


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(1, len(WHOLE) - 1), max_size=9))
def test_an_answer_comes_whole_however_it_is_cut(cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), len(WHOLE)]
    pieces = [WHOLE[start:end] for start, end in itertools.pairwise(edges)]
    assert answered(Raw(*pieces)) == ([b"one", b"", b"three" * 40], "OK", "")


def test_messages_may_be_split_over_frames_at_any_byte_and_several_in_one() -> None:
    body = message(b"a" * 11) + message(b"") + message(b"b" * 7)
    for size in (1, 2, 3, 4, 5, 6, 13):
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        assert answered(Raw(answer(*pieces))) == ([b"a" * 11, b"", b"b" * 7], "OK", "")


def test_padding_priority_and_continuations_are_understood() -> None:
    encoder = hpack.Encoder()
    head = encoder.encode([*OK_HEAD, ("x", "y" * 50)])
    frames = _frame(HEADERS, PADDED | 0x20, 1, bytes([3]) + b"\0" * 5 + head[:10] + b"\0" * 3)
    frames += _frame(CONTINUATION, 0, 1, head[10:20]) + _frame(CONTINUATION, END_HEADERS, 1, head[20:])
    frames += _frame(DATA, PADDED, 1, bytes([4]) + message(b"padded") + b"\0" * 4) + _frame(
        DATA, PADDED, 1, bytes([0])
    )
    frames += _frame(99, 0, 1, b"of a kind nobody knows") + _frame(
        HEADERS, END_HEADERS | END_STREAM, 1, encoder.encode(OK_TRAILER)
    )
    for size in (len(frames), 1, 7):
        pieces = [frames[at : at + size] for at in range(0, len(frames), size)]
        assert answered(Raw(*pieces)) == ([b"padded"], "OK", "")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (_frame(RST_STREAM, 0, 1, (8).to_bytes(4, "big")), "CANCELLED"),
        (_frame(RST_STREAM, 0, 1, (7).to_bytes(4, "big")), "UNAVAILABLE"),
        (_frame(RST_STREAM, 0, 1, (2).to_bytes(4, "big")), "INTERNAL"),
        (_frame(RST_STREAM, 0, 1, b""), "INTERNAL"),
        (_frame(GOAWAY, 0, 0, bytes(8)), "UNAVAILABLE"),
        (b"", "UNAVAILABLE"),
        (answer(trailers=[("grpc-status", "77")]), "UNKNOWN"),
        (answer(trailers=[("x", "y")]), "UNKNOWN"),
        (answer(message(b"cut")[:6]), "INTERNAL"),
        (answer(b"\1" + message(b"zip")[1:]), "INTERNAL"),
        (answer(b"\0" + (60 << 20).to_bytes(4, "big") + b"x"), "RESOURCE_EXHAUSTED"),
        (
            _frame(HEADERS, END_HEADERS | END_STREAM, 1, hpack.Encoder().encode([(":status", "502")])),
            "UNAVAILABLE",
        ),
        (
            _frame(HEADERS, END_HEADERS | END_STREAM, 1, hpack.Encoder().encode([(":status", "404")])),
            "UNIMPLEMENTED",
        ),
        (_frame(DATA, END_STREAM, 1, message(b"no end")), "UNKNOWN"),
        (_frame(HEADERS, END_HEADERS, 1, b"\xff" * 40), "INTERNAL"),
        (_frame(HEADERS, 0, 1, b"\x88") + _frame(PING, 0, 0, bytes(8)), "INTERNAL"),
        (_frame(CONTINUATION, END_HEADERS, 1, b""), "INTERNAL"),
        (_frame(DATA, PADDED, 1, b"\xff\0"), "INTERNAL"),
        (_frame(PING, 0, 0, b"short"), "INTERNAL"),
        (_frame(SETTINGS, 0, 0, bytes(70 << 10)), "INTERNAL"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "INTERNAL"),
    ],
)
def test_every_other_ending_has_its_code(sent: bytes, code: str) -> None:
    assert answered(Raw(sent))[1] == code


def test_headers_without_end_end_the_connection() -> None:
    block = _frame(HEADERS, 0, 1, b"\0" * 1000) + _frame(CONTINUATION, 0, 1, b"\0" * 60_000) * 2
    assert answered(Raw(block))[1] == "INTERNAL"


def test_streams_below_a_goaway_go_on() -> None:
    goaway = _frame(GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4))
    assert answered(Raw(goaway + WHOLE))[1] == "OK"


def test_pings_and_settings_are_answered_and_windows_refilled() -> None:
    body = message(b"x" * (3 << 20))
    data = b"".join(_frame(DATA, 0, 1, body[at : at + 100_000]) for at in range(0, len(body), 100_000))
    server = Raw(_frame(PING, 0, 0, b"12345678"), answer()[:0], data, gap_s=0.05, close=False)

    async def one(channel: LeanChannel) -> int:
        got = len(await channel.open(0, 3.0).next())
        await asyncio.sleep(0.1)
        return got

    assert answered(server, one) == 3 << 20
    assert _frame(PING, ACK, 0, b"12345678") in server.heard
    assert _frame(SETTINGS, ACK, 0, b"") in server.heard
    assert server.heard.count(_frame(WINDOW_UPDATE, 0, 1, b"")[3:9]) >= 1


def test_a_silent_connection_is_pinged_and_then_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "KEEPALIVE_S", 0.2)
    monkeypatch.setattr(lean, "KEEPALIVE_TIMEOUT_S", 0.2)
    server = Raw(close=False)
    found, code, detail = answered(server)
    assert (found, code, detail) == ([], "UNAVAILABLE", "keepalive watchdog timeout")
    assert b"harness1" in server.heard


def test_a_cancelled_reader_says_so_to_the_server() -> None:
    server = Raw(answer(message(b"one"))[:40], close=False)

    async def cancel(channel: LeanChannel) -> None:
        call = channel.open(0, 5.0)
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.sleep(0.05)

    answered(server, cancel)
    assert _frame(RST_STREAM, 0, 1, (8).to_bytes(4, "big")) in server.heard


@settings(deadline=None, max_examples=120)
@given(st.binary(max_size=300), st.integers(0, len(WHOLE)), st.integers(0, 20))
def test_any_bytes_are_messages_and_an_ending_and_nothing_else(noise: bytes, at: int, replace: int) -> None:
    for sent in (noise, WHOLE[:at] + noise + WHOLE[at + replace :]):
        found, code, _ = answered(Raw(sent))
        assert code in lean.STATUS
        assert all(isinstance(one, bytes) for one in found)
