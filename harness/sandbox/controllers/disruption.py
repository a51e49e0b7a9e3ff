"""The disruption controller: how many pods of a budget may be evicted now.

Only the status is written here; the eviction itself is refused or granted by the API server.
"""

from __future__ import annotations

from harness.sandbox.api import Obj
from harness.sandbox.controllers.controller import Controller
from harness.sandbox.controllers.deployments import DEPLOYMENTS, replicas_of
from harness.sandbox.controllers.informer import Key, World, controller_of, key_of
from harness.sandbox.controllers.podfacts import is_going, is_over, is_ready, share_of, with_condition
from harness.sandbox.controllers.replicasets import REPLICASETS
from harness.sandbox.controllers.statefulsets import STATEFULSETS
from harness.sandbox.controlplane import selectors
from harness.sandbox.recorder import Recorder, now

BUDGETS = "poddisruptionbudgets.policy"


class DisruptionController(Controller):
    """Reconciles PodDisruptionBudgets."""

    name = "disruption-controller"

    def __init__(self, world: World, recorder: Recorder) -> None:
        super().__init__(world, recorder)
        self._budgets = world.informer(BUDGETS)
        self._pods = world.informer("pods")
        self._world = world
        for resource in (REPLICASETS, STATEFULSETS, DEPLOYMENTS):
            world.informer(resource)
        self.wakes_itself(BUDGETS)
        self._pods.on_event(self._pod_changed)

    def _pod_changed(self, _kind: str, pod: Obj, before: Obj | None) -> None:
        for budget in self._budgets.within(pod["metadata"]["namespace"]):
            selector = selectors.from_object(budget["spec"].get("selector"))
            if any(
                one is not None and selector.holds(one["metadata"].get("labels")) for one in (pod, before)
            ):
                self.wake(key_of(budget))

    async def reconcile(self, key: Key) -> None:
        """Count the budget's pods and say how many disruptions they bear."""
        budget = self._budgets.get(*key)
        if budget is None or is_going(budget):
            return
        selector = selectors.from_object(budget["spec"].get("selector"))
        pods = [
            pod
            for pod in self._pods.within(key[0])
            if selector.holds(pod["metadata"].get("labels")) and not is_over(pod)
        ]
        healthy = sum(1 for pod in pods if is_ready(pod) and not is_going(pod))
        expected, desired = self._wanted(budget["spec"], pods)
        allowed = max(0, healthy - desired) if expected > 0 else 0
        await self._report(
            budget,
            {
                "currentHealthy": healthy,
                "desiredHealthy": desired,
                "expectedPods": expected,
                "disruptionsAllowed": allowed,
            },
        )

    def _wanted(self, spec: Obj, pods: list[Obj]) -> tuple[int, int]:
        """Return how many pods there should be and how many must stay healthy."""
        least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
        if isinstance(least, int):
            return len(pods), least
        expected = self._scale_of(pods)
        if least is not None:
            return expected, share_of(least, expected, round_up=True)
        return expected, max(0, expected - share_of(most, expected, round_up=True))

    def _scale_of(self, pods: list[Obj]) -> int:
        """Add up the replicas of all controllers of the pods."""
        found: dict[str, int] = {}
        for pod in pods:
            owner = controller_of(pod)
            if owner is None:
                found[pod["metadata"]["uid"]] = 1
                continue
            resource = {"ReplicaSet": REPLICASETS, "StatefulSet": STATEFULSETS}.get(owner["kind"])
            known = (
                self._world.informer(resource).get(pod["metadata"]["namespace"], owner["name"])
                if resource
                else None
            )
            found[owner["uid"]] = replicas_of(known) if known is not None else 1
        return sum(found.values())

    async def _report(self, budget: Obj, numbers: dict[str, int]) -> None:
        meta, old = budget["metadata"], budget.get("status") or {}
        enough = numbers["disruptionsAllowed"] > 0
        condition = {
            "type": "DisruptionAllowed",
            "status": "True" if enough else "False",
            "reason": "SufficientPods" if enough else "InsufficientPods",
            "message": "",
            "observedGeneration": meta.get("generation", 1),
        }
        status = {
            **numbers,
            "observedGeneration": meta.get("generation", 1),
            "conditions": with_condition(old.get("conditions") or [], condition, now()),
        }
        if any(old.get(key) != value for key, value in status.items()):
            version = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
            patch = {"metadata": version, "status": {**status, "disruptedPods": None}}
            changed = await self.api.patch(
                BUDGETS, meta["name"], patch, meta["namespace"], subresource="status"
            )
            await self._budgets.until_seen(changed)
