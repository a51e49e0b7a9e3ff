"""What Focus Server believes about the cluster: a watch cache of nodes, pods, jobs and services.

Kept by four watches; answers, without any call, how many GPU shares are free and which slots are held. A slot is
held while its service exists, while its job is unfinished, or while a create for it is under way; a share is taken
by every bound, unfinished pod that asks for it, and promised to every own window whose pod is not bound yet.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from harness.sandbox.api import Api
from harness.sandbox.settings import Settings
from harness.sandbox.truth import TruthLog

Obj = dict[str, Any]
PROMISE_S = 15.0


@dataclass(frozen=True)
class Shares:
    """Free GPU shares: on all registered workers, and on those that new pods can be put on now."""

    registered: int
    available: int


@dataclass(frozen=True)
class _Node:
    shares: int
    available: bool


def slot_of(name: str) -> int | None:
    """Return the slot in `grpc-job-<slot>-<counter>` and its relatives; None for any other name."""
    parts = name.rsplit("-", 2)
    return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit() else None


def job_id_of(name: str) -> str:
    """Return `<slot>-<counter>` of such a name."""
    return "-".join(name.rsplit("-", 2)[1:])


class World:
    """The cache; run `follow` as a task."""

    def __init__(self, api: Api, settings: Settings, truth: TruthLog) -> None:
        self._api = api
        self._settings = settings
        self._truth = truth
        self._nodes: dict[str, _Node] = {}
        self._bound: dict[str, tuple[str, int]] = {}
        self._bound_windows: dict[str, str] = {}
        self._jobs: dict[str, bool] = {}
        self._services: set[str] = set()
        self._promised: dict[str, float] = {}
        self._told_slots: dict[int, str] = {}
        self._synced: set[str] = set()
        self._shares: Shares | None = None
        self._held: dict[int, str] | None = None
        self.worker_address = ""

    @property
    def synced(self) -> bool:
        """Return whether every watch has had its first list."""
        return len(self._synced) == 4

    async def wait_synced(self, limit_s: float) -> None:
        """Wait for the first lists, no longer than `limit_s`: only a server that has just started waits."""
        until_s = asyncio.get_running_loop().time() + limit_s
        while not self.synced and asyncio.get_running_loop().time() < until_s:
            await asyncio.sleep(0.02)

    async def follow(self) -> None:
        """Watch for ever, from `sync_delay_s` on."""
        await asyncio.sleep(self._settings.sync_delay_s)
        namespace = self._settings.namespace
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch("nodes", None))
            group.create_task(self._watch("pods", None))
            group.create_task(self._watch("jobs.batch", namespace))
            group.create_task(self._watch("services", namespace))

    def shares(self) -> Shares:
        """Return the free shares."""
        if self._shares is None:
            self._shares = self._count_shares()
            self._truth.write_change(
                "shares", registered_free=self._shares.registered, available_free=self._shares.available
            )
        return self._shares

    def held(self) -> dict[int, str]:
        """Return held slots with the job id that holds each."""
        if self._promised:
            now_s = asyncio.get_running_loop().time()
            late = [job_id for job_id, until_s in self._promised.items() if until_s < now_s]
            for job_id in late:
                self.settle(job_id)
        if self._held is None:
            self._held = self._held_now()
            self._tell_released(self._held)
        return self._held

    def free_slot(self) -> int:
        """Return the lowest slot nobody holds."""
        held, slot = self.held(), 1
        while slot in held:
            slot += 1
        return slot

    def promise(self, job_id: str) -> None:
        """Hold slot and share for a window that is being made; ends by itself if nothing comes of it."""
        self._promised[job_id] = asyncio.get_running_loop().time() + PROMISE_S
        self._dirty()

    def settle(self, job_id: str) -> None:
        """Forget a promise: the window is seen, or was given up."""
        if self._promised.pop(job_id, None) is not None:
            self._dirty()

    async def _watch(self, resource: str, namespace: str | None) -> None:
        take = {
            "nodes": self._take_node,
            "pods": self._take_pod,
            "jobs.batch": self._take_job,
            "services": self._take_service,
        }[resource]
        async for kind, obj in self._api.watch(resource, namespace):
            if kind == "SYNCED":
                self._synced.add(resource)
            else:
                take(obj, kind == "DELETED")
            if self.synced:
                self.shares()
                self.held()

    def _take_node(self, node: Obj, gone: bool) -> None:
        name = node["metadata"]["name"]
        spec, status = node.get("spec", {}), node.get("status", {})
        if name == self._settings.worker_nodes[0] and not gone:
            for address in status.get("addresses", []):
                if address["type"] == "InternalIP":
                    self.worker_address = address["address"]
        shares = int(status.get("allocatable", {}).get(self._settings.gpu_resource, 0))
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
        cordoned = bool(spec.get("unschedulable"))
        taints = [t["key"] for t in spec.get("taints", []) if t.get("effect") != "PreferNoSchedule"]
        self._truth.write_change(
            "node", name, gone=gone, ready=ready, cordoned=cordoned, taints=taints, shares=shares
        )
        self._nodes.pop(name, None)
        if not gone:
            self._nodes[name] = _Node(shares, ready and not cordoned and not taints)
        self._shares = None

    def _take_pod(self, pod: Obj, gone: bool) -> None:
        meta, spec = pod["metadata"], pod["spec"]
        node = spec.get("nodeName")
        over = gone or pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        app = meta.get("labels", {}).get("app", "")
        changed = self._bound.pop(meta["uid"], None) is not None
        if app.startswith("grpc-job-"):
            if node and not over:
                self._bound_windows[app] = meta["uid"]
            elif self._bound_windows.get(app) == meta["uid"]:
                del self._bound_windows[app]
        wanted = _wanted(spec, self._settings.gpu_resource)
        if node and not over and wanted:
            self._bound[meta["uid"]] = (node, wanted)
            changed = True
        if changed:
            self._shares = None

    def _take_job(self, job: Obj, gone: bool) -> None:
        name = job["metadata"]["name"]
        if not name.startswith("grpc-job-") or slot_of(name) is None:
            return
        conditions = job.get("status", {}).get("conditions") or []
        finished = any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)
        if gone:
            self._jobs.pop(name, None)
        else:
            self._jobs[name] = finished
        self._dirty()

    def _take_service(self, service: Obj, gone: bool) -> None:
        name = service["metadata"]["name"]
        if not name.startswith("grpc-service-") or slot_of(name) is None:
            return
        if gone:
            self._services.discard(name)
        else:
            self._services.add(name)
            self.settle(job_id_of(name))
        self._dirty()

    def _dirty(self) -> None:
        self._shares = self._held = None

    def _count_shares(self) -> Shares:
        used: dict[str, int] = {}
        for node, wanted in self._bound.values():
            used[node] = used.get(node, 0) + wanted
        free = {name: max(0, node.shares - used.get(name, 0)) for name, node in self._nodes.items()}
        unfinished = {name for name, finished in self._jobs.items() if not finished}
        unbound = unfinished | {f"grpc-job-{job_id}" for job_id in self._promised}
        promised = len(unbound - self._bound_windows.keys())
        return Shares(
            registered=sum(free.values()) - promised,
            available=sum(free[name] for name, node in self._nodes.items() if node.available) - promised,
        )

    def _held_now(self) -> dict[int, str]:
        names = [*self._services, *(name for name, finished in self._jobs.items() if not finished)]
        job_ids = [*(job_id_of(name) for name in names), *self._promised]
        return {int(job_id.partition("-")[0]): job_id for job_id in job_ids}

    def _tell_released(self, held: dict[int, str]) -> None:
        for slot, job_id in self._told_slots.items():
            if held.get(slot) != job_id:
                self._truth.write("slot_released", slot=slot, job_id=job_id)
        self._told_slots = dict(held)


def _wanted(spec: Obj, resource: str) -> int:
    total = 0
    for container in spec.get("containers", []):
        resources = container.get("resources", {})
        asked = resources.get("requests", {}).get(resource) or resources.get("limits", {}).get(resource, 0)
        total += int(asked)
    return total
