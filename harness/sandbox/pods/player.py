"""The program of image `player`: the fibre's metadata for who asks, and the live feed to the broker's exchange.

Started by the kubelet for deployment `panda-panda-player`. A Focus Server that starts while there is no player waits for the
fibre. With a broker every live window sends rows only while the player's messages arrive, one small message per period,
so scaling it to 0 starves live streams; without a broker windows feed themselves. It reconnects for ever.
"""

from __future__ import annotations

import asyncio
import signal
import time

from harness.sandbox.pods import feed, fibre
from harness.sandbox.pods.context import PodContext


async def serve(pod: PodContext) -> int:
    """Tell and publish until told to end; return the exit code."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await fibre.tell(pod.ip, pod.settings)
    playing = asyncio.create_task(_play(pod)) if pod.env.get(feed.BROKER_ENV) else None
    await told.wait()
    if playing is not None:
        playing.cancel()
    return 0


async def _play(pod: PodContext) -> None:
    from harness.sandbox.pods import amqp  # noqa: PLC0415 - pika only where there is a broker

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
    return asyncio.run(serve(pod))
