"""The control plane's process: the API server and, in the same event loop, the scheduler and all controllers.

The supervisor forks it (`main`). It installs the sandbox's manifests as soon as the API answers; on a later start that
changes nothing that is there. Whoever impairs it makes what comes over the wire late, not what its own controllers do.
"""

from __future__ import annotations

import asyncio
import logging
import os

import uvloop

from harness.sandbox import impairments
from harness.sandbox.controlplane.addresses import Ranges
from harness.sandbox.controlplane.server import ControlPlane, Plan, serve
from harness.sandbox.manifests import apply
from harness.sandbox.state import API_PORT, Sandbox

log = logging.getLogger(__name__)


class _Slowness:
    """What the hands say of the control plane's slowness."""

    def __init__(self) -> None:
        self.delay_s = 0.0

    def take(self, impairment: impairments.Impairment) -> None:
        self.delay_s = impairment.delay_s


def plan_of(sandbox: Sandbox, slowness: _Slowness) -> Plan:
    """Return how the control plane of a sandbox is to run."""
    settings = sandbox.settings
    ranges = Ranges(
        cluster_ips=str(sandbox.addresses.service_network),
        first_node_port=settings.node_port_min,
        last_node_port=settings.node_port_max,
    )
    return Plan(
        sandbox.root,
        sandbox.addresses.api_host,
        API_PORT,
        ranges=ranges,
        settings=settings,
        delay_s=lambda: slowness.delay_s,
    )


async def _serve(sandbox: Sandbox) -> None:
    slowness = _Slowness()
    following = asyncio.create_task(impairments.follow(sandbox.root, "control-plane", slowness.take))
    installing: list[asyncio.Task[None]] = []

    def ready(plane: ControlPlane) -> None:
        installing.append(asyncio.create_task(apply(plane.local, sandbox.settings)))
        installing[0].add_done_callback(_installed)

    try:
        await serve(plan_of(sandbox, slowness), ready=ready)
    finally:
        following.cancel()


def _installed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("the manifests could not be applied", exc_info=task.exception())


def main(sandbox: Sandbox) -> None:
    """Be the control plane until killed."""
    try:
        uvloop.run(_serve(sandbox))
    finally:
        os._exit(1)
