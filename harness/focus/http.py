"""HTTP/1.1 as a load needs it: one request per call, never repeated, named timeouts, connections that are kept but not trusted for long.

Used by the REST client, in one event loop. llhttp parses, the loop carries bytes; what a general client does besides (redirects, cookies,
proxies, retries) would change what is measured, and costs several times as much. Every failure is one of the exceptions here.
"""

import asyncio
import base64
import socket
import ssl
import time
import urllib.parse
import zlib
from collections import deque
from dataclasses import dataclass

import httptools

from harness.errors import InputError
from harness.focus.endpoint import Endpoint, tls_context

IDLE_TRUST_S = 2.0
"""Servers close idle connections (uvicorn: 5 s); a create must not race with that."""
ADDRESSES_KEPT_S = 10.0
BODY_LIMIT = 16 << 20
HEAD_LIMIT = 64 << 10


class NotConnected(Exception):
    """Nobody took the connection: refused, unreachable, unknown name, a certificate that is not trusted."""


class ConnectTimeout(Exception):
    """No connection in time."""


class AnswerFailed(Exception):
    """The request was sent and its answer did not come whole; `status` and `body` are what had come of it."""

    def __init__(self, text: str, status: int = 0, body: bytes = b"") -> None:
        super().__init__(text)
        self.status = status
        self.body = body


class AnswerTimeout(AnswerFailed):
    """The answer, or the rest of it, did not come in time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes


class _Connection(asyncio.Protocol):
    """One connection, and the answer that is being read from it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fresh()
        self.open = False
        self.idle_since = 0.0

    def ask(self, data: bytes, read_s: float, deadline: float) -> "asyncio.Future[Reply]":
        """Send a request; `deadline` is the loop's time by which its answer must be whole, `read_s` the longest silence."""
        assert self._transport is not None
        self._fresh()
        self._waiter = waiter = self._loop.create_future()
        self._read_s, self._deadline = read_s, deadline
        self._heard = self._loop.time()
        self._timer = self._loop.call_at(min(self._heard + read_s, deadline), self._look)
        self._transport.write(data)
        return waiter

    def abort(self) -> None:
        """Close at once, whatever is on its way."""
        self._waiter = None
        self._stop_timer()
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # --- called by the loop -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is one without saying so
        self.open = True

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:  # nobody has asked: whatever that is, it must not become an answer
            self.abort()
            return
        self._heard = self._loop.time()
        self._head += 0 if self._begun else len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(AnswerFailed(f"this is no HTTP answer: {error}", *self._so_far()))
            return
        if not self._begun and self._head > HEAD_LIMIT:
            self._fail(AnswerFailed(f"headers of more than {HEAD_LIMIT} bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._waiter is None:
            return
        if self._begun and self._to_the_end and exc is None:
            self._keep = False
            self._whole()
            return
        self._fail(AnswerFailed(f"the connection was lost{f': {exc}' if exc else ''}", *self._so_far()))

    # --- called by the parser ---------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._waiter is None:  # behind a whole answer, in the same bytes
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"content-encoding":
            self._encoding = value.strip().lower()
        elif lower == b"content-length" or (lower == b"transfer-encoding" and b"chunked" in value.lower()):
            self._to_the_end = False

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        self._begun = self._status >= 200

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size <= BODY_LIMIT:
            self._pieces.append(body)
        else:
            self._fail(AnswerFailed(f"an answer of more than {BODY_LIMIT} bytes", self._status))

    def on_message_complete(self) -> None:
        if not self._begun:  # 100, 103: the answer is still to come
            self._fresh()
        elif self._waiter is not None:
            self._keep = self._parser.should_keep_alive()
            self._whole()

    # --- inside -----------------------------------------------------------------------------------

    def _fresh(self) -> None:
        self._status = self._size = self._head = 0
        self._pieces: list[bytes] = []
        self._encoding = b""
        self._begun = self._keep = False
        self._to_the_end = True

    def _so_far(self) -> tuple[int, bytes]:
        return (self._status, b"".join(self._pieces)) if self._begun else (0, b"")

    def _whole(self) -> None:
        body = b"".join(self._pieces)
        if self._encoding in (b"gzip", b"deflate"):
            try:
                body = _decoded(body)
            except zlib.error as error:
                self._fail(AnswerFailed(f"{self._encoding.decode()}: {error}", self._status, body))
                return
        waiter, self._waiter = self._waiter, None
        self._stop_timer()
        self.idle_since = self._loop.time()
        if not self._keep:
            self.abort()
        if waiter is not None and not waiter.done():
            waiter.set_result(Reply(self._status, body))

    def _fail(self, error: AnswerFailed) -> None:
        waiter = self._waiter
        self.abort()
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def _look(self) -> None:
        now = self._loop.time()
        if now >= self._deadline:
            self._fail(AnswerTimeout("no whole answer in time", *self._so_far()))
        elif now - self._heard >= self._read_s:
            self._fail(AnswerTimeout(f"silence for {self._read_s:g} s", *self._so_far()))
        else:
            self._timer = self._loop.call_at(min(self._heard + self._read_s, self._deadline), self._look)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class HttpClient:
    """Requests to one server, each on a connection of its own while it lasts."""

    def __init__(self, endpoint: Endpoint, headers: dict[str, str]) -> None:
        self._loop = asyncio.get_running_loop()
        url = urllib.parse.urlsplit(endpoint.url)
        try:
            port = url.port
        except ValueError as error:
            raise InputError(f"{endpoint.url!r} is not a URL: {error}") from error
        if not url.hostname:
            raise InputError(f"{endpoint.url!r} names no host")
        self._timeouts = endpoint.timeouts
        self._host = url.hostname
        self._tls = tls_context(endpoint) if url.scheme == "https" else None
        self._port = port or (443 if self._tls else 80)
        self._base = url.path.rstrip("/")
        fixed = {"Host": url.netloc.rpartition("@")[2], **_authorization(url), **headers}
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in fixed.items()).encode()
        if any(mark in f"{name}{value}" for name, value in fixed.items() for mark in "\r\n\0"):
            raise InputError("a header of the target holds a line break")
        self._idle: deque[_Connection] = deque()
        self._addresses: list[tuple[int, str]] = []
        self._known_until = 0.0
        self._pruning: asyncio.TimerHandle | None = None

    async def request(self, method: str, path: str, request_id: str, body: bytes | None = None) -> Reply:
        """Send one request and return its whole answer; raises NotConnected, ConnectTimeout, AnswerFailed or AnswerTimeout."""
        times = self._timeouts
        deadline = self._loop.time() + times.total_s
        connection = self._kept() or await self._connect(min(times.connect_s, times.total_s))
        about = (
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body is not None else ""
        )
        head = f"{method} {self._base}{path} HTTP/1.1\r\nX-Request-ID: {request_id}\r\n{about}".encode()
        try:
            reply = await connection.ask(
                b"".join((head, self._fixed, b"\r\n", body or b"")), times.read_s, deadline
            )
        except BaseException:
            connection.abort()
            raise
        if connection.open:
            self._keep(connection)
        return reply

    async def close(self) -> None:
        """Close every connection that is kept."""
        if self._pruning is not None:
            self._pruning.cancel()
        while self._idle:
            self._idle.pop().abort()
        await asyncio.sleep(0)  # the loop closes sockets in its next round

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open and self._loop.time() - connection.idle_since < IDLE_TRUST_S:
                return connection
            connection.abort()
        return None

    def _keep(self, connection: _Connection) -> None:
        self._idle.append(connection)
        if self._pruning is None:
            self._pruning = self._loop.call_later(IDLE_TRUST_S, self._prune)

    def _prune(self) -> None:
        """Close what has been idle for too long."""
        self._pruning = None
        while self._idle and self._loop.time() - self._idle[0].idle_since >= IDLE_TRUST_S:
            self._idle.popleft().abort()
        if self._idle:
            self._pruning = self._loop.call_later(IDLE_TRUST_S, self._prune)

    async def _connect(self, within_s: float) -> _Connection:
        try:
            async with asyncio.timeout(within_s):
                return await self._connected()
        except TimeoutError as error:
            raise ConnectTimeout(
                f"no connection to {self._host}:{self._port} within {within_s:g} s"
            ) from error
        except OSError as error:  # ssl.SSLError, socket.gaierror and ConnectionError are some
            raise NotConnected(f"{self._host}:{self._port}: {_why(error)}") from error

    async def _connected(self) -> _Connection:
        last: OSError | None = None
        for family, address in await self._resolved():
            try:
                _, connection = await self._loop.create_connection(
                    lambda: _Connection(self._loop),
                    address,
                    self._port,
                    family=family,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                last = error
            else:
                return connection
        raise last or OSError("no address")

    async def _resolved(self) -> list[tuple[int, str]]:
        if time.monotonic() >= self._known_until:
            found = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._addresses = [(int(family), str(address[0])) for family, _, _, _, address in found]
            self._known_until = time.monotonic() + ADDRESSES_KEPT_S
        return self._addresses


def _decoded(body: bytes) -> bytes:
    """Unpack gzip or zlib; what would be too long is cut, and then cannot be read."""
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(body, BODY_LIMIT)


def _authorization(url: urllib.parse.SplitResult) -> dict[str, str]:
    if url.username is None:
        return {}
    user, password = (urllib.parse.unquote(part or "") for part in (url.username, url.password))
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def _why(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
