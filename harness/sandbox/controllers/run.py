"""All controllers and the scheduler of a control plane, running on one `Api`.

The control plane's process calls `run`; tests call it with whatever `Api` they have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from harness.sandbox.api import Api
from harness.sandbox.controllers.controller import Controller
from harness.sandbox.controllers.deployments import DeploymentController
from harness.sandbox.controllers.disruption import DisruptionController
from harness.sandbox.controllers.endpoints import EndpointsController
from harness.sandbox.controllers.garbage import GarbageCollector
from harness.sandbox.controllers.informer import World
from harness.sandbox.controllers.jobs import JobController, TtlController
from harness.sandbox.controllers.namespaces import NamespaceController
from harness.sandbox.controllers.nodelife import NodeLifecycle
from harness.sandbox.controllers.replicasets import ReplicaSetController
from harness.sandbox.controllers.scheduler import NAME, Scheduler
from harness.sandbox.controllers.statefulsets import StatefulSetController
from harness.sandbox.recorder import Recorder
from harness.sandbox.settings import Settings


async def run(api: Api, settings: Settings) -> None:
    """Run everything for ever; an error in one controller's own frame ends all."""
    world = World(api)
    running: list[Coroutine[Any, Any, None]] = []

    def recorder(component: str) -> Recorder:
        made = Recorder(api, component)
        running.append(made.run())
        return made

    delay_s = settings.restart_delay_s
    controllers: list[Controller] = [
        NamespaceController(world, recorder("namespace-controller")),
        JobController(world, recorder("job-controller")),
        TtlController(world, recorder("ttl-after-finished-controller")),
        ReplicaSetController(world, recorder("replicaset-controller"), delay_s),
        DeploymentController(world, recorder("deployment-controller")),
        StatefulSetController(world, recorder("statefulset-controller"), delay_s),
        EndpointsController(world, recorder("endpoint-controller")),
        DisruptionController(world, recorder("controllermanager")),
        GarbageCollector(world, recorder("garbage-collector-controller")),
    ]
    running += [controller.run() for controller in controllers]
    running.append(NodeLifecycle(world, recorder("node-controller"), settings).run())
    running.append(Scheduler(world, recorder(NAME)).run())
    async with asyncio.TaskGroup() as group:
        for one in (*running, world.run()):
            group.create_task(one)
