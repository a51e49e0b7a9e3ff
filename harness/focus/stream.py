"""A window's gRPC channel: dial, wait until it is ready, read its streams as raw messages. Used by the engine, in one event loop.

One channel per window with a connection of its own: gRPC would share connections between channels to one address, and a reused
port would then be answered by the job that had it before. Connecting is repeated by gRPC while the window starts (refused right
after a 200 is normal); a call is never repeated.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio

from harness.errors import InputError
from harness.focus.endpoint import Endpoint

METHOD = "/pandadatastream.DataStreamService/StreamData"
MESSAGE_LIMIT = 50 << 20

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    # A job needs seconds to listen; the default back-off (1 s growing to 120 s) would be measured instead of the server.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 250),
    # A frozen pod acknowledges no ping: the stream is broken 10 s later instead of never.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class StreamEnd(Exception):
    """A stream ended; `code` is gRPC's name for how (`OK` for a proper end)."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


class StreamReader(Protocol):
    """One stream being read."""

    async def next(self) -> bytes:
        """Return the next message as it came; raise `StreamEnd` when there is none any more."""
        ...


class StreamTransport(Protocol):
    """The connection to one window's stream server, whatever carries it."""

    async def ready(self) -> None:
        """Return when the server speaks gRPC; the caller bounds the wait."""
        ...

    def open(self, stream: int, deadline_s: float) -> StreamReader:
        """Start reading stream number `stream`; `deadline_s` is a last resort, the reader ends it before."""
        ...

    async def close(self) -> None:
        """End every call and the connection."""
        ...


class _Call:
    """One stream, read by grpcio."""

    __slots__ = ("_call",)

    def __init__(self, call: Any) -> None:
        self._call = call

    async def next(self) -> bytes:
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise StreamEnd(error.code().name, error.details() or "") from error
        if message is grpc.aio.EOF:
            code = await self._call.code()
            raise StreamEnd(code.name, await self._call.details() or "")
        return bytes(message)


class StreamChannel:
    """The reference transport: grpcio's asyncio client."""

    def __init__(self, address: str, tls: Endpoint | None = None) -> None:
        """Dial `address`; with `tls`, over TLS that is verified as that endpoint's (grpcio can only verify: `insecure` is refused)."""
        if tls is None:
            self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(address, _credentials(tls), options=OPTIONS)
        self._method = self._channel.unary_stream(METHOD, request_serializer=None, response_deserializer=None)

    async def ready(self) -> None:
        """Return when the server speaks gRPC; the caller bounds the wait."""
        await self._channel.channel_ready()

    def open(self, stream: int, deadline_s: float) -> StreamReader:
        """Start reading stream number `stream`; `deadline_s` is a last resort, the reader ends it before."""
        return _Call(self._method(request_of(stream), timeout=deadline_s))

    async def close(self) -> None:
        """End every call and the connection."""
        await self._channel.close(None)


@lru_cache(maxsize=8)
def _credentials(tls: Endpoint) -> grpc.ChannelCredentials:
    if tls.insecure:
        raise InputError(
            "the reference transport verifies certificates: name the CA, or use the lean transport"
        )
    try:
        roots = Path(tls.ca_file).read_bytes() if tls.ca_file else None
    except OSError as error:
        raise InputError(f"ca_file {tls.ca_file!r} cannot be used: {error}") from error
    return grpc.ssl_channel_credentials(root_certificates=roots)


def request_of(stream: int) -> bytes:
    """Return a StreamDataRequest{int32 stream_id = 1} as it goes over the wire: a default value is not written."""
    return b"" if stream == 0 else b"\x08" + _varint(stream)


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)
