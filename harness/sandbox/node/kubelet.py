"""The kubelet: registers its node, keeps its lease, and leads every pod that is bound to it.

The supervisor forks one per node (`main`). Its pods hang on it: when it dies they die. It is frozen, thawed and
killed from outside; while it is frozen its pods run on and its node falls silent. It watches only its own pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import dataclass

import uvloop

from harness.sandbox.api import Api, ApiStatus, Obj, load_rest_api
from harness.sandbox.controlplane import quantity
from harness.sandbox.lifeline import Lifeline
from harness.sandbox.node.addresses import PodAddresses
from harness.sandbox.node.commands import run_quietly
from harness.sandbox.node.containers import Container, write_containers
from harness.sandbox.node.nodeobject import KUBELET_PORT, fresh_status, new_node
from harness.sandbox.node.podworker import PodWorker
from harness.sandbox.node.runtime import Runtime, fork_spawner
from harness.sandbox.node.server import serve
from harness.sandbox.node.usage import report_usage
from harness.sandbox.recorder import NORMAL, Recorder, now_micro
from harness.sandbox.state import Sandbox

log = logging.getLogger(__name__)

LEASES = "leases.coordination.k8s.io"
LEASE_NAMESPACE = "kube-node-lease"
TOKEN_S = 3600
LED_ANEW_S = 1.0


@dataclass
class _Led:
    worker: PodWorker
    task: asyncio.Task[None]


class Kubelet:
    """One node's kubelet."""

    def __init__(self, sandbox: Sandbox, name: str, api: Api, runtime: Runtime, lifeline: Lifeline) -> None:
        self.sandbox = sandbox
        self.name = name
        self.api = api
        self.runtime = runtime
        self.lifeline = lifeline
        self.recorder = Recorder(api, "kubelet", name)
        index = sandbox.node_index(name)
        self.addresses = PodAddresses(sandbox.addresses.pod_network(index), sandbox.settings.pod_ips)
        self._led: dict[str, _Led] = {}
        self._tokens: dict[tuple[str, str], tuple[float, str]] = {}
        self._allocatable: Obj = {}
        self._table_dirty = asyncio.Event()
        runtime.on_change = self._table_dirty.set

    async def run(self) -> None:
        """Be the node's kubelet until killed."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.runtime.run())
            group.create_task(self.recorder.run())
            group.create_task(self._keep_table())
            await serve(self, self.sandbox.node_ip(self.name))
            await self._register()
            group.create_task(self._renew_lease())
            group.create_task(self._report_node())
            group.create_task(self._follow_pods())
            group.create_task(report_usage(self))

    @property
    def workers(self) -> list[PodWorker]:
        """The workers of all pods that are led now."""
        return [led.worker for led in self._led.values()]

    def worker(self, namespace: str, pod: str) -> PodWorker | None:
        """Return the worker of a pod by name."""
        return next((one for one in self.workers if one.key == (namespace, pod)), None)

    # ------------------------------------------------------------------------------------------ the node

    async def _register(self) -> None:
        node = new_node(self.sandbox, self.name)
        while True:
            try:
                with contextlib.suppress(ApiStatus):
                    await self.api.create("nodes", node)
                await self._report_once()
                break
            except ApiStatus as refusal:
                log.info("cannot register yet: %s", refusal)
                await asyncio.sleep(0.2)
        registered = await self.api.get("nodes", self.name)
        self.recorder.record(registered, NORMAL, "Starting", "Starting kubelet.")
        log.info("node %s registered", self.name)

    async def _report_once(self) -> None:
        node = await self.api.get("nodes", self.name)
        status = fresh_status(self.sandbox, self.name, node.get("status") or {})
        changed = await self.api.patch("nodes", self.name, {"status": status}, subresource="status")
        self._allocatable = changed["status"].get("allocatable") or {}

    async def _report_node(self) -> None:
        """Look every heartbeat whether the server knows us as we are; say it again anyway now and then."""
        settings = self.sandbox.settings
        said = time.monotonic()
        while True:
            await asyncio.sleep(settings.node_heartbeat_s)
            try:
                node = await self.api.get("nodes", self.name)
                ready = [c["status"] for c in node["status"].get("conditions") or [] if c["type"] == "Ready"]
                if ready != ["True"] or time.monotonic() - said >= settings.node_status_s:
                    await self._report_once()
                    said = time.monotonic()
                self._allocatable = node["status"].get("allocatable") or self._allocatable
            except ApiStatus as refusal:
                if refusal.code == 404:
                    await self._register()

    async def _renew_lease(self) -> None:
        settings = self.sandbox.settings
        while True:
            spec = {
                "holderIdentity": self.name,
                "leaseDurationSeconds": int(settings.node_lease_duration_s),
                "renewTime": now_micro(),
            }
            try:
                await self.api.patch(LEASES, self.name, {"spec": spec}, LEASE_NAMESPACE)
            except ApiStatus as refusal:
                if refusal.code == 404:
                    await self._create_lease(spec)
            await asyncio.sleep(settings.node_heartbeat_s)

    async def _create_lease(self, spec: Obj) -> None:
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": LEASE_NAMESPACE},
            "spec": spec,
        }
        with contextlib.suppress(ApiStatus):
            node = await self.api.get("nodes", self.name)
            owner = {"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": node["metadata"]["uid"]}
            lease["metadata"]["ownerReferences"] = [owner]  # type: ignore[index]
            await self.api.create(LEASES, lease, LEASE_NAMESPACE)

    # ------------------------------------------------------------------------------------------ pods

    async def _follow_pods(self) -> None:
        async for kind, pod in self.api.watch("pods", fields=f"spec.nodeName={self.name}"):
            if kind == "SYNCED":
                continue
            pod |= {"apiVersion": "v1", "kind": "Pod"}  # items of a list do not say what they are
            uid = pod["metadata"]["uid"]
            led = self._led.get(uid)
            if kind == "DELETED":
                if led is not None:
                    self._drop(led)
            elif led is not None:
                led.worker.update(pod)
            else:
                worker = PodWorker(self, pod)
                self._led[uid] = _Led(worker, asyncio.create_task(self._lead(worker)))

    async def _lead(self, worker: PodWorker) -> None:
        """Lead a pod to its end; after an error of ours from the beginning, as after a restart of the kubelet."""
        while True:
            try:
                await worker.run()
            except Exception:
                log.exception("pod %s is led anew", worker.key)
                worker.kill()
                await asyncio.sleep(LED_ANEW_S)
                worker = PodWorker(self, worker.pod)
                self._led[worker.uid].worker = worker
            else:
                return

    def _drop(self, led: _Led) -> None:
        led.task.cancel()
        led.worker.vanish()
        self._led.pop(led.worker.uid, None)

    def forget(self, worker: PodWorker) -> None:
        """Drop a worker that has ended; its task ends by itself."""
        self._led.pop(worker.uid, None)

    def refusal(self, pod: Obj) -> tuple[str, str] | None:
        """Say which extended resource the node lacks for the pod."""
        used: dict[str, int] = {}
        for worker in self.workers:
            if worker.uid != pod["metadata"]["uid"] and worker.phase not in ("Succeeded", "Failed"):
                for resource, amount in extended_requests(worker.pod).items():
                    used[resource] = used.get(resource, 0) + amount
        for resource, amount in extended_requests(pod).items():
            capacity = int(quantity.parse(self._allocatable.get(resource, "0")))
            if used.get(resource, 0) + amount > capacity:
                text = f"Node didn't have enough resource: {resource}, requested: {amount}, used: {used.get(resource, 0)}"
                return f"OutOf{resource}", f"{text}, capacity: {capacity}"
        return None

    async def token(self, pod: Obj) -> str:
        """Return a token of the pod's service account; "" if it mounts none."""
        if pod["spec"].get("automountServiceAccountToken") is False:
            return ""
        account = pod["metadata"]["namespace"], pod["spec"].get("serviceAccountName") or "default"
        until, token = self._tokens.get(account, (0.0, ""))
        if time.monotonic() > until:
            request = {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"audiences": [], "expirationSeconds": 365 * 24 * TOKEN_S},
            }
            answer = await self.api.create(
                "serviceaccounts", request, account[0], subresource="token", name=account[1]
            )
            token = answer["status"]["token"]
            self._tokens[account] = time.monotonic() + TOKEN_S / 2, token
        return token

    async def run_command(self, worker: PodWorker, container: str, argv: list[str], timeout_s: float) -> str:
        """Run a probe's command."""
        return await run_quietly(self, worker, container, argv, timeout_s)

    async def _keep_table(self) -> None:
        """Write the container table on every change, at once: somebody may act on it as soon as a pod is ready."""
        while True:
            await self._table_dirty.wait()
            self._table_dirty.clear()
            rows = []
            for worker in self.workers:
                for name, process in worker.processes.items():
                    context = worker.contexts.get(name)
                    if process.started is not None and context is not None:
                        role = context.image.rsplit("/", 1)[-1].partition(":")[0]
                        rows.append(
                            Container(
                                process.pid, process.started, context.name, context.namespace, name, role
                            )
                        )
            write_containers(self.sandbox, self.name, rows)


def extended_requests(pod: Obj) -> dict[str, int]:
    """Return what a pod asks for of resources other than cpu, memory and storage."""
    found: dict[str, int] = {}
    for container in pod["spec"].get("containers") or []:
        resources = container.get("resources") or {}
        for resource, amount in {
            **(resources.get("limits") or {}),
            **(resources.get("requests") or {}),
        }.items():
            if "/" in resource:
                found[resource] = found.get(resource, 0) + int(quantity.parse(amount))
    return found


def main(sandbox: Sandbox, node: str) -> None:
    """Fork the spawner, then be the kubelet of `node` until killed."""
    line, lifeline = fork_spawner(sandbox.settings, f"spawner/{node}")

    async def run() -> None:
        async with load_rest_api(sandbox.root) as api:
            await Kubelet(sandbox, node, api, Runtime(line), lifeline).run()

    try:
        uvloop.run(run())
    finally:
        os._exit(1)  # the spawner and the pods go with the lifeline


__all__ = ["KUBELET_PORT", "Kubelet", "main"]
