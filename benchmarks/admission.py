"""How fast the sandbox's Focus Server admits and refuses, without added latency, seen from outside the ingress.

Peer: GET /ack over the same path with the same client, which costs everything but the admission.
"""

import asyncio
import time
from dataclasses import dataclass

import aiohttp
import numpy as np

from benchmarks.rows import Row
from benchmarks.world import World

REQUEST = {
    "displayTimeAxisDuration": 10,
    "nfftSelection": 1024,
    "channels": {"min": 0, "max": 50},
    "frequencyRange": {"min": 0, "max": 500},
    "start_time": None,
    "end_time": None,
    "view_type": 0,
}
WINDOWS = 30
IN_FLIGHT = 8
SPAN_S = 8.0


@dataclass(frozen=True, slots=True)
class Answers:
    """Statuses and latencies of a burst, and how long it took."""

    statuses: tuple[int, ...]
    latencies_s: tuple[float, ...]
    took_s: float

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the latencies."""
        return float(np.quantile(self.latencies_s, share)) * 1000


def measure(world: World, command: str) -> list[Row]:
    """Open windows one by one up to the limit, then ask as fast as answers come."""
    return asyncio.run(_measure(world, command))


async def _measure(world: World, command: str) -> list[Row]:
    async with aiohttp.ClientSession() as session:
        below = await _closed_loop(session, "POST", f"{world.url}/configure", in_flight=1, count=WINDOWS)
        above = await _closed_loop(
            session, "POST", f"{world.url}/configure", in_flight=IN_FLIGHT, span_s=SPAN_S
        )
        ack = await _closed_loop(session, "GET", f"{world.url}/ack", in_flight=IN_FLIGHT, span_s=SPAN_S)
    admitted = sum(status == 200 for status in below.statuses)
    refused = sum(status == 503 for status in above.statuses)
    return [
        Row("windows admitted below the limit", admitted, "windows", command, f"{WINDOWS}"),
        Row("/configure below the limit, p95", below.quantile_ms(0.95), "ms", command, "under 250"),
        Row(
            "refusals at the limit",
            refused / above.took_s,
            "1/s",
            command,
            "at least 200",
            f"GET /ack, {IN_FLIGHT} in flight",
            len(ack.statuses) / ack.took_s,
        ),
        Row(
            "refusal at the limit, p95",
            above.quantile_ms(0.95),
            "ms",
            command,
            "",
            "GET /ack",
            ack.quantile_ms(0.95),
        ),
    ]


async def _closed_loop(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    in_flight: int,
    count: int = 1 << 30,
    span_s: float = 60.0,
) -> Answers:
    statuses: list[int] = []
    latencies: list[float] = []
    started = time.perf_counter()
    left = count

    async def ask() -> None:
        nonlocal left
        while left > 0 and time.perf_counter() - started < span_s:
            left -= 1
            sent = time.perf_counter()
            async with session.request(method, url, json=REQUEST if method == "POST" else None) as answer:
                await answer.read()
                statuses.append(answer.status)
            latencies.append(time.perf_counter() - sent)

    await asyncio.gather(*(ask() for _ in range(in_flight)))
    return Answers(tuple(statuses), tuple(latencies), time.perf_counter() - started)
