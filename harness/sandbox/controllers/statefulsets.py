"""The StatefulSet controller: pods with lasting names, made and ended in order, one at a time.

A pod keeps its name and its volume when it is made anew. As with ReplicaSets a replacement of a killed pod starts
later, by the setting for restarts. `podManagementPolicy: Parallel` makes all at once.
"""

from __future__ import annotations

import copy

from harness.sandbox.api import Obj
from harness.sandbox.controllers.controller import Controller, ignoring_absence
from harness.sandbox.controllers.informer import Key, World, controller_of, key_of
from harness.sandbox.controllers.podfacts import is_going, is_over, is_ready, phase, pod_from, template_hash
from harness.sandbox.node.podworker import START_AFTER
from harness.sandbox.recorder import NORMAL, Recorder

STATEFULSETS = "statefulsets.apps"
REVISION = "controller-revision-hash"


class StatefulSetController(Controller):
    """Reconciles StatefulSets."""

    name = "statefulset-controller"

    def __init__(self, world: World, recorder: Recorder, restart_delay_s: float) -> None:
        super().__init__(world, recorder)
        self._sets = world.informer(STATEFULSETS)
        self._pods = world.informer("pods")
        self._restart_delay_s = restart_delay_s
        self._killed: set[Key] = set()
        self._own_deletions: set[str] = set()
        self.wakes_itself(STATEFULSETS)
        self.wakes_controller("pods", "StatefulSet")
        self._pods.on_event(self._note_killed)

    def _note_killed(self, kind: str, pod: Obj, before: Obj | None) -> None:
        owner = controller_of(pod)
        if owner is None or owner["kind"] != "StatefulSet" or before is None or is_going(before):
            return
        goes_now = kind == "DELETED" or is_going(pod)
        if goes_now and phase(before) == "Running" and pod["metadata"]["uid"] not in self._own_deletions:
            self._killed.add(key_of(pod))

    async def reconcile(self, key: Key) -> None:
        """Take the next step, then say where the set stands."""
        stateful = self._sets.get(*key)
        if stateful is None:
            return
        revision = f"{key[1]}-{template_hash(stateful['spec']['template'])}"
        if not is_going(stateful):
            await self._step(stateful, revision)
        await self._report(stateful, revision)

    def _pods_by_ordinal(self, stateful: Obj) -> dict[int, Obj]:
        prefix = stateful["metadata"]["name"] + "-"
        found = {}
        for pod in self._pods.controlled_by(stateful["metadata"]["uid"]):
            ordinal = pod["metadata"]["name"].removeprefix(prefix)
            if ordinal.isdecimal():
                found[int(ordinal)] = pod
        return found

    async def _step(self, stateful: Obj, revision: str) -> None:
        spec = stateful["spec"]
        wanted = 1 if spec.get("replicas") is None else spec["replicas"]
        first = (spec.get("ordinals") or {}).get("start", 0)
        parallel = spec.get("podManagementPolicy") == "Parallel"
        pods = self._pods_by_ordinal(stateful)
        for ordinal in range(first, first + wanted):
            pod = pods.get(ordinal)
            if pod is None:
                await self._make_pod(stateful, ordinal, revision)
            elif is_over(pod):
                await self._delete(stateful, pod)
            if not parallel and (pod is None or is_going(pod) or not is_ready(pod)):
                return
        surplus = sorted((one for one in pods if not first <= one < first + wanted), reverse=True)
        for ordinal in surplus:
            if not is_going(pods[ordinal]):
                await self._delete(stateful, pods[ordinal])
            if not parallel:
                return
        await self._roll(stateful, pods, revision)

    async def _roll(self, stateful: Obj, pods: dict[int, Obj], revision: str) -> None:
        """Replace pods of an older template, from the last to the first, each once the one before is ready."""
        strategy = stateful["spec"].get("updateStrategy") or {}
        if strategy.get("type") == "OnDelete":
            return
        least = (strategy.get("rollingUpdate") or {}).get("partition") or 0
        for ordinal in sorted(pods, reverse=True):
            pod = pods[ordinal]
            if ordinal < least:
                return
            if (pod["metadata"].get("labels") or {}).get(REVISION) != revision:
                await self._delete(stateful, pod)
                return
            if is_going(pod) or not is_ready(pod):
                return

    async def _make_pod(self, stateful: Obj, ordinal: int, revision: str) -> None:
        meta, spec = stateful["metadata"], stateful["spec"]
        name = f"{meta['name']}-{ordinal}"
        pod = pod_from(spec["template"], stateful, generate=False)
        pod["metadata"]["name"] = name
        pod["metadata"].setdefault("labels", {}).update(
            {
                REVISION: revision,
                "statefulset.kubernetes.io/pod-name": name,
                "apps.kubernetes.io/pod-index": str(ordinal),
            }
        )
        key = meta["namespace"], name
        if key in self._killed and self._restart_delay_s:
            pod["metadata"].setdefault("annotations", {})[START_AFTER] = f"{self._restart_delay_s:g}"
        self._killed.discard(key)
        pod["spec"]["hostname"] = name
        if spec.get("serviceName"):
            pod["spec"]["subdomain"] = spec["serviceName"]
        _claim_volumes(pod, spec.get("volumeClaimTemplates") or [], name)
        made = await self.api.create("pods", pod, meta["namespace"])
        text = f"create Pod {name} in StatefulSet {meta['name']} successful"
        self.recorder.record(stateful, NORMAL, "SuccessfulCreate", text)
        await self._pods.until_seen(made)

    async def _delete(self, stateful: Obj, pod: Obj) -> None:
        namespace, name = key_of(pod)
        uid = pod["metadata"]["uid"]
        if is_going(pod):
            return
        self._own_deletions.add(uid)
        await ignoring_absence(self.api.delete("pods", name, namespace, uid=uid))
        text = f"delete Pod {name} in StatefulSet {stateful['metadata']['name']} successful"
        self.recorder.record(stateful, NORMAL, "SuccessfulDelete", text)
        await self._pods.until(
            lambda: (
                (known := self._pods.get(namespace, name)) is None
                or is_going(known)
                or known["metadata"]["uid"] != uid
            )
        )
        self._own_deletions.discard(uid)

    async def _report(self, stateful: Obj, revision: str) -> None:
        meta = stateful["metadata"]
        pods = [pod for pod in self._pods_by_ordinal(stateful).values() if not is_going(pod)]
        ready = sum(1 for pod in pods if is_ready(pod))
        fresh = sum(1 for pod in pods if (pod["metadata"].get("labels") or {}).get(REVISION) == revision)
        old = stateful.get("status") or {}
        settled = fresh == len(pods) or not old.get("currentRevision")
        status: Obj = {
            "replicas": len(pods),
            "readyReplicas": ready or None,
            "availableReplicas": ready,
            "updatedReplicas": fresh or None,
            "currentReplicas": (fresh if settled else len(pods) - fresh) or None,
            "currentRevision": revision if settled else old["currentRevision"],
            "updateRevision": revision,
            "observedGeneration": meta.get("generation", 1),
            "collisionCount": 0,
        }
        if any(old.get(key) != value for key, value in status.items()):
            patch = {"metadata": {"uid": meta["uid"]}, "status": status}
            changed = await self.api.patch(
                STATEFULSETS, meta["name"], patch, meta["namespace"], subresource="status"
            )
            await self._sets.until_seen(changed)


def _claim_volumes(pod: Obj, templates: list[Obj], name: str) -> None:
    claimed = [copy.deepcopy(one) for one in pod["spec"].get("volumes") or []]
    names = {template["metadata"]["name"] for template in templates}
    claimed = [one for one in claimed if one["name"] not in names]
    for volume in sorted(names):
        claimed.append({"name": volume, "persistentVolumeClaim": {"claimName": f"{volume}-{name}"}})
    if claimed:
        pod["spec"]["volumes"] = claimed
