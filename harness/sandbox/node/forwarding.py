"""Carries TCP connections from a listening address to a backend: bytes both ways, nothing else.

The service proxy makes one `Forwarder` per service port. Where a connection goes is chosen once, when it arrives;
after that it stays with its pod whatever happens to the service. It keeps no more than one buffer per direction
and passes pressure on: a reader that is slow slows down its sender. A backend that refuses, resets or dies shows as
a reset, so that a client never mistakes a broken stream for a finished one. What a `Traffic` lets through late or not
at all, it passes on late or not at all: bytes, ends and resets alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import cast

from harness.sandbox.node.traffic import Backend, Lane, Traffic

Choose = Callable[[], Backend | None]
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
CONNECT_TIMEOUT_S = 5.0


class _Side(asyncio.Protocol):
    """One end of a forwarded connection; what it receives goes down its lane to the other end."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self._traffic: Traffic | None = None
        self._lane: Lane | None = None
        self._early: list[bytes] = []
        self._brakes: set[str] = set()
        self._has_ended = False
        self._end_is_passed_on = False

    @property
    def peer(self) -> asyncio.Transport | None:
        """The other end's transport while it lives."""
        found = None if self.other is None else self.other.transport
        return None if found is None or found.is_closing() else found

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        _no_delay(self.transport)

    def join(self, other: _Side, traffic: Traffic, source: str, backend: Backend) -> None:
        """Connect both sides and let bytes flow as far as the traffic allows it."""
        self.other, other.other = other, self
        for side in (self, other):
            side._traffic = traffic
            side._lane = Lane(traffic, source, backend, partial(side.brake, "lane"))
        for side in (self, other):
            if side._early:
                side.data_received(b"".join(side._early))
                side._early.clear()
                side.brake("early", False)
            if side._has_ended:
                side.eof_received()

    def data_received(self, data: bytes) -> None:
        if self._lane is None:
            # Pausing earlier than now would not do: a loop may begin to read after connection_made.
            self._early.append(data)
            self.brake("early", True)
        elif self._lane.is_free:
            self._pass_on(data)
        else:
            self._lane.put(len(data), partial(self._pass_on, data))

    def eof_received(self) -> bool:
        self._has_ended = True
        if self._lane is not None:
            self._lane.put(0, self._pass_on_end)
        # Stay open for what the other side still has to say, until it has ended as well.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lane is not None:
            self._lane.put(0, partial(self._pass_on_loss, exc is None and self._has_ended))

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.brake("peer", True)

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.brake("peer", False)

    def brake(self, why: str, on: bool) -> None:
        """Read no further while there is a reason not to."""
        braked = bool(self._brakes)
        (self._brakes.add if on else self._brakes.discard)(why)
        if braked == bool(self._brakes) or self.transport is None or self.transport.is_closing():
            return
        if on:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _pass_on(self, data: bytes) -> None:
        if (peer := self.peer) is not None:
            peer.write(data)

    def _pass_on_end(self) -> None:
        assert self.other is not None
        self._end_is_passed_on = True
        if (peer := self.peer) is not None and peer.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                peer.write_eof()
        if self.other._end_is_passed_on:
            for side in (self, self.other):
                if side.transport is not None and not side.transport.is_closing():
                    side.transport.close()

    def _pass_on_loss(self, is_clean: bool) -> None:
        assert self._traffic is not None
        assert self._lane is not None
        self._traffic.leave(self._lane)
        if (peer := self.peer) is None:
            return
        if is_clean:
            peer.close()
        else:
            reset(peer)


class _Front(_Side):
    """The client's end: finds a backend first."""

    def __init__(self, choose: Choose, traffic: Traffic, kept: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self._choose = choose
        self._passing = traffic
        self._kept = kept

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        task = asyncio.get_running_loop().create_task(self._connect())
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    async def _connect(self) -> None:
        assert self.transport is not None
        source: str = (self.transport.get_extra_info("peername") or ("",))[0]
        backend = await self._reachable(source)
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
        self.join(back, self._passing, source, backend)

    async def _reachable(self, source: str) -> Backend | None:
        """Choose a backend once packets of this client get through to one; None where there is no backend."""
        while True:
            if not self._passing.drops:
                backend = self._choose()
                if backend is None or self._passing.allows(source, backend):
                    return backend
            await self._passing.change()


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

    def __init__(self, host: str, port: int, choose: Choose, traffic: Traffic) -> None:
        self.host, self.port = host, port
        self._choose = choose
        self._traffic = traffic
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
                lambda: _Front(self._choose, self._traffic, self._connecting),
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
