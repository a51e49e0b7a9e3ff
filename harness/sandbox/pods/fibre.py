"""The fibre's metadata: the player tells it to whoever asks, Focus Server asks until it knows it.

One JSON object over HTTP on a fixed port of the player's pod. It needs no broker and no Service: Focus Server finds the pod by
the player's selector. A player that is gone takes nothing away from a Focus Server that has asked before.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from harness.sandbox.settings import Settings

PORT = 5010
DX = 1.0213698148727417
SW_VERSION = "11.17.10513"
_ANSWER_LIMIT = 65536


def metadata(settings: Settings) -> dict[str, Any]:
    """Return what the player knows of the fibre, as `GET /live_metadata` answers it."""
    return {
        "dx": DX,
        "prr": settings.prr,
        "fiber_start_meters": 0,
        "fiber_length_meters": 10000,
        "sw_version": SW_VERSION,
        "number_of_channels": settings.number_of_channels,
        "fiber_description": "Sandbox_fiber",
    }


async def tell(host: str, settings: Settings) -> asyncio.Server:
    """Answer every question with the metadata until the server is closed."""
    body = json.dumps(metadata(settings)).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head.encode() + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who asked is gone, or did not ask in HTTP
        finally:
            writer.close()

    return await asyncio.start_server(answer, host, PORT)


async def ask(host: str) -> dict[str, Any]:
    """Ask a player for the metadata; OSError or ValueError when it does not give it."""
    reader, writer = await asyncio.open_connection(host, PORT)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read(_ANSWER_LIMIT)
    finally:
        writer.close()
    found = json.loads(answer.partition(b"\r\n\r\n")[2])
    if not isinstance(found, dict) or not found.get("prr"):
        raise ValueError(f"the player at {host} does not say the fibre's prr")
    return found
