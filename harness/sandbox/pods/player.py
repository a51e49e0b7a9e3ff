"""The program of image `player`: the live feed, a small message per period to the broker's exchange.

Started by the kubelet for deployment `panda-panda-player`. With a broker every live window sends rows only while
these messages arrive, so scaling the player to 0 starves live streams. Without a broker it holds its place and
does nothing: windows then feed themselves. It reconnects for ever.
"""

from __future__ import annotations

import asyncio
import signal
import time

from harness.sandbox.pods import amqp, feed, idle
from harness.sandbox.pods.context import PodContext


async def serve(pod: PodContext) -> int:
    """Publish until told to end; return the exit code."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    playing = asyncio.create_task(_play(pod))
    await told.wait()
    playing.cancel()
    return 0


async def _play(pod: PodContext) -> None:
    while True:
        try:
            link = await amqp.connect(pod, timeout_s=5.0)
            await link.declare_exchange(feed.EXCHANGE)
            while True:
                link.publish(feed.EXCHANGE, feed.LIVE_KEY, str(time.time_ns()).encode())
                await asyncio.sleep(pod.settings.feed_period_s)
        except amqp.BrokerError:
            await asyncio.sleep(1.0)


def main(pod: PodContext) -> int:
    """Run the player of one pod; return its exit code."""
    if not pod.env.get(feed.BROKER_ENV):
        return idle.main(pod)
    return asyncio.run(serve(pod))
