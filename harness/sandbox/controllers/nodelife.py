"""The node lifecycle controller: believes a silent node to be gone, and acts on it.

A node that renews neither its lease nor its status for the grace period becomes Unknown; its pods are no longer
ready and, after what they tolerate, deleted. Silence is measured here, by when a change was last seen, never by
comparing clocks; time in which this process itself stood still does not count. Cordons become taints here too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controllers.controller import ignoring_absence
from harness.sandbox.controllers.informer import World, key_of
from harness.sandbox.controllers.podfacts import (
    condition,
    is_going,
    is_over,
    is_true,
    tolerates,
    with_condition,
)
from harness.sandbox.recorder import NORMAL, WARNING, Recorder, now
from harness.sandbox.settings import Settings

log = logging.getLogger(__name__)

LEASES = "leases.coordination.k8s.io"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
_OWN_TAINTS = {
    (UNSCHEDULABLE, "NoSchedule"),
    *((key, e) for key in (NOT_READY, UNREACHABLE) for e in ("NoSchedule", "NoExecute")),
}
SILENT_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
DEFAULT_TOLERATION_S = 300


@dataclass
class _Heard:
    """What a node last said, and when we heard it (monotonic seconds)."""

    said: object
    at_s: float


class NodeLifecycle:
    """Watches over all nodes."""

    name = "node-controller"

    def __init__(self, world: World, recorder: Recorder, settings: Settings) -> None:
        self._api = world.api
        self._world = world
        self._recorder = recorder
        self._settings = settings
        self._nodes = world.informer("nodes")
        self._pods = world.informer("pods")
        self._leases = world.informer(LEASES)
        self._heard: dict[str, _Heard] = {}
        self._changed = asyncio.Event()
        self._nodes.on_event(self._node_changed)
        self._pods.on_event(self._pod_changed)

    def _node_changed(self, _kind: str, node: Obj, before: Obj | None) -> None:
        if before is None or _shape(node) != _shape(before):
            self._changed.set()

    def _pod_changed(self, _kind: str, pod: Obj, before: Obj | None) -> None:
        if pod["spec"].get("nodeName") and (before is None or not before["spec"].get("nodeName")):
            self._changed.set()

    async def run(self) -> None:
        """Look at every node each period, and at once when one has changed."""
        await self._world.synced()
        period_s, looked_s = self._settings.node_monitor_s, time.monotonic()
        while True:
            try:
                async with asyncio.timeout(period_s):  # wait_for can swallow a cancellation in Python 3.11
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            stood_still_s = time.monotonic() - looked_s - period_s
            if stood_still_s > period_s:
                for heard in self._heard.values():
                    heard.at_s += stood_still_s
            looked_s = time.monotonic()
            for node in list(self._nodes.items.values()):
                try:
                    await self._look_at(node)
                except ApiStatus as refusal:
                    log.info("node %s: %s", node["metadata"]["name"], refusal)
            await self._evict()

    async def _look_at(self, node: Obj) -> None:
        name = node["metadata"]["name"]
        lease = self._leases.get("kube-node-lease", name)
        said = (
            ((lease or {}).get("spec") or {}).get("renewTime"),
            (condition(node, "Ready") or {}).get("lastHeartbeatTime"),
        )
        heard = self._heard.get(name)
        if heard is None or heard.said != said:
            heard = self._heard[name] = _Heard(said, time.monotonic())
        silent = time.monotonic() - heard.at_s > self._settings.node_grace_s
        ready = (condition(node, "Ready") or {}).get("status")
        if silent and ready != "Unknown":
            node = await self._mark_silent(node)
            ready = "Unknown"
        await self._keep_taints(node, ready)
        if ready != "True":
            await self._mark_pods(name)

    async def _mark_silent(self, node: Obj) -> Obj:
        stamp, name = now(), node["metadata"]["name"]
        conditions = (node.get("status") or {}).get("conditions") or []
        for type_ in SILENT_CONDITIONS:
            old = condition(node, type_) or {}
            unknown = {
                **old,
                "type": type_,
                "status": "Unknown",
                "reason": "NodeStatusUnknown" if old else "NodeStatusNeverUpdated",
                "message": "Kubelet stopped posting node status."
                if old
                else "Kubelet never posted node status.",
            }
            conditions = with_condition(conditions, unknown, stamp)
        changed = await self._api.patch(
            "nodes", name, {"status": {"conditions": conditions}}, subresource="status"
        )
        await self._nodes.until_seen(changed)
        self._recorder.record(node, NORMAL, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        log.info("node %s fell silent", name)
        return changed

    async def _keep_taints(self, node: Obj, ready: str | None) -> None:
        """Make our taints on the node what its state says; others' stay."""
        present = node["spec"].get("taints") or []
        wanted = []
        if node["spec"].get("unschedulable"):
            wanted.append((UNSCHEDULABLE, "NoSchedule"))
        if ready != "True":
            key = UNREACHABLE if ready == "Unknown" else NOT_READY
            wanted += [(key, "NoSchedule"), (key, "NoExecute")]
        have = [(taint["key"], taint["effect"]) for taint in present]
        if set(wanted) == set(have) & _OWN_TAINTS:
            return
        taints = [
            one
            for one in present
            if (one["key"], one["effect"]) not in _OWN_TAINTS or (one["key"], one["effect"]) in wanted
        ]
        for key, effect in wanted:
            if (key, effect) not in have:
                taints.append({"key": key, "effect": effect, "timeAdded": now()})
        meta = node["metadata"]
        body = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "spec": {"taints": taints or None}}
        changed = await self._api.patch("nodes", meta["name"], body)
        await self._nodes.until_seen(changed)

    async def _mark_pods(self, node: str) -> None:
        """Pods of a node that is not ready are not ready either."""
        for pod in self._pods_on(node):
            if not is_true(pod, "Ready"):
                continue
            conditions = (pod.get("status") or {}).get("conditions") or []
            unready = {
                **(condition(pod, "Ready") or {}),
                "status": "False",
                "reason": "NodeNotReady",
                "message": "Node is not ready",
            }
            namespace, name = key_of(pod)
            patch = {
                "metadata": {"uid": pod["metadata"]["uid"]},
                "status": {"conditions": with_condition(conditions, unready, now())},
            }
            await ignoring_absence(self._api.patch("pods", name, patch, namespace, subresource="status"))
            self._recorder.record(pod, WARNING, "NodeNotReady", "Node is not ready")

    def _pods_on(self, node: str) -> list[Obj]:
        return [
            pod
            for pod in self._pods.items.values()
            if pod["spec"].get("nodeName") == node and not is_over(pod)
        ]

    async def _evict(self) -> None:
        """Delete pods that have stood an execution taint for as long as they tolerate it, and those of no node."""
        for pod in list(self._pods.items.values()):
            node_name = pod["spec"].get("nodeName")
            if not node_name or is_over(pod):
                continue
            node = self._nodes.get("", node_name)
            namespace, name = key_of(pod)
            if node is None:
                await ignoring_absence(
                    self._api.delete("pods", name, namespace, grace_s=0, uid=pod["metadata"]["uid"])
                )
            elif not is_going(pod) and self._must_go(pod, node):
                text = f"Marking for deletion Pod {namespace}/{name}"
                self._recorder.record(pod, NORMAL, "TaintManagerEviction", text)
                await self._disrupt(pod)
                await ignoring_absence(self._api.delete("pods", name, namespace, uid=pod["metadata"]["uid"]))

    async def _disrupt(self, pod: Obj) -> None:
        namespace, name = key_of(pod)
        why = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
        }
        conditions = with_condition((pod.get("status") or {}).get("conditions") or [], why, now())
        patch = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"conditions": conditions}}
        await ignoring_absence(self._api.patch("pods", name, patch, namespace, subresource="status"))

    def _must_go(self, pod: Obj, node: Obj) -> bool:
        for taint in node["spec"].get("taints") or []:
            if taint["effect"] == "NoExecute":
                stays_s = self.tolerated_s(pod, taint)
                first_seen_s = self._first_seen(node, taint)
                if stays_s is not None and time.monotonic() - first_seen_s >= stays_s:
                    return True
        return False

    def tolerated_s(self, pod: Obj, taint: Obj) -> float | None:
        """Return how long the pod tolerates the taint; None for ever. The default toleration is a setting."""
        matching = [one for one in pod["spec"].get("tolerations") or [] if tolerates([one], taint)]
        if not matching:
            return 0.0
        limits = [one["tolerationSeconds"] for one in matching if one.get("tolerationSeconds") is not None]
        if not limits:
            return None
        least = min(limits)
        usual = least == DEFAULT_TOLERATION_S and taint["key"] in (NOT_READY, UNREACHABLE)
        return self._settings.pod_eviction_s if usual else float(least)

    def _first_seen(self, node: Obj, taint: Obj) -> float:
        """Return when this taint was first seen, on the monotonic clock."""
        key = f"{node['metadata']['uid']}/{taint['key']}/{taint.get('timeAdded')}"
        seen = self._heard.get(key)
        if seen is None:
            seen = self._heard[key] = _Heard(None, time.monotonic())
        return seen.at_s


def _shape(node: Obj) -> object:
    """What of a node makes it worth an immediate look."""
    return (
        node["spec"].get("unschedulable"),
        node["spec"].get("taints"),
        (condition(node, "Ready") or {}).get("status"),
    )
