"""How a cleanup pod learns whether a window's stream pod is working: frames sent so far, asked over UDP.

The field's cleanup looks at the CPU of the stream pod. The sandbox's streams are so light that a consumed and an
idle one differ by a few millicores only, so the sign is the work itself. The stream server answers on port 5001
of its pod address; anything that is not answered in time counts as no reading, not as idle.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

PORT = 5001


class _Answers(asyncio.DatagramProtocol):
    def __init__(self, frames: Callable[[], int]) -> None:
        self._frames = frames
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(str(self._frames()).encode(), addr)


async def serve(address: str, frames: Callable[[], int]) -> asyncio.DatagramTransport:
    """Answer with the number of frames sent until the transport is closed."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Answers(frames), local_addr=(address, PORT))
    return transport


def ask(address: str, timeout_s: float = 1.0) -> int | None:
    """Return the frames a stream server has sent so far, None when it does not answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect((address, PORT))
            sock.send(b"frames?")
            return int(sock.recv(64))
        except (OSError, ValueError):
            return None
