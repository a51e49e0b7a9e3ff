"""The lean way to read a window's streams: HTTP/2 as far as a gRPC client of server streams needs it, with large windows and frames.

The same face as `StreamChannel`, which is the reference: dial until the server speaks, read streams as raw messages, end as gRPC ends
(RFC 9113, gRPC over HTTP/2). It decodes headers with hpack and nothing else of what is not its own; a stream that nobody reads is held up by
flow control, as the reference holds it up. Plaintext or TLS, one connection per window, no compression, no retries.
"""

import asyncio
import ssl
import urllib.parse
from collections import deque
from functools import lru_cache
from struct import Struct
from typing import cast

import hpack

from harness.focus.endpoint import Endpoint, tls_context
from harness.focus.stream import MESSAGE_LIMIT, METHOD, StreamEnd, request_of

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
MAX_FRAME_SIZE, INITIAL_WINDOW_SIZE, ENABLE_PUSH, MAX_HEADER_LIST_SIZE = 5, 4, 2, 6

FRAME_LIMIT = (1 << 24) - 1
CONTROL_LIMIT = 64 << 10
"""No frame but DATA is longer, and no header block with its continuations."""
STREAM_WINDOW = 4 << 20
"""So much of a stream may be on its way or unread."""
CONNECTION_WINDOW = (1 << 31) - 1
REFILL = 1 << 26
DIAL_AGAIN_S = (0.1, 0.15, 0.25)
KEEPALIVE_S, KEEPALIVE_TIMEOUT_S = 30.0, 10.0
CANCEL, PROTOCOL_ERROR = 8, 1
WORD = Struct(">I")
SETTING = Struct(">HI")

COPIED = 16 << 10
"""Shorter pieces are cheaper to copy than to refer to."""
Piece = bytes | memoryview

STATUS = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
    "UNAUTHENTICATED",
)  # fmt: skip
OF_RESET = {7: "UNAVAILABLE", 8: "CANCELLED", 11: "RESOURCE_EXHAUSTED", 12: "PERMISSION_DENIED"}
"""What the reason of a reset means (gRPC over HTTP/2, Errors); everything else is INTERNAL."""
OF_HTTP = {
    400: "INTERNAL",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "UNIMPLEMENTED",
} | dict.fromkeys((429, 502, 503, 504), "UNAVAILABLE")
"""What an HTTP status without a gRPC status means; everything else is UNKNOWN."""


class LeanCall:
    """One stream being read."""

    __slots__ = ("_connection", "_deadline", "_end", "_have", "_loop", "_messages", "_need", "_number", "_owed", "_pieces", "_status", "_unread", "_waiter")  # fmt: skip

    def __init__(self, connection: "_Connection", number: int, deadline_s: float) -> None:
        self._connection = connection
        self._number = number
        self._loop = asyncio.get_running_loop()
        self._messages: deque[bytes] = deque()
        self._pieces: list[Piece] = []
        self._have = self._need = 0
        """Of the message that is being put together: bytes so far and in all, its five bytes included (0: not known yet)."""
        self._unread = self._owed = 0
        self._status = 0
        self._end: StreamEnd | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = self._loop.call_later(deadline_s, self._too_late)

    async def next(self) -> bytes:
        """Return the next message as it came; raise `StreamEnd` when there is none any more."""
        while not self._messages:
            if self._end is not None:
                raise self._end
            self._waiter = self._loop.create_future()
            await self._waiter
        message = self._messages.popleft()
        self._unread -= len(message)
        if self._owed and self._unread < STREAM_WINDOW // 2:
            self._pay()
        return message

    # --- called by the connection -------------------------------------------------------------------

    def data(self, piece: Piece) -> None:
        """Take what came of the body: message after message, each behind five bytes (compressed flag, length)."""
        self._owed += len(piece)
        if self._have and not self._need:  # the length itself was cut
            piece = b"".join((*self._pieces, piece))
            self._pieces.clear()
            self._have = 0
        if self._have:
            more = self._have + len(piece) - self._need
            if more < 0:
                self._pieces.append(piece)
                self._have += len(piece)
                self._pay()  # a message may be larger than the window: what is still being put together is always wanted
                return
            at = len(piece) - more
            self._pieces.append(piece[:at] if more else piece)
            self._whole(b"".join(self._pieces))
            self._pieces.clear()
            self._have = self._need = 0
        else:
            at = 0
        end = len(piece)
        while end - at >= 5:
            length = WORD.unpack_from(piece, at + 1)[0]
            if piece[at] or length > MESSAGE_LIMIT:
                self._refuse(length, compressed=bool(piece[at]))
                return
            if end - at - 5 < length:
                self._need = 5 + length
                break
            self._whole(piece[at + 5 : at + 5 + length])
            at += 5 + length
        if at < end:
            self._pieces.append(piece[at + 5 :] if self._need else piece[at:])
            self._have = end - at
        if self._owed >= STREAM_WINDOW // 4 and self._unread < STREAM_WINDOW // 2:
            self._pay()
        if self._messages:
            self._wake()

    def headers(self, fields: list[tuple[str, str]], *, last: bool) -> None:
        """Take headers or trailers."""
        found = dict(fields)
        if (status := found.get(":status")) is not None:
            self._status = int(status) if status.isdigit() else 0
        if not last:
            return
        code = found.get("grpc-status")
        if code is not None and code.isdigit():
            number = int(code)
            text = urllib.parse.unquote(found.get("grpc-message", ""))
            self.finish(STATUS[number] if number < len(STATUS) else "UNKNOWN", text)
        else:
            self.finish(OF_HTTP.get(self._status, "UNKNOWN"), f"no grpc-status, HTTP status {self._status}")

    def finish(self, code: str, text: str) -> None:
        """End once: messages that came before are still read."""
        if self._end is None:
            if self._have and code == "OK":
                code, text = "INTERNAL", "the stream ended within a message"
            self._end = StreamEnd(code, text)
            self._deadline.cancel()
            self._connection.forget(self._number)
            self._wake()

    def fail(self, code: str, text: str) -> None:
        """End because of ourselves, and say so to the server."""
        if self._end is None:
            self._connection.reset(self._number)
            self.finish(code, text)

    def cancel(self) -> bool:
        """Stop reading."""
        self.fail("CANCELLED", "cancelled by the reader")
        return True

    # --- inside -------------------------------------------------------------------------------------

    def _whole(self, message: Piece) -> None:
        self._messages.append(message if type(message) is bytes else bytes(message))
        self._unread += len(message)

    def _refuse(self, length: int, *, compressed: bool) -> None:
        if compressed:
            self.fail("INTERNAL", "a compressed message, which was not asked for")
        else:
            self.fail("RESOURCE_EXHAUSTED", f"a message of {length} bytes, the limit is {MESSAGE_LIMIT}")

    def _pay(self) -> None:
        owed, self._owed = self._owed, 0
        if owed and self._end is None:
            self._connection.window(self._number, owed)

    def _too_late(self) -> None:
        self.fail("DEADLINE_EXCEEDED", "Deadline Exceeded")

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class _Connection(asyncio.Protocol):
    """One HTTP/2 connection; what it cannot understand ends it, and every stream on it."""

    def __init__(self, authority: str, scheme: str = "http") -> None:
        self._scheme = scheme
        self._loop = asyncio.get_running_loop()
        self._authority = authority
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._data_left = 0
        """Of the DATA frame whose body is coming: bytes that are still to come, padding left out."""
        self._pad_left = 0
        self._data_call: LeanCall | None = None
        self._data_ends = 0
        self._block: tuple[int, int, bytes] | None = None
        """Of headers that go on: stream, flags, fragments so far."""
        self._decoder = hpack.Decoder(max_header_list_size=CONTROL_LIMIT)
        self._encoder = hpack.Encoder()
        self._calls: dict[int, LeanCall] = {}
        self._next = 1
        self._received = 0
        self._heard = 0.0
        self._keepalive: asyncio.TimerHandle | None = None
        self._pinged = False
        self.closing = "UNAVAILABLE", "the connection was closed"
        self.ready: asyncio.Future[None] = self._loop.create_future()

    @property
    def lost(self) -> bool:
        """Whether nothing can be asked on it any more."""
        return self._transport is None or self._transport.is_closing()

    def open(self, stream: int, deadline_s: float) -> LeanCall:
        """Start reading a stream."""
        number, self._next = self._next, self._next + 2
        call = LeanCall(self, number, deadline_s)
        if self.lost:
            self._loop.call_soon(call.finish, *self.closing)
            return call
        self._calls[number] = call
        head = self._encoder.encode(
            (
                (":method", "POST"),
                (":scheme", self._scheme),
                (":path", METHOD),
                (":authority", self._authority),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", "focus-harness-lean"),
                ("grpc-timeout", f"{max(1, round(deadline_s * 1000))}m"),
            )
        )
        body = request_of(stream)
        self._write(
            _frame(HEADERS, END_HEADERS, number, head)
            + _frame(DATA, END_STREAM, number, b"\0" + WORD.pack(len(body)) + body)
        )
        return call

    def window(self, number: int, more: int) -> None:
        """Allow the server that much more of a stream (0: of the connection)."""
        self._write(_frame(WINDOW_UPDATE, 0, number, WORD.pack(more)))

    def reset(self, number: int) -> None:
        """Tell the server that nobody reads a stream any more."""
        self._write(_frame(RST_STREAM, 0, number, WORD.pack(CANCEL)))

    def forget(self, number: int) -> None:
        """Expect nothing of a stream any more; what still comes is dropped."""
        self._calls.pop(number, None)

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- called by the loop -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        told = (
            (ENABLE_PUSH, 0),
            (INITIAL_WINDOW_SIZE, STREAM_WINDOW),
            (MAX_FRAME_SIZE, FRAME_LIMIT),
            (MAX_HEADER_LIST_SIZE, CONTROL_LIMIT),
        )
        settings = b"".join(SETTING.pack(*one) for one in told)
        self._write(PREFACE + _frame(SETTINGS, 0, 0, settings))
        self.window(0, CONNECTION_WINDOW - 65_535)
        self._heard = self._loop.time()
        self._keepalive = self._loop.call_later(KEEPALIVE_S, self._look)

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        try:
            self._take(data)
        except (ValueError, hpack.HPACKError) as error:
            self._broken(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._keepalive is not None:
            self._keepalive.cancel()
        if exc is not None:
            self.closing = "UNAVAILABLE", f"the connection was lost: {exc}"
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(self.closing[1]))
            self.ready.exception()  # whoever waited has perhaps gone
        for call in tuple(self._calls.values()):
            call.finish(*self.closing)

    # --- frames -------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        at, end = 0, len(data)
        if self._data_left or self._pad_left:
            at = self._body(data, 0, end)
        if self._rest and at < end:
            data, at = self._rest + data[at:], 0
            end = len(data)
            self._rest = b""
        while end - at >= 9:
            length = (data[at] << 16) | (data[at + 1] << 8) | data[at + 2]
            kind, flags = data[at + 3], data[at + 4]
            number = WORD.unpack_from(data, at + 5)[0] & 0x7FFF_FFFF
            if kind == DATA:
                if flags & PADDED and end - at < 10:
                    break
                at = self._begin_body(data, at + 9, length, flags, number)
                at = self._body(data, at, end)
                continue
            if length > CONTROL_LIMIT:
                raise ValueError(f"a frame of type {kind} with {length} bytes")
            if end - at - 9 < length:
                break
            self._control(kind, flags, number, data[at + 9 : at + 9 + length])
            at += 9 + length
        if at < end:
            self._rest = data[at:]

    def _begin_body(self, data: bytes, at: int, length: int, flags: int, number: int) -> int:
        if self._block is not None or number == 0:
            raise ValueError("DATA where it must not be")
        self._received += length
        if self._received >= REFILL:  # streams are held up one by one, the connection never
            self.window(0, self._received)
            self._received = 0
        if flags & PADDED:
            self._pad_left = data[at]
            at, length = at + 1, length - 1
            if self._pad_left > length:
                raise ValueError("more padding than frame")
        self._data_left = length - self._pad_left
        self._data_call = self._calls.get(number)
        self._data_ends = flags & END_STREAM
        return at

    def _body(self, data: bytes, at: int, end: int) -> int:
        """Pass on what is there of the DATA frame that is coming; return where it ends."""
        take = min(self._data_left, end - at)
        if take:
            if self._data_call is not None:
                self._data_call.data(
                    data[at : at + take] if take < COPIED else memoryview(data)[at : at + take]
                )
            self._data_left -= take
            at += take
        if not self._data_left:
            skip = min(self._pad_left, end - at)
            self._pad_left -= skip
            at += skip
            if not self._pad_left:
                call, self._data_call = self._data_call, None
                if self._data_ends and call is not None:
                    self._data_ends = 0
                    call.finish("UNKNOWN", "the stream ended without a status")
        return at

    def _control(self, kind: int, flags: int, number: int, body: bytes) -> None:
        if self._block is not None and kind != CONTINUATION:
            raise ValueError("headers that do not go on")
        if kind == HEADERS:
            if flags & PADDED:
                body = body[1 : len(body) - body[0]] if body and body[0] < len(body) else _wrong("padding")
            if flags & PRIORITY:
                body = body[5:]
            self._headers(number, flags, body)
        elif kind == CONTINUATION:
            if self._block is None or self._block[0] != number:
                raise ValueError("a continuation of nothing")
            before = self._block
            self._headers(number, before[1] | (flags & END_HEADERS), before[2] + body)
        elif kind == SETTINGS:
            if not flags & ACK:
                self._write(_frame(SETTINGS, ACK, 0, b""))
                if not self.ready.done():
                    self.ready.set_result(None)
        elif kind == PING:
            if len(body) != 8:
                raise ValueError("a ping of another length")
            if not flags & ACK:
                self._write(_frame(PING, ACK, 0, body))
        elif kind == RST_STREAM:
            if (call := self._calls.get(number)) is not None:
                reason = WORD.unpack(body)[0] if len(body) == 4 else PROTOCOL_ERROR
                call.finish(OF_RESET.get(reason, "INTERNAL"), f"RST_STREAM with error code {reason}")
        elif kind == GOAWAY:
            self._goaway(body)

    def _headers(self, number: int, flags: int, block: bytes) -> None:
        if len(block) > CONTROL_LIMIT:
            raise ValueError("headers without end")
        if not flags & END_HEADERS:
            self._block = number, flags, block
            return
        self._block = None
        fields = self._decoder.decode(
            block
        )  # also for a stream that is forgotten: the table is the connection's
        if (call := self._calls.get(number)) is not None:
            text = [(_text(name), _text(value)) for name, value in fields]
            call.headers(text, last=bool(flags & END_STREAM))

    def _goaway(self, body: bytes) -> None:
        if len(body) < 8:
            raise ValueError("a short GOAWAY")
        last, reason = WORD.unpack_from(body)[0] & 0x7FFF_FFFF, WORD.unpack_from(body, 4)[0]
        self.closing = "UNAVAILABLE", f"GOAWAY with error code {reason}"
        for number, call in tuple(self._calls.items()):
            if number > last:
                call.finish(*self.closing)

    def _broken(self, text: str) -> None:
        self.closing = "INTERNAL", f"this is no HTTP/2: {text}"
        self._write(_frame(GOAWAY, 0, 0, WORD.pack(0) + WORD.pack(PROTOCOL_ERROR)))
        for call in tuple(self._calls.values()):
            call.finish(*self.closing)
        self.close()

    def _look(self) -> None:
        """Ping a connection that is silent; one that does not answer is lost (as the reference finds out)."""
        silent_s = self._loop.time() - self._heard
        if self._pinged and silent_s >= KEEPALIVE_TIMEOUT_S:
            self.closing = "UNAVAILABLE", "keepalive watchdog timeout"
            self.close()
            return
        self._pinged = silent_s >= KEEPALIVE_S
        if self._pinged:
            self._write(_frame(PING, 0, 0, b"harness1"))
        self._keepalive = self._loop.call_later(
            KEEPALIVE_TIMEOUT_S if self._pinged else KEEPALIVE_S - min(silent_s, KEEPALIVE_S - 1), self._look
        )

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


class LeanChannel:
    """The connection to one window's stream server."""

    def __init__(self, address: str, tls: Endpoint | None = None) -> None:
        """Dial `address`; with `tls`, over TLS that is verified as that endpoint's, or not at all where it says so."""
        self._address = address
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._tls = None if tls is None else _context(tls)
        self._connection: _Connection | None = None

    async def ready(self) -> None:
        """Return when the server speaks HTTP/2; the caller bounds the wait. Dials again while it is refused."""
        loop, tries = asyncio.get_running_loop(), 0
        while True:
            connection = _Connection(self._address, "https" if self._tls else "http")
            try:
                await loop.create_connection(lambda: connection, self._host, self._port, ssl=self._tls)  # noqa: B023
                await connection.ready
            except OSError:
                connection.close()
            except BaseException:
                connection.close()
                raise
            else:
                self._connection = connection
                return
            await asyncio.sleep(DIAL_AGAIN_S[min(tries, len(DIAL_AGAIN_S) - 1)])
            tries += 1

    def open(self, stream: int, deadline_s: float) -> LeanCall:
        """Start reading stream number `stream`; `deadline_s` is a last resort, the reader ends it before."""
        if self._connection is None:
            raise RuntimeError("wait until the channel is ready")
        return self._connection.open(stream, deadline_s)

    async def close(self) -> None:
        """End every call and the connection."""
        if self._connection is not None:
            self._connection.close()
            await asyncio.sleep(0)


@lru_cache(maxsize=8)
def _context(tls: Endpoint) -> ssl.SSLContext:
    context = tls_context(tls)
    context.set_alpn_protocols(["h2"])
    return context


def _frame(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + WORD.pack(number) + body


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _wrong(what: str) -> bytes:
    raise ValueError(f"wrong {what}")
