"""The scheduler: gives every pending pod a node, or says in the pod's condition and an event why it cannot.

Pods are tried in the order of their creation. A pod that fits nowhere is tried again when nodes or pods change.
It looks only at pods of `default-scheduler` and never moves or evicts one.
"""

from __future__ import annotations

import asyncio
import logging
import time

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controllers.fit import Misfit, NodeUse, misfit, score, why_nowhere
from harness.sandbox.controllers.informer import Key, World, key_of
from harness.sandbox.controllers.podfacts import condition, is_going, is_over, with_condition
from harness.sandbox.recorder import NORMAL, WARNING, Recorder, now

log = logging.getLogger(__name__)

NAME = "default-scheduler"
SAY_AGAIN_S = 60.0
SETTLE_S = 0.02


class Scheduler:
    """Binds pods to nodes."""

    def __init__(self, world: World, recorder: Recorder) -> None:
        self._api = world.api
        self._world = world
        self._recorder = recorder
        self._pods = world.informer("pods")
        self._nodes = world.informer("nodes")
        self._pods.on_event(self._pod_changed)
        self._nodes.on_event(self._node_changed)
        self._waiting: dict[Key, Obj] = {}
        self._assumed: dict[str, tuple[str, Obj]] = {}
        self._said: dict[str, tuple[str, float]] = {}
        self._woken = asyncio.Event()

    def _pod_changed(self, kind: str, pod: Obj, before: Obj | None) -> None:
        key, uid = key_of(pod), pod["metadata"]["uid"]
        bound = bool(pod["spec"].get("nodeName"))
        if kind == "DELETED" or bound:
            self._waiting.pop(key, None)
            self._assumed.pop(uid, None)
            self._said.pop(uid, None)
            freed = kind == "DELETED" or (is_over(pod) and before is not None and not is_over(before))
            if bound and freed:
                self._woken.set()
        elif pod["spec"].get("schedulerName", NAME) == NAME and not is_going(pod) and not is_over(pod):
            if key not in self._waiting:
                self._woken.set()
            self._waiting[key] = pod

    def _node_changed(self, kind: str, node: Obj, before: Obj | None) -> None:
        if kind != "MODIFIED" or before is None or _relevant(node) != _relevant(before):
            self._woken.set()

    async def run(self) -> None:
        """Schedule for ever."""
        await self._world.synced()
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self._pass()
            except Exception:
                log.exception("scheduling")
            await asyncio.sleep(SETTLE_S)

    async def _pass(self) -> None:
        """Try every waiting pod once, oldest first."""
        uses = self._uses()
        waiting = sorted(self._waiting.values(), key=lambda pod: pod["metadata"]["creationTimestamp"])
        for pod in waiting:
            if key_of(pod) not in self._waiting or pod["metadata"]["uid"] in self._assumed:
                continue
            if pod["spec"].get("schedulingGates"):
                continue
            await self._place(pod, uses)

    def _uses(self) -> dict[str, NodeUse]:
        uses = {
            node["metadata"]["name"]: NodeUse(node)
            for node in self._nodes.items.values()
            if not is_going(node)
        }
        for pod in self._pods.items.values():
            use = uses.get(pod["spec"].get("nodeName") or "")
            if use is not None:
                use.add(pod)
        for node, pod in self._assumed.values():
            if node in uses:
                uses[node].add(pod)
        return uses

    async def _place(self, pod: Obj, uses: dict[str, NodeUse]) -> None:
        misfits: list[Misfit] = []
        fitting: list[NodeUse] = []
        for use in uses.values():
            found = misfit(pod, use)
            if found is None:
                fitting.append(use)
            else:
                misfits.append(found)
        if not fitting:
            await self._refuse(pod, why_nowhere(misfits))
            return
        best = min(fitting, key=lambda use: score(pod, use))
        await self._bind(pod, best)

    async def _bind(self, pod: Obj, use: NodeUse) -> None:
        namespace, name = key_of(pod)
        node = use.node["metadata"]["name"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": pod["metadata"]["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._api.create("pods", binding, namespace, subresource="binding", name=name)
        except ApiStatus as refusal:
            log.info("binding %s/%s to %s: %s", namespace, name, node, refusal)
            self._waiting.pop(key_of(pod), None)  # its next event brings it back
            return
        if key_of(pod) in self._waiting:  # the picture has not shown the binding yet
            self._assumed[pod["metadata"]["uid"]] = (node, pod)
        use.add(pod)
        text = f"Successfully assigned {namespace}/{name} to {node}"
        self._recorder.record(pod, NORMAL, "Scheduled", text)

    async def _refuse(self, pod: Obj, why: str) -> None:
        """Say why the pod waits: at once when the reason is new, and again now and then."""
        uid = pod["metadata"]["uid"]
        said, at_s = self._said.get(uid, ("", 0.0))
        if said == why and time.monotonic() - at_s < SAY_AGAIN_S:
            return
        self._said[uid] = why, time.monotonic()
        self._recorder.record(pod, WARNING, "FailedScheduling", why)
        old = condition(pod, "PodScheduled") or {}
        if (old.get("status"), old.get("message")) == ("False", why):
            return
        new = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": why,
            "lastProbeTime": None,
        }
        conditions = with_condition((pod.get("status") or {}).get("conditions") or [], new, now())
        namespace, name = key_of(pod)
        patch = {"metadata": {"uid": uid}, "status": {"conditions": conditions}}
        try:
            await self._api.patch("pods", name, patch, namespace, subresource="status")
        except ApiStatus as refusal:
            log.info("condition of %s/%s: %s", namespace, name, refusal)


def _relevant(node: Obj) -> object:
    """What of a node can change where pods fit; heartbeats do not."""
    spec, status = node["spec"], node.get("status") or {}
    labels = node["metadata"].get("labels")
    return spec.get("unschedulable"), spec.get("taints"), labels, status.get("allocatable"), is_going(node)
