"""Where a live window's rows come from: the player's messages on the broker, or, without a broker, the clock.

With a broker the player publishes a small message per feed period to exchange `prisma`; every live window has the
queue `focus_baby.<job_id>` bound to it and sends rows only while the newest message is fresh. So stopping the
player or the broker starves live streams, as in the field. Without a broker a live window feeds itself.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from harness.sandbox.pods.analyzer_arguments import Assignment
from harness.sandbox.pods.context import PodContext

BROKER_ENV = "PRISMA_RABBIT_MACHINE_NAME"
EXCHANGE = "prisma"
LIVE_KEY = "live.prp"


class Feed(Protocol):
    """Says whether there is live data now."""

    def fresh(self) -> bool:
        """Return whether rows can be sent now."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class SelfFed:
    """Always fresh: historic windows, and live ones in a sandbox without a broker."""

    def fresh(self) -> bool:
        """Return True."""
        return True

    async def close(self) -> None:
        """Do nothing."""


class BrokerFed:
    """Fresh while messages of the player arrive; reconnects for ever."""

    def __init__(self, pod: PodContext, queue: str, stale_s: float) -> None:
        self._stale_s = stale_s
        self._newest_s = float("-inf")
        self._task = asyncio.create_task(self._follow(pod, queue))

    def fresh(self) -> bool:
        """Return whether the newest message is younger than the limit."""
        return time.monotonic() - self._newest_s <= self._stale_s

    async def close(self) -> None:
        """Stop following."""
        self._task.cancel()

    async def _follow(self, pod: PodContext, queue: str) -> None:
        from harness.sandbox.pods import amqp  # noqa: PLC0415 - pika only where there is a broker

        while True:
            try:
                async for _ in amqp.messages(pod, queue):
                    self._newest_s = time.monotonic()
            except amqp.BrokerError:
                pass
            await asyncio.sleep(1.0)


async def connect(pod: PodContext, assignment: Assignment) -> Feed:
    """Return the feed of a window: the broker's where one exists and the window is live."""
    if assignment.historic or not pod.env.get(BROKER_ENV):
        return SelfFed()
    return BrokerFed(pod, assignment.queue, pod.settings.feed_stale_s)
