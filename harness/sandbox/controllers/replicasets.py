"""The ReplicaSet controller: keeps as many pods as asked for.

A pod that replaces a killed one is marked to start later, by the setting for restarts: an absence that nobody
can feel would teach nothing. Pods made because more are wanted start at once.
"""

from __future__ import annotations

import asyncio
import time

from harness.sandbox.api import Obj
from harness.sandbox.controllers.controller import Controller, ignoring_absence
from harness.sandbox.controllers.informer import Key, World, controller_of, key_of
from harness.sandbox.controllers.podfacts import (
    is_active,
    is_going,
    is_over,
    is_ready,
    phase,
    pod_from,
    ready_since_s,
)
from harness.sandbox.node.podworker import START_AFTER
from harness.sandbox.recorder import NORMAL, Recorder

REPLICASETS = "replicasets.apps"


class ReplicaSetController(Controller):
    """Reconciles ReplicaSets."""

    name = "replicaset-controller"

    def __init__(self, world: World, recorder: Recorder, restart_delay_s: float) -> None:
        super().__init__(world, recorder)
        self._sets = world.informer(REPLICASETS)
        self._pods = world.informer("pods")
        self._restart_delay_s = restart_delay_s
        self._killed: dict[Key, list[float]] = {}
        self._own_deletions: set[str] = set()
        self.wakes_itself(REPLICASETS)
        self.wakes_controller("pods", "ReplicaSet")
        self._pods.on_event(self._note_killed)

    def _note_killed(self, kind: str, pod: Obj, before: Obj | None) -> None:
        """Remember pods that went without us wanting it."""
        owner = controller_of(pod)
        if owner is None or owner["kind"] != "ReplicaSet":
            return
        uid = pod["metadata"]["uid"]
        goes_now = (kind == "DELETED" or is_going(pod)) and before is not None and not is_going(before)
        if goes_now and uid not in self._own_deletions and before is not None and phase(before) == "Running":
            self._killed.setdefault((pod["metadata"]["namespace"], owner["name"]), []).append(
                time.monotonic()
            )
        if kind == "DELETED":
            self._own_deletions.discard(uid)

    async def reconcile(self, key: Key) -> None:
        """Make or delete pods, then say how many there are."""
        replica_set = self._sets.get(*key)
        if replica_set is None:
            self._killed.pop(key, None)
            return
        if not is_going(replica_set):
            await self._adjust(key, replica_set)
        await self._report(replica_set)

    async def _adjust(self, key: Key, replica_set: Obj) -> None:
        pods = self._pods.controlled_by(replica_set["metadata"]["uid"])
        active = [pod for pod in pods if is_active(pod)]
        surplus = len(active) - replica_set["spec"].get("replicas", 1)
        if surplus > 0:
            for pod in sorted(active, key=_keep_longest)[:surplus]:
                await self._delete(replica_set, pod)
        elif surplus < 0:
            fresh = [at for at in self._killed.pop(key, []) if time.monotonic() - at < self._restart_delay_s]
            delays = [self._restart_delay_s] * len(fresh)
            missing = -surplus
            delays = (delays + [0.0] * missing)[:missing]
            await asyncio.gather(*(self._make_pod(replica_set, delay) for delay in delays))

    async def _delete(self, replica_set: Obj, pod: Obj) -> None:
        namespace, name = key_of(pod)
        uid = pod["metadata"]["uid"]
        self._own_deletions.add(uid)
        await ignoring_absence(self.api.delete("pods", name, namespace, uid=uid))
        self.recorder.record(replica_set, NORMAL, "SuccessfulDelete", f"Deleted pod: {name}")
        await self._pods.until(
            lambda: (
                (known := self._pods.get(namespace, name)) is None
                or is_going(known)
                or known["metadata"]["uid"] != uid
            )
        )

    async def _make_pod(self, replica_set: Obj, start_after_s: float) -> None:
        pod = pod_from(replica_set["spec"]["template"], replica_set)
        if start_after_s:
            pod["metadata"].setdefault("annotations", {})[START_AFTER] = f"{start_after_s:g}"
        made = await self.api.create("pods", pod, pod["metadata"]["namespace"])
        self.recorder.record(
            replica_set, NORMAL, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}"
        )
        await self._pods.until_seen(made)

    async def _report(self, replica_set: Obj) -> None:
        meta, spec = replica_set["metadata"], replica_set["spec"]
        pods = [pod for pod in self._pods.controlled_by(meta["uid"]) if is_active(pod)]
        ready = [pod for pod in pods if is_ready(pod)]
        status = {
            "replicas": len(pods),
            "fullyLabeledReplicas": len(pods),
            "readyReplicas": len(ready),
            "availableReplicas": self.available(key_of(replica_set), ready, spec.get("minReadySeconds", 0)),
            "observedGeneration": meta.get("generation", 1),
            "terminatingReplicas": sum(
                1 for pod in self._pods.controlled_by(meta["uid"]) if is_going(pod) and not is_over(pod)
            ),
        }
        old = replica_set.get("status") or {}
        if {key: old.get(key, 0) for key in status} != status or "replicas" not in old:
            changed = await self.api.patch(
                REPLICASETS,
                meta["name"],
                {"metadata": {"uid": meta["uid"]}, "status": status},
                meta["namespace"],
                "status",
            )
            await self._sets.until_seen(changed)

    def available(self, key: Key, ready: list[Obj], least_s: float) -> int:
        """Count the pods that have been ready for long enough; come back for the others."""
        if not least_s:
            return len(ready)
        waits = [ready_since_s(pod) + least_s - time.time() for pod in ready]
        if any(wait > 0 for wait in waits):
            self.wake_after(key, max(0.1, min(wait for wait in waits if wait > 0)))
        return sum(1 for wait in waits if wait <= 0)


def _keep_longest(pod: Obj) -> tuple[bool, bool, bool, str]:
    """Pods that go first sort first: unassigned, not running, not ready, then the youngest."""
    age = "".join(chr(255 - ord(letter)) for letter in pod["metadata"]["creationTimestamp"])
    return bool(pod["spec"].get("nodeName")), phase(pod) == "Running", is_ready(pod), age
