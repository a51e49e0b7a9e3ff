"""A cluster in one event loop: the real store and verbs, the real controllers, and kubelets played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controllers.run import run
from harness.sandbox.controlplane import world
from harness.sandbox.controlplane.server import ControlPlane, Plan
from harness.sandbox.recorder import now
from harness.sandbox.settings import Settings

GPU = "nvidia.com/gpu.shared"
JOBS, DEPLOYMENTS, SETS = "jobs.batch", "deployments.apps", "statefulsets.apps"
REPLICASETS, SLICES = "replicasets.apps", "endpointslices.discovery.k8s.io"
NS = "default"


class Cluster:
    """What a test does to the cluster and sees of it."""

    def __init__(self, folder: Path) -> None:
        self.plane = ControlPlane(Plan(folder, "127.0.0.1"))
        (folder / "ca.pem").write_text("none")
        world.make(self.plane.verbs, folder / "ca.pem", "127.0.0.1", 6443)
        self.api = self.plane.local

    async def node(self, name: str, shares: int = 2, **spec: Any) -> None:
        """Register a Ready node."""
        labels = {"kubernetes.io/hostname": name}
        await self.api.create("nodes", {"metadata": {"name": name, "labels": labels}, "spec": spec})
        amounts = {"cpu": "8", "memory": "8Gi", "pods": "50", GPU: str(shares)}
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": now(), "lastTransitionTime": now()}
        status = {"capacity": amounts, "allocatable": amounts, "conditions": [ready]}
        await self.api.patch("nodes", name, {"status": status}, subresource="status")

    async def pods(self, **labels: str) -> list[Obj]:
        """Return the pods that are not going, oldest name first."""
        chosen = ",".join(f"{key}={value}" for key, value in labels.items())
        found, _ = await self.api.list("pods", NS, labels=chosen or None)
        alive = [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]
        return sorted(alive, key=lambda pod: pod["metadata"]["name"])

    async def play(self, pod: Obj, phase: str, ip: str = "127.99.0.1") -> None:
        """Be the kubelet: say that the pod runs (and is ready), has succeeded or has failed."""
        running = phase == "Running"
        ready = {"type": "Ready", "status": "True" if running else "False", "lastTransitionTime": now()}
        old = [one for one in pod.get("status", {}).get("conditions", []) if one["type"] != "Ready"]
        status = {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [*old, ready]}
        await self.api.patch("pods", pod["metadata"]["name"], {"status": status}, NS, "status")

    async def gone(self, resource: str, name: str) -> bool:
        """Say whether an object is gone."""
        try:
            await self.api.get(resource, name, NS)
        except ApiStatus as refusal:
            return refusal.code == 404
        return False

    async def until(self, seen: Callable[[], Awaitable[Any]], within_s: float = 20.0) -> Any:
        """Wait until something is so and return it."""
        deadline = asyncio.get_running_loop().time() + within_s
        while not (found := await seen()):
            assert asyncio.get_running_loop().time() < deadline, f"not seen within {within_s} s"
            await asyncio.sleep(0.01)
        return found

    async def some_pods(self, count: int, **labels: str) -> list[Obj]:
        """Wait for exactly so many living pods."""

        async def seen() -> bool:
            return len(await self.pods(**labels)) == count

        await self.until(seen)
        return await self.pods(**labels)

    async def field(self, resource: str, name: str, holds: Callable[[Obj], Any]) -> Obj:
        """Wait until an object fulfils a condition and return it."""

        async def seen() -> Obj | None:
            obj = await self.api.get(resource, name, NS)
            return obj if holds(obj) else None

        result: Obj = await self.until(seen)
        return result

    async def events(self, about: str, reason: str) -> list[str]:
        """Wait for events of a reason about an object; return their messages."""

        async def seen() -> list[str]:
            found, _ = await self.api.list("events", NS, fields=f"involvedObject.name={about}")
            return [event["message"] for event in found if event["reason"] == reason]

        result: list[str] = await self.until(seen)
        return result


def play(folder: Path, scenario: Callable[[Cluster], Awaitable[None]], **settings: Any) -> None:
    """Play a scenario on a fresh cluster with all controllers running."""
    values = {"restart_delay_s": 0.0, **settings}

    async def main() -> None:
        cluster = Cluster(folder)
        controllers = asyncio.create_task(run(cluster.api, Settings(**values)))
        scene = asyncio.ensure_future(scenario(cluster))
        try:
            await asyncio.wait((controllers, scene), return_when=asyncio.FIRST_COMPLETED)
            if controllers.done():
                controllers.result()
            await scene
        finally:
            for task in (controllers, scene):
                task.cancel()
            await asyncio.gather(controllers, scene, return_exceptions=True)

    asyncio.run(main())


def workload(kind: str, name: str = "web", replicas: int = 1, **spec: Any) -> Obj:
    """Return a Deployment or StatefulSet of `pause` pods."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "pause"}]}}
    own = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": own}


def job(name: str = "work", shares: int = 0, **spec: Any) -> Obj:
    """Return a Job of one container, with GPU shares if asked for."""
    container: Obj = {"name": "c", "image": "pause"}
    if shares:
        container["resources"] = {"limits": {GPU: str(shares)}}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template, **spec},
    }
