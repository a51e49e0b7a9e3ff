"""The Deployment controller: one ReplicaSet per template, rolled over step by step.

Scaling, pausing, restarting (a changed template annotation) and going back (a template known before) are all the
same here: the set of the present template grows, the others shrink, within maxSurge and maxUnavailable.
"""

from __future__ import annotations

import copy

from harness.sandbox.api import Obj
from harness.sandbox.controllers.controller import Controller, ignoring_absence
from harness.sandbox.controllers.informer import Key, World, key_of
from harness.sandbox.controllers.podfacts import (
    is_active,
    is_going,
    reference,
    share_of,
    template_hash,
    with_condition,
)
from harness.sandbox.controllers.replicasets import REPLICASETS
from harness.sandbox.recorder import NORMAL, Recorder, now

DEPLOYMENTS = "deployments.apps"
HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_SKIPPED = ("kubectl.kubernetes.io/last-applied-configuration", REVISION)


def replicas_of(obj: Obj) -> int:
    """Return how many replicas a spec asks for."""
    replicas: int | None = obj["spec"].get("replicas")
    return 1 if replicas is None else replicas


def status_of(obj: Obj, key: str) -> int:
    """Return a number of the status, 0 if it is not there."""
    return int((obj.get("status") or {}).get(key) or 0)


class DeploymentController(Controller):
    """Reconciles Deployments."""

    name = "deployment-controller"

    def __init__(self, world: World, recorder: Recorder) -> None:
        super().__init__(world, recorder)
        self._deployments = world.informer(DEPLOYMENTS)
        self._sets = world.informer(REPLICASETS)
        self._pods = world.informer("pods")
        self.wakes_itself(DEPLOYMENTS)
        self.wakes_controller(REPLICASETS, "Deployment")

    async def reconcile(self, key: Key) -> None:
        """Roll one step further and say how far it is."""
        deployment = self._deployments.get(*key)
        if deployment is None or is_going(deployment):
            return
        sets = self._owned(deployment)
        digest = template_hash(deployment["spec"]["template"])
        new = next((one for one in sets if one["metadata"]["labels"].get(HASH) == digest), None)
        old = [one for one in sets if one is not new]
        if not deployment["spec"].get("paused"):
            if new is None and self._may_begin(deployment, old):
                new = await self._make_set(deployment, digest, sets)
            elif new is not None:
                new = await self._keep_newest(deployment, new, old)
        await self._scale(deployment, new, old)
        await self._forget_old(deployment, old)
        await self._report(deployment, digest)

    def _owned(self, deployment: Obj) -> list[Obj]:
        return [one for one in self._sets.controlled_by(deployment["metadata"]["uid"]) if not is_going(one)]

    @staticmethod
    def _recreates(deployment: Obj) -> bool:
        return bool((deployment["spec"].get("strategy") or {}).get("type") == "Recreate")

    def _may_begin(self, deployment: Obj, old: list[Obj]) -> bool:
        """With strategy Recreate the new set comes once all old pods are gone."""
        return not self._recreates(deployment) or not self._pods_of(old)

    def _pods_of(self, sets: list[Obj]) -> list[Obj]:
        return [pod for one in sets for pod in self._pods.controlled_by(one["metadata"]["uid"])]

    async def _make_set(self, deployment: Obj, digest: str, sets: list[Obj]) -> Obj:
        meta, spec = deployment["metadata"], deployment["spec"]
        template = copy.deepcopy(spec["template"])
        template.setdefault("metadata", {}).setdefault("labels", {})[HASH] = digest
        selector = copy.deepcopy(spec["selector"])
        selector.setdefault("matchLabels", {})[HASH] = digest
        revision = self._next_revision(sets)
        kept = {key: value for key, value in (meta.get("annotations") or {}).items() if key not in _SKIPPED}
        made = await self.api.create(
            REPLICASETS,
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": f"{meta['name']}-{digest}",
                    "namespace": meta["namespace"],
                    "labels": dict(template["metadata"]["labels"]),
                    "annotations": {
                        **kept,
                        REVISION: str(revision),
                        "deployment.kubernetes.io/desired-replicas": str(replicas_of(deployment)),
                    },
                    "ownerReferences": [reference(deployment)],
                },
                "spec": {
                    "replicas": 0,
                    "selector": selector,
                    "template": template,
                    **({"minReadySeconds": spec["minReadySeconds"]} if spec.get("minReadySeconds") else {}),
                },
            },
            meta["namespace"],
        )
        await self._sets.until_seen(made)
        await self._mark_revision(deployment, revision)
        return made

    @staticmethod
    def _next_revision(sets: list[Obj]) -> int:
        found = [int((one["metadata"].get("annotations") or {}).get(REVISION, 0)) for one in sets]
        return max(found, default=0) + 1

    async def _keep_newest(self, deployment: Obj, new: Obj, old: list[Obj]) -> Obj:
        """A template that was used before becomes the newest revision again."""
        own = int((new["metadata"].get("annotations") or {}).get(REVISION, 0))
        newest = self._next_revision(old)
        if own >= newest:
            await self._mark_revision(deployment, own)
            return new
        patch = {"metadata": {"annotations": {REVISION: str(newest)}}}
        changed = await self.api.patch(
            REPLICASETS, new["metadata"]["name"], patch, new["metadata"]["namespace"]
        )
        await self._sets.until_seen(changed)
        await self._mark_revision(deployment, newest)
        return changed

    async def _mark_revision(self, deployment: Obj, revision: int) -> None:
        meta = deployment["metadata"]
        if (meta.get("annotations") or {}).get(REVISION) != str(revision):
            patch = {"metadata": {"annotations": {REVISION: str(revision)}}}
            changed = await self.api.patch(DEPLOYMENTS, meta["name"], patch, meta["namespace"])
            await self._deployments.until_seen(changed)

    # ------------------------------------------------------------------------------------------ rolling

    async def _scale(self, deployment: Obj, new: Obj | None, old: list[Obj]) -> None:
        wanted = replicas_of(deployment)
        if self._recreates(deployment):
            for one in old:
                await self._scale_set(deployment, one, 0)
            if new is not None:
                await self._scale_set(deployment, new, wanted)
            return
        if new is None:
            if deployment["spec"].get("paused") and old:
                newest = max(
                    old, key=lambda one: int((one["metadata"].get("annotations") or {}).get(REVISION, 0))
                )
                await self._scale_set(deployment, newest, wanted)
            return
        if not any(replicas_of(one) for one in old):
            await self._scale_set(deployment, new, wanted)
            return
        surge, unavailable = self.bounds(deployment)
        total = replicas_of(new) + sum(replicas_of(one) for one in old)
        if replicas_of(new) > wanted:
            await self._scale_set(deployment, new, wanted)
        else:
            room = min(wanted + surge - total, wanted - replicas_of(new))
            await self._scale_set(deployment, new, replicas_of(new) + max(room, 0))
        await self._shrink_old(deployment, new, old, wanted - unavailable)

    @staticmethod
    def bounds(deployment: Obj) -> tuple[int, int]:
        """Return maxSurge and maxUnavailable as numbers."""
        rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
        wanted = replicas_of(deployment)
        surge = share_of(rolling.get("maxSurge", "25%"), wanted, round_up=True)
        unavailable = share_of(rolling.get("maxUnavailable", "25%"), wanted, round_up=False)
        return surge, unavailable if surge or unavailable else 1

    async def _shrink_old(self, deployment: Obj, new: Obj, old: list[Obj], least: int) -> None:
        """Take old pods away: those that are not available first, then as many as are not needed."""
        known = [self._sets.items.get(key_of(one), one) for one in (new, *old)]
        available = sum(status_of(one, "availableReplicas") for one in known)
        total = sum(replicas_of(one) for one in known)
        new_unavailable = replicas_of(known[0]) - status_of(known[0], "availableReplicas")
        may_go = total - least - new_unavailable
        for one in sorted(old, key=lambda one: one["metadata"]["creationTimestamp"]):
            broken = replicas_of(one) - status_of(one, "availableReplicas")
            take = min(max(broken, 0), max(may_go, 0))
            if take:
                await self._scale_set(deployment, one, replicas_of(one) - take)
                may_go -= take
        spare = available - least
        for one in sorted(old, key=lambda one: one["metadata"]["creationTimestamp"]):
            one = self._sets.items.get(key_of(one), one)  # noqa: PLW2901 - the set may have shrunk just now
            take = min(replicas_of(one), max(spare, 0))
            if take:
                await self._scale_set(deployment, one, replicas_of(one) - take)
                spare -= take

    async def _scale_set(self, deployment: Obj, one: Obj, replicas: int) -> None:
        before = replicas_of(one)
        if before == replicas:
            return
        name, namespace = one["metadata"]["name"], one["metadata"]["namespace"]
        changed = await self.api.patch(REPLICASETS, name, {"spec": {"replicas": replicas}}, namespace)
        way = "up" if replicas > before else "down"
        text = f"Scaled {way} replica set {name} from {before} to {replicas}"
        self.recorder.record(deployment, NORMAL, "ScalingReplicaSet", text)
        await self._sets.until_seen(changed)

    async def _forget_old(self, deployment: Obj, old: list[Obj]) -> None:
        """Keep only as many empty sets as the history limit says."""
        empty = [one for one in old if not replicas_of(one) and not status_of(one, "replicas")]
        limit = deployment["spec"].get("revisionHistoryLimit", 10)
        empty.sort(key=lambda one: int((one["metadata"].get("annotations") or {}).get(REVISION, 0)))
        for one in empty[: max(0, len(empty) - limit)]:
            namespace, name = key_of(one)
            await ignoring_absence(self.api.delete(REPLICASETS, name, namespace))

    # ------------------------------------------------------------------------------------------ status

    async def _report(self, deployment: Obj, digest: str) -> None:
        key = key_of(deployment)
        deployment = self._deployments.items.get(key, deployment)
        sets = self._owned(deployment)
        new = next((one for one in sets if one["metadata"]["labels"].get(HASH) == digest), None)
        wanted = replicas_of(deployment)
        available = sum(status_of(one, "availableReplicas") for one in sets)
        numbers = {
            "replicas": sum(status_of(one, "replicas") for one in sets),
            "updatedReplicas": status_of(new, "replicas") if new else 0,
            "readyReplicas": sum(status_of(one, "readyReplicas") for one in sets),
            "availableReplicas": available,
            "unavailableReplicas": max(0, wanted - available),
            "terminatingReplicas": sum(
                1 for pod in self._pods_of(sets) if is_going(pod) and not is_active(pod)
            ),
        }
        old = deployment.get("status") or {}
        status: Obj = {name: number or None for name, number in numbers.items()}
        status["terminatingReplicas"] = numbers["terminatingReplicas"]
        status["observedGeneration"] = deployment["metadata"].get("generation", 1)
        status["conditions"] = self._conditions(deployment, new, numbers)
        if any(old.get(name) != value for name, value in status.items()):
            meta = deployment["metadata"]
            patch = {"metadata": {"uid": meta["uid"]}, "status": status}
            changed = await self.api.patch(
                DEPLOYMENTS, meta["name"], patch, meta["namespace"], subresource="status"
            )
            await self._deployments.until_seen(changed)

    def _conditions(self, deployment: Obj, new: Obj | None, numbers: dict[str, int]) -> list[Obj]:
        wanted, stamp = replicas_of(deployment), now()
        conditions = list((deployment.get("status") or {}).get("conditions") or [])
        _, unavailable = self.bounds(deployment)
        enough = numbers["availableReplicas"] >= wanted - unavailable
        conditions = _said(
            conditions,
            {
                "type": "Available",
                "status": "True" if enough else "False",
                "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
                "message": f"Deployment {'has' if enough else 'does not have'} minimum availability.",
            },
            stamp,
        )
        if new is None:
            return conditions
        done = numbers["updatedReplicas"] == wanted == numbers["replicas"] == numbers["availableReplicas"]
        name = new["metadata"]["name"]
        was_done = any(
            one["type"] == "Progressing" and one["reason"] == "NewReplicaSetAvailable" for one in conditions
        )
        text = (
            f'ReplicaSet "{name}" has successfully progressed.'
            if done
            else f'ReplicaSet "{name}" is progressing.'
        )
        if was_done and not done and numbers["updatedReplicas"] == numbers["replicas"]:
            return conditions  # a complete rollout stays complete when a pod fails later
        reason = "NewReplicaSetAvailable" if done else "ReplicaSetUpdated"
        return _said(
            conditions, {"type": "Progressing", "status": "True", "reason": reason, "message": text}, stamp
        )


def _said(conditions: list[Obj], new: Obj, stamp: str) -> list[Obj]:
    """Set a condition; when nothing of it changed, not even its update time moves."""
    old = next((one for one in conditions if one["type"] == new["type"]), None)
    if old is not None and all(old.get(key) == value for key, value in new.items()):
        return conditions
    return with_condition(conditions, {**new, "lastUpdateTime": stamp}, stamp)
