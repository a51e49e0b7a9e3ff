"""The program of image `focus-server`: starts the application and everything it leans on in one event loop.

Called by the spawner. Serves on `<pod ip>:5000`; ends with 143 on SIGTERM and with 1 when MongoDB is missing at
the start and the mode wants it (the crash loop seen in the field). Its log has the lines that the real server was
seen to write, and texts of client exceptions.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
import uvloop
from fastapi import FastAPI

from harness.sandbox.pods import feed
from harness.sandbox.pods.context import PodContext
from harness.sandbox.pods.focus_server.app import make_app
from harness.sandbox.pods.focus_server.dependencies import Dependencies
from harness.sandbox.pods.focus_server.fibre import Fibre
from harness.sandbox.pods.focus_server.store import Store, StoreError
from harness.sandbox.pods.focus_server.windows import Windows
from harness.sandbox.pods.focus_server.world import World
from harness.sandbox.pods.resolve import api_of
from harness.sandbox.truth import TruthLog, process_name

log = logging.getLogger("pz.focus_server")


async def serve(pod: PodContext) -> int:
    """Run the server until it is told to end; return the exit code."""
    settings = pod.settings
    truth = TruthLog(pod.truth_dir, process_name("focus-server", pod.name))
    async with api_of(pod) as api:
        store = Store(api, settings)
        if settings.mongodb_at_start and not await _mongodb_there(store, settings.mongodb_start_timeout_s):
            return 1
        world = World(api, settings, truth)
        has_broker = bool(pod.env.get(feed.BROKER_ENV))
        dependencies = Dependencies(pod, api, store, truth, broker=has_broker)
        fibre = Fibre(api, settings, truth)
        windows = Windows(settings, api, world, dependencies, store, fibre, truth)

        @asynccontextmanager
        async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
            following = (world.follow(), dependencies.watch(), fibre.follow())
            tasks = [asyncio.create_task(one) for one in following]
            truth.write("focus_server_started", pod=pod.name)
            yield
            truth.write("focus_server_stopping", pod=pod.name)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await store.close()

        # Asked once before anybody can ask us: a restart does not make a server wait for a fibre that is there.
        await asyncio.gather(asyncio.sleep(settings.focus_ready_delay_s), fibre.look())
        config = uvicorn.Config(
            make_app(settings, windows, store, fibre, lifespan),
            host=pod.ip,
            port=settings.focus_port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
            timeout_keep_alive=75,
        )
        await uvicorn.Server(config).serve()
    return 143


async def _mongodb_there(store: Store, timeout_s: float) -> bool:
    until_s = time.monotonic() + timeout_s
    while True:
        try:
            await store.ping()
        except StoreError as error:
            if time.monotonic() >= until_s:
                log.warning("%s", error)
                return False
            await asyncio.sleep(0.5)
        else:
            return True


def main(pod: PodContext) -> int:
    """Run Focus Server in its pod."""
    logging.basicConfig(
        stream=sys.stdout, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    log.setLevel(logging.INFO)
    code: int = uvloop.run(serve(pod))
    return code
