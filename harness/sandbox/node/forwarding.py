"""Carries TCP connections from a listening address to a backend: bytes both ways, nothing else.

The service proxy makes one `Forwarder` per service port. Where a connection goes is chosen once, when it arrives;
after that it stays with its pod whatever happens to the service. It keeps no more than one buffer per direction
and passes pressure on: a reader that is slow slows down its sender. A backend that refuses, resets or dies shows as
a reset, so that a client never mistakes a broken stream for a finished one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import cast

Backend = tuple[str, int]
Choose = Callable[[], Backend | None]
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
CONNECT_TIMEOUT_S = 5.0


class _Side(asyncio.Protocol):
    """One end of a forwarded connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self._early: list[bytes] = []
        self._has_ended = False

    @property
    def peer(self) -> asyncio.Transport | None:
        """The other end's transport while it lives."""
        found = None if self.other is None else self.other.transport
        return None if found is None or found.is_closing() else found

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        _no_delay(self.transport)

    def join(self, other: _Side) -> None:
        """Connect both sides and let bytes flow."""
        self.other, other.other = other, self
        for side in (self, other):
            if side._early:
                side.data_received(b"".join(side._early))
                side._early.clear()
                if side.transport is not None and not side.transport.is_closing():
                    side.transport.resume_reading()
            if side._has_ended and not side.eof_received() and side.transport is not None:
                side.transport.close()

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            # Pausing earlier than now would not do: a loop may begin to read after connection_made.
            self._early.append(data)
            if len(self._early) == 1 and self.transport is not None:
                self.transport.pause_reading()
        elif (peer := self.peer) is not None:
            peer.write(data)

    def eof_received(self) -> bool:
        self._has_ended = True
        if (peer := self.peer) is not None and peer.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                peer.write_eof()
        # Stay open for what the other side still has to say, until it has ended as well.
        return not (self.other is not None and self.other._has_ended)

    def pause_writing(self) -> None:
        if (peer := self.peer) is not None:
            peer.pause_reading()

    def resume_writing(self) -> None:
        if (peer := self.peer) is not None:
            peer.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if (peer := self.peer) is None:
            return
        if exc is None and self._has_ended:
            peer.close()
        else:
            reset(peer)


class _Front(_Side):
    """The client's end: finds a backend first."""

    def __init__(self, choose: Choose, kept: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self._choose = choose
        self._kept = kept

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        task = asyncio.get_running_loop().create_task(self._connect())
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    async def _connect(self) -> None:
        assert self.transport is not None
        backend = self._choose()
        if backend is None:
            reset(self.transport)
            return
        loop = asyncio.get_running_loop()
        back = _Side()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: back, *backend)
        except (OSError, TimeoutError):
            reset(self.transport)
            return
        if self.transport.is_closing():
            assert back.transport is not None
            back.transport.abort()
            return
        self.join(back)


def _no_delay(transport: asyncio.Transport) -> None:
    raw = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def reset(transport: asyncio.Transport) -> None:
    """End a connection so that its peer sees a reset."""
    raw = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


class Forwarder:
    """Listens on one address while there is somewhere to go; without that, connecting is refused."""

    def __init__(self, host: str, port: int, choose: Choose) -> None:
        self.host, self.port = host, port
        self._choose = choose
        self._server: asyncio.Server | None = None
        self._connecting: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    async def open(self) -> None:
        """Listen; raises OSError when the address is taken."""
        if self._server is None:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Front(self._choose, self._connecting),
                self.host,
                self.port,
                backlog=512,
                reuse_address=True,
            )

    def close(self) -> None:
        """Refuse new connections; established ones stay."""
        if self._server is not None:
            self._server.close()
            self._server = None
