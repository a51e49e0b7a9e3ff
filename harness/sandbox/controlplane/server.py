"""The control plane as one asyncio program: store, HTTPS front, housekeeping, and controllers where there are some.

`serve` is what the supervisor's process and `python -m harness.sandbox.controlplane` run. It writes into the state
directory: ca.pem, admin.json (url, token), kubeconfig, keys and secrets, and the store's journal. It refuses to listen on anything
but the address it is given.
"""

import asyncio
import importlib
import importlib.util
import json
import logging
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
import yaml
from aiohttp import web

from harness.sandbox.controlplane import kubelet_seam, pages, world
from harness.sandbox.controlplane.addresses import Ranges
from harness.sandbox.controlplane.bodies import BODY_LIMIT
from harness.sandbox.controlplane.cells import seconds_of
from harness.sandbox.controlplane.deletion import Options
from harness.sandbox.controlplane.front import Front, delayed, measured
from harness.sandbox.controlplane.identity import Tokens
from harness.sandbox.controlplane.journal import Journal
from harness.sandbox.controlplane.local import LocalApi
from harness.sandbox.controlplane.quota import Keeper
from harness.sandbox.controlplane.resources import BY_KEY
from harness.sandbox.controlplane.rights import Rights
from harness.sandbox.controlplane.store import WINDOW, Store
from harness.sandbox.controlplane.subresources import Subresources
from harness.sandbox.controlplane.verbs import Ask, Verbs

LOG = logging.getLogger(__name__)
EVENTS_KEPT_S = 3600.0
CONTROLLERS = "harness.sandbox.controllers.run"  # by name: they import this package, not it them


@dataclass(frozen=True)
class Plan:
    """How a control plane is to run."""

    state: Path
    host: str
    port: int = 6443
    ranges: Ranges = field(default_factory=Ranges)
    window: int = WINDOW
    world: str = ""
    controllers: bool = True
    settings: Any = None
    delay_s: Callable[[], float] = lambda: 0.0
    """How much longer than it takes anyway every request shall take now."""


class ControlPlane:
    """The parts of one control plane; `local` is the Api for what runs in this process."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        plan.state.mkdir(parents=True, exist_ok=True)
        self.store = Store(first_version=1, window=plan.window)
        self.verbs = Verbs(self.store, plan.ranges)
        self.tokens = Tokens.load(plan.state)
        self.subresources = Subresources(self.verbs, self.tokens)
        self.local = LocalApi(self.verbs, self.subresources)
        self.keeper = Keeper(self.store)
        secret = kubelet_seam.load_secret(plan.state)
        self.journal = Journal(plan.state / "store.jsonl", self.store)
        version = getattr(plan.settings, "kubernetes_version", pages.VERSION)
        self.front = Front(self.verbs, self.subresources, Rights(self.store), secret, version)

    async def keep_house(self) -> None:
        """Recount quotas, drop events that are an hour old and metrics of what is gone, for ever."""
        passes = 0
        while True:
            self.keeper.run_once()
            if passes % 50 == 0:
                self._drop_old_events()
                self._drop_metrics()
                if self.plan.world == "conformance":
                    world.renew_lease(self.verbs)
            passes += 1
            await asyncio.sleep(0.2)

    def _drop_old_events(self) -> None:
        limit = time.time() - EVENTS_KEPT_S
        for record in list(self.store.each("events")):
            meta = record.obj["metadata"]
            # eventTime is what its author says: one that was just written is kept, whenever it happened.
            stamps = (meta["creationTimestamp"], record.obj.get("lastTimestamp"))
            if max(seconds_of(stamp) for stamp in stamps if stamp) < limit:
                self.verbs.delete(BY_KEY["events"], meta["namespace"], meta["name"], Options(), Ask())

    def _drop_metrics(self) -> None:
        for plural in ("pods", "nodes"):
            key = f"{plural}.metrics.k8s.io"
            for at in list(self.store.shelf(key).records):
                if self.store.get(plural, at) is None:
                    self.verbs.delete(BY_KEY[key], at[0], at[1], Options(), Ask())


def write_credentials(plan: Plan, tokens: Tokens) -> ssl.SSLContext:
    """Make CA and certificate once, write ca.pem, admin.json and kubeconfig; give the TLS context to serve with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving = plan.state / "serving.pem"
    if not serving.exists() or not (plan.state / "ca.pem").exists():
        ca = trustme.CA()
        names = dict.fromkeys([plan.host, "127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc"])
        issued = ca.issue_cert(*names)
        _write(serving, (issued.private_key_and_cert_chain_pem.bytes()).decode())
        ca.cert_pem.write_to_path(str(plan.state / "ca.pem"))
    context.load_cert_chain(serving)
    url = f"https://{plan.host}:{plan.port}"
    _write(plan.state / "admin.json", json.dumps({"url": url, "token": tokens.admin_token}))
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "sandbox",
                "cluster": {"server": url, "certificate-authority": str(plan.state.absolute() / "ca.pem")},
            }
        ],
        "users": [{"name": "admin", "user": {"token": tokens.admin_token}}],
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "admin"}}],
        "current-context": "sandbox",
    }
    _write(plan.state / "kubeconfig", yaml.safe_dump(config))
    return context


def _write(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


async def serve(
    plan: Plan, stop: asyncio.Event | None = None, ready: Callable[[ControlPlane], None] | None = None
) -> None:
    """Run a control plane until `stop` is set; call `ready` once it answers."""
    plane = ControlPlane(plan)
    tls = write_credentials(plan, plane.tokens)
    known = plane.journal.load()
    plane.journal.follow()
    if known:
        LOG.info("back with %d objects at version %d", known, plane.store.version)
    world.make(plane.verbs, plan.state / "ca.pem", plan.host, plan.port)
    if plan.world == "conformance":
        world.conformance_node(plane.verbs)
    app = web.Application(client_max_size=BODY_LIMIT, middlewares=[delayed(plan.delay_s), measured])
    app.router.add_route("*", "/{path:.*}", plane.front.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, plan.host, plan.port, ssl_context=tls, backlog=1024).start()
    tasks = [asyncio.create_task(plane.keep_house(), name="housekeeping")]
    if plan.controllers and importlib.util.find_spec(CONTROLLERS) is not None:
        settings = plan.settings or importlib.import_module("harness.sandbox.settings").Settings(
            restart_delay_s=0.0
        )
        run = importlib.import_module(CONTROLLERS).run
        tasks.append(asyncio.create_task(run(plane.local, settings), name="controllers"))
    for task in tasks:
        task.add_done_callback(_ended)
    if ready is not None:
        ready(plane)
    try:
        await (stop or asyncio.Event()).wait()
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        await runner.cleanup()
        plane.journal.close()


def _ended(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        LOG.error("%s ended", task.get_name(), exc_info=task.exception())
