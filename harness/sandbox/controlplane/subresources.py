"""Subresources with a logic of their own: binding, eviction, scale and tokens.

Called by the HTTP layer and by `LocalApi`. Plain ones (status, finalize) are updates and live in `verbs`; log and
exec are the kubelet's.
"""

import time
from typing import Any

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import deletion, identity, selectors, statuses
from harness.sandbox.controlplane.resources import BY_KEY, Resource
from harness.sandbox.controlplane.store import Record, Store
from harness.sandbox.controlplane.verbs import Ask, Verbs, now, patched

BUDGETS = "poddisruptionbudgets.policy"
SUCCESS: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
STILL_PROCESSED_S = 10  # after how long to ask again about a budget that was not counted yet
TOKEN_SECONDS = (600, 3600, 2**32)  # least, usual, most


class Subresources:
    """The subresources of one store."""

    def __init__(self, verbs: Verbs, tokens: identity.Tokens) -> None:
        self.verbs = verbs
        self.store: Store = verbs.store
        self.tokens = tokens

    def post(self, resource: Resource, namespace: str, name: str, sub: str, body: Obj, ask: Ask) -> Obj:
        """Post to a subresource; raise ApiStatus where it is refused or does not exist."""
        if (resource.key, sub) == ("pods", "binding"):
            return self.bind(namespace, name, body, ask)
        if (resource.key, sub) == ("pods", "eviction"):
            return self.evict(namespace, name, body, ask)
        if (resource.key, sub) == ("serviceaccounts", "token"):
            return self.issue_token(namespace, name, body)
        raise statuses.no_such_resource()

    # ---- binding

    def bind(self, namespace: str, name: str, body: Obj, ask: Ask) -> Obj:
        """Assign a pod to a node, once."""
        pods = BY_KEY["pods"]
        before = self.verbs.find(pods, namespace, name)
        target = (body.get("target") or {}).get("name")
        if not target:
            cause = statuses.required("target.name")
            raise statuses.invalid("Binding", "", name, [cause])
        pod = before.copy()
        if pod["metadata"].get("deletionTimestamp"):
            why = f"pod {name} is being deleted, cannot be assigned to a host"
            raise statuses.conflict("pods/binding", "", name, why)
        if pod["spec"].get("nodeName"):
            why = f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"'
            raise statuses.conflict("pods/binding", "", name, why)
        uid = (body.get("metadata") or {}).get("uid")
        if uid and uid != pod["metadata"]["uid"]:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {pod['metadata']['uid']}"
            raise statuses.conflict("pods/binding", "", name, why)
        pod["spec"]["nodeName"] = target
        pod["metadata"].setdefault("annotations", {}).update(
            (body.get("metadata") or {}).get("annotations") or {}
        )
        if not pod["metadata"]["annotations"]:
            del pod["metadata"]["annotations"]
        conditions = [c for c in pod["status"].get("conditions") or [] if c["type"] != "PodScheduled"]
        scheduled = {
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": now(),
            "observedGeneration": pod["metadata"].get("generation", 1),
        }
        pod["status"]["conditions"] = [*conditions, {k: v for k, v in scheduled.items() if v is not None}]
        if not ask.dry_run:
            self.store.put("pods", (namespace, name), pod, before)
        return SUCCESS

    # ---- eviction

    def evict(self, namespace: str, name: str, body: Obj, ask: Ask) -> Obj:
        """Delete a pod if its disruption budgets allow it (429 where not)."""
        pods = BY_KEY["pods"]
        before = self.verbs.find(pods, namespace, name)
        options = body.get("deleteOptions") or {}
        conditions = options.get("preconditions") or {}
        wanted = deletion.Options(
            options.get("gracePeriodSeconds"),
            options.get("propagationPolicy"),
            conditions.get("uid"),
            conditions.get("resourceVersion"),
        )
        dry = ask.dry_run or options.get("dryRun") == ["All"]
        ask = Ask(ask.user, dry_run=dry, manager=ask.manager)
        pod = before.obj
        if not _free_to_go(pod):
            self._spend_budget(namespace, pod, dry_run=dry)
        self.verbs.delete(pods, namespace, name, wanted, ask)
        return SUCCESS

    def _spend_budget(self, namespace: str, pod: Obj, *, dry_run: bool) -> None:
        budgets = [
            record
            for record in self.store.each(BUDGETS, namespace)
            if selectors.from_object((record.obj.get("spec") or {}).get("selector")).holds(
                pod["metadata"].get("labels")
            )
        ]
        if len(budgets) > 1:
            text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise statuses.refusal(500, "InternalError", text)
        if not budgets:
            return
        budget = budgets[0]
        unhealthy = not _is_ready(pod)
        policy = (budget.obj.get("spec") or {}).get("unhealthyPodEvictionPolicy", "IfHealthyBudget")
        status = budget.obj.get("status") or {}
        healthy_enough = status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0
        if unhealthy and (policy == "AlwaysAllow" or healthy_enough):
            return
        self._take_one(budget, pod, dry_run=dry_run)

    def _take_one(self, budget: Record, pod: Obj, *, dry_run: bool) -> None:
        obj = budget.copy()
        name, status = obj["metadata"]["name"], obj.get("status") or {}
        if status.get("observedGeneration", 0) < obj["metadata"].get("generation", 1):
            text = f"The disruption budget {name} is still being processed by the server."
            raise _blocked(text, STILL_PROCESSED_S)
        if status.get("disruptionsAllowed", 0) <= 0:
            needs, has = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
            raise _blocked(f"The disruption budget {name} needs {needs} healthy pods and has {has} currently")
        if dry_run:
            return
        status["disruptionsAllowed"] -= 1
        status.setdefault("disruptedPods", {})[pod["metadata"]["name"]] = now()
        obj["status"] = status
        self.store.put(BUDGETS, (obj["metadata"]["namespace"], name), obj, budget)

    # ---- scale

    def scale(self, resource: Resource, namespace: str, name: str) -> Obj:
        """The Scale of a workload."""
        return _as_scale(self.verbs.find(resource, namespace, name).obj)

    def put_scale(self, resource: Resource, namespace: str, name: str, body: Obj, ask: Ask) -> Obj:
        """Set the number of replicas; a resourceVersion in the body makes it conditional."""
        replicas = (body.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or isinstance(replicas, bool):
            raise statuses.bad_request(
                f"json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas: {replicas}"
            )
        before = self.verbs.find(resource, namespace, name)
        if replicas < 0:
            cause = statuses.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
            raise statuses.invalid("Scale", "autoscaling", name, [cause])
        obj = before.copy()
        version = (body.get("metadata") or {}).get("resourceVersion")
        obj["metadata"]["resourceVersion"] = version or obj["metadata"]["resourceVersion"]
        obj["spec"]["replicas"] = replicas
        return _as_scale(self.verbs.store_update(resource, before, obj, ask).obj)

    def patch_scale(
        self, resource: Resource, namespace: str, name: str, how: str, patch: Any, ask: Ask
    ) -> Obj:
        """Change the number of replicas by a patch of the Scale."""
        current = self.scale(resource, namespace, name)
        return self.put_scale(resource, namespace, name, patched(current, how, patch, "Scale"), ask)

    # ---- tokens

    def issue_token(self, namespace: str, name: str, body: Obj) -> Obj:
        """A token for a service account (TokenRequest)."""
        account = self.verbs.find(BY_KEY["serviceaccounts"], namespace, name).obj
        spec = body.get("spec") or {}
        least, usual, most = TOKEN_SECONDS
        seconds = spec.get("expirationSeconds") or usual
        if not least <= seconds <= most:
            text = (
                "may not specify a duration less than 10 minutes"
                if seconds < least
                else "may not specify a duration larger than 2^32 seconds"
            )
            cause = statuses.invalid_value("spec.expirationSeconds", seconds, text)
            raise statuses.invalid("TokenRequest", "authentication.k8s.io", name, [cause])
        about: Obj = {"namespace": namespace, "serviceaccount": name}
        if spec.get("boundObjectRef"):
            about["bound"] = spec["boundObjectRef"]
        user = identity.service_account(namespace, name, account["metadata"]["uid"])
        token, end = self.tokens.issue(user, seconds, about)
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": now()},
            "spec": {
                **spec,
                "audiences": spec.get("audiences") or [identity.ISSUER],
                "expirationSeconds": seconds,
            },
            "status": {
                "token": token,
                "expirationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end)),
            },
        }


def _blocked(text: str, retry_after_s: int = 0) -> Exception:
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    return statuses.too_many(message, [{"reason": "DisruptionBudget", "message": text}], retry_after_s)


def _is_ready(pod: Obj) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _free_to_go(pod: Obj) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or bool(pod["metadata"].get("deletionTimestamp"))


def _as_scale(obj: Obj) -> Obj:
    meta = obj["metadata"]
    kept = {
        k: meta[k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if k in meta
    }
    replicas = obj["spec"].get("replicas", 0)
    status: Obj = {"replicas": (obj.get("status") or {}).get("replicas", 0)}
    selector = selectors.show(obj["spec"].get("selector"))
    if selector:
        status["selector"] = selector
    spec = {"replicas": replicas} if replicas else {}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": kept, "spec": spec, "status": status}
