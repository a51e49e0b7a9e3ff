"""The HTTP client against servers that behave well, badly, and like no server at all: bytes in, an answer or a named failure out."""

import asyncio
import gzip
import itertools
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.focus import http
from harness.focus.endpoint import Endpoint, Timeouts
from harness.focus.http import AnswerFailed, AnswerTimeout, HttpClient, NotConnected, Reply

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
TIMES = Timeouts(connect_s=0.5, read_s=0.3, total_s=0.8)
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Takes requests and answers each with the next of its pieces, as they are."""

    def __init__(self, *answers: bytes | list[bytes], then_close: bool = False, gap_s: float = 0.0) -> None:
        self.answers = list(answers)
        self.heads: list[bytes] = []
        self.connections = 0
        self.ended = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._then_close = then_close
        self._gap_s = gap_s

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"Content-Length: " in head:
                    await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
                self.heads.append(head)
                answer = self.answers.pop(0)
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(self._gap_s)
                if self._then_close:
                    break
        self.ended += 1
        writer.close() if self._then_close else writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()

    async def end(self) -> None:
        """End all conversations."""
        for task in self._tasks:
            if not task.done():
                task.cancel()
        await asyncio.gather(*self._tasks)


def asked(server: Server, *paths: str, pause_s: float = 0.0, times: Timeouts = TIMES) -> list[Reply]:
    """What requests to a server give, one after the other."""

    async def run() -> list[Reply]:
        listening = await asyncio.start_server(server, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/base/"
        client = HttpClient(Endpoint(url=url, timeouts=times), {"Accept": "application/json"})
        found = []
        try:
            for path in paths or ("/x",):
                found.append(await client.request("POST", path, "id-1", b"{}"))
                await asyncio.sleep(pause_s)
        finally:
            await client.close()
            await asyncio.sleep(0.01)
            listening.close()
            await server.end()
        return found

    return asyncio.run(run())


def test_a_request_is_what_it_says_and_its_answer_comes_whole() -> None:
    server = Server(OK)
    assert asked(server) == [Reply(200, b"{}")]
    (head,) = server.heads
    assert head.startswith(b"POST /base/x HTTP/1.1\r\nX-Request-ID: id-1\r\n")
    for line in (
        b"Content-Length: 2",
        b"Content-Type: application/json",
        b"Accept: application/json",
        b"Host: 127.0.0.1:",
    ):
        assert line in head


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: 1\r\n\r\n"
)


@settings(deadline=None, max_examples=25)
@given(st.sets(st.integers(1, len(CHUNKED) - 1), max_size=8))
def test_a_chunked_answer_comes_whole_however_it_is_cut(cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), len(CHUNKED)]
    pieces = [CHUNKED[a:b] for a, b in itertools.pairwise(edges)]
    assert asked(Server(pieces)) == [Reply(200, b"hello world")]


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, Reply(200, b"{}")),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, Reply(200, b"{}")),
        (b"HTTP/1.0 503 No\r\n\r\nuntil the end", Reply(503, b"until the end")),
        (b"HTTP/1.1 204 None\r\n\r\n", Reply(204, b"")),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 25\r\n\r\n"
            + gzip.compress(b"hello", mtime=0),
            Reply(200, b"hello"),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n" + zlib.compress(b"hello"),
            Reply(200, b"hello"),
        ),
    ],
)
def test_unusual_answers_are_understood(answer: bytes, reply: Reply) -> None:
    assert asked(Server(answer, then_close=True)) == [reply]


@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        (b"", AnswerFailed, 0),
        (b"SSH-2.0-OpenSSH\r\n", AnswerFailed, 0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", AnswerFailed, 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", AnswerFailed, 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", AnswerFailed, 200),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n", AnswerFailed, 0),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", AnswerFailed, 200),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * (70 << 10), AnswerFailed, 0),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", AnswerFailed, 0),
    ],
)
def test_what_is_no_whole_answer_is_a_named_failure(
    answer: bytes, kind: type[AnswerFailed], status: int
) -> None:
    with pytest.raises(kind) as caught:
        asked(Server(answer, then_close=True))
    assert caught.value.status == status
    assert not isinstance(caught.value, AnswerTimeout)


def test_an_answer_without_end_is_cut_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_LIMIT", 1000)
    endless = [b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 400] * 9]
    with pytest.raises(AnswerFailed, match="more than 1000 bytes"):
        asked(Server(endless))
    bomb = gzip.compress(b"0" * 100_000)
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    assert asked(Server(answer + bomb)) == [Reply(200, b"0" * 1000)]


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=400))
def test_any_bytes_are_an_answer_or_a_failure_and_nothing_else(noise: bytes) -> None:
    for answer in (noise, b"HTTP/1.1 200 OK\r\n" + noise):
        with suppress(AnswerFailed):
            asked(Server(answer, then_close=True))


def test_silence_and_slowness_each_have_their_end() -> None:
    with pytest.raises(AnswerTimeout, match=r"silence for 0\.3 s"):
        asked(Server([b"HTTP/1.1 200 OK\r\n"], gap_s=5))
    drop = [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", *[b"x"] * 20]
    with pytest.raises(AnswerTimeout, match="no whole answer in time") as caught:
        asked(Server(drop, gap_s=0.1))
    assert (caught.value.status, set(caught.value.body)) == (200, {ord("x")})


def test_a_connection_is_kept_while_it_may_be_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(OK, OK, OK)
    asked(server, "/a", "/b", "/c")
    assert server.connections == 1
    monkeypatch.setattr(http, "IDLE_TRUST_S", 0.05)
    server = Server(OK, OK)
    asked(server, "/a", "/b", pause_s=0.12)
    assert (server.connections, server.ended) == (2, 2), "and one that is not used any more is closed"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"HTTP/1.1 500 Nobody asked\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_connection_that_may_not_be_kept_is_not(answer: bytes) -> None:
    server = Server(answer, OK)
    assert asked(server, "/a", "/b", pause_s=0.05) == [Reply(200, b"{}")] * 2
    assert server.connections == 2


def test_a_call_that_is_given_up_takes_its_connection_along() -> None:
    async def run() -> tuple[int, int]:
        server = Server([], OK)
        listening = await asyncio.start_server(server, "127.0.0.1", 0)
        client = HttpClient(Endpoint(url=f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"), {})
        call = asyncio.create_task(client.request("GET", "/slow", "1"))
        await asyncio.sleep(0.1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await client.request("GET", "/x", "2")
        await client.close()
        await asyncio.sleep(0.05)
        listening.close()
        counted = server.connections, server.ended
        await server.end()
        return counted

    assert asyncio.run(run()) == (2, 2)


def test_who_cannot_be_reached_is_said() -> None:
    async def ask(url: str) -> None:
        await HttpClient(Endpoint(url=url, timeouts=TIMES), {}).request("GET", "/", "1")

    with pytest.raises(NotConnected, match=r"127\.0\.0\.1:1"):
        asyncio.run(ask("http://127.0.0.1:1"))
    with pytest.raises(NotConnected, match=r"no-such-name\.invalid"):
        asyncio.run(ask("http://no-such-name.invalid"))


def test_user_and_password_of_a_url_are_sent_and_line_breaks_never() -> None:
    async def head(url: str, headers: dict[str, str]) -> bytes:
        return HttpClient(Endpoint(url=url), headers)._fixed

    assert b"Authorization: Basic dXNlcjpwYTpz\r\nX: y" in asyncio.run(
        head("http://user:pa%3As@h:1/p", {"X": "y"})
    )
    assert b"Host: h:1\r\n" in asyncio.run(head("http://user:pw@h:1/p", {}))
    with pytest.raises(InputError, match="line break"):
        asyncio.run(head("http://h", {"X": "a\r\nY: b"}))
    for url, words in (("http://h:port", "is not a URL"), ("http:///x", "names no host")):
        with pytest.raises(InputError, match=words):
            asyncio.run(head(url, {}))
