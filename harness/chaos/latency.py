"""The slow proxy: `python -m harness.chaos.latency --port P --delay-ms D HOST:PORT...`, run in a pod by mongo-slow.

Passes TCP connections on to the first address that takes them; every byte arrives `D` milliseconds later in each direction,
in order. It connects from its pod's own address (`POD_IP`), so that a NetworkPolicy knows it. It knows no protocol.
"""

import argparse
import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

CHUNK = 1 << 16
WINDOW = 64
"""Chunks under way in one direction; a sender that is faster waits."""


async def pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter, delay_s: float) -> None:
    """Carry bytes one way, each `delay_s` after it came, until the source ends."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(WINDOW)

    async def deliver() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                break
            to.write(data)
            await to.drain()
        if to.can_write_eof():
            to.write_eof()

    delivering = asyncio.create_task(deliver())
    try:
        while data := await source.read(CHUNK):
            await under_way.put((loop.time() + delay_s, data))
        await under_way.put((loop.time() + delay_s, b""))
        await delivering
    finally:
        delivering.cancel()


class Proxy:
    """One listening port."""

    def __init__(self, upstreams: Sequence[tuple[str, int]], delay_s: float, own_ip: str | None) -> None:
        self._upstreams = upstreams
        self._delay_s = delay_s
        self._from = (own_ip, 0) if own_ip else None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection; a side that breaks ends the other."""
        try:
            back = await self._connect()
        except OSError:
            writer.close()
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pass_on(reader, back[1], self._delay_s))
                group.create_task(pass_on(back[0], writer, self._delay_s))
        except* OSError:
            pass  # one end is gone; the other learns it below
        finally:
            for side in (writer, back[1]):
                with contextlib.suppress(OSError):
                    side.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        last: OSError = ConnectionRefusedError("no upstream")
        for host, port in self._upstreams:
            try:
                return await asyncio.open_connection(host, port, local_addr=self._from)
            except OSError as error:
                last = error
        raise last


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m harness.chaos.latency")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=os.environ.get("POD_IP"))
    parser.add_argument("--delay-ms", type=float, required=True)
    parser.add_argument("upstreams", nargs="+", metavar="HOST:PORT")
    given = parser.parse_args(arguments)
    upstreams = [(host, int(port)) for host, _, port in (text.rpartition(":") for text in given.upstreams)]

    async def run() -> None:
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        proxy = Proxy(upstreams, given.delay_ms / 1000, os.environ.get("POD_IP"))
        async with await asyncio.start_server(proxy.serve, given.host, given.port):
            await told.wait()

    asyncio.run(run())


if __name__ == "__main__":
    main()
