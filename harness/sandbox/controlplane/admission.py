"""What the server adds to or refuses of a write before its own rules: the admission plugins that clients can notice.

Namespaces must exist and not be going, pods get account, token volume, priority and tolerations, quotas are counted.
Called by the verbs in the order of a write. It refuses with ApiStatus in the plugins' words.
"""

import random
from typing import Any

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import defaults, quota, statuses
from harness.sandbox.controlplane.identity import User
from harness.sandbox.controlplane.resources import Resource
from harness.sandbox.controlplane.store import Store

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path, not a secret
SETTLED_TOLERATIONS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
UNPLACED = {"LocalSubjectAccessReview", "Binding", "PodMetrics"}

check_quota = quota.check


def prepare_create(obj: Obj, resource: Resource) -> None:
    """Drop or set what a client does not decide at creation: status, generation, finalizers of a namespace."""
    if resource.sub("status") is not None and resource.kind != "Node":
        obj["status"] = {}
    if resource.generation:
        obj["metadata"]["generation"] = 1
    if resource.kind == "Namespace":
        finalizers = (obj.get("spec") or {}).get("finalizers") or []
        obj["spec"] = {"finalizers": list(dict.fromkeys([*finalizers, "kubernetes"]))}
        obj["status"] = {"phase": "Active"}
    if resource.kind in ("Deployment", "ReplicaSet", "StatefulSet") and resource.kind != "Deployment":
        obj["status"] = {"replicas": 0}
    if resource.kind == "PodDisruptionBudget":
        obj["status"] = {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
    if resource.kind == "StatefulSet":
        obj["status"]["availableReplicas"] = 0
    if resource.kind == "Node":
        obj.setdefault("spec", {})
        obj.setdefault("status", {})


def finish_create(store: Store, obj: Obj, resource: Resource) -> None:
    """What follows from the defaults: a pod's class of service, a job's selector and labels."""
    if resource.kind == "Pod":
        obj["status"] = {"phase": "Pending", "qosClass": defaults.qos_class(obj["spec"])}
    elif resource.kind == "Job":
        defaults.prepare_job(obj)


def prepare_update(obj: Obj, old: Obj, resource: Resource) -> None:
    """Carry over what a client may leave out of an update."""
    if resource.kind == "Namespace":
        obj["spec"] = old["spec"]
    elif resource.kind == "Service":
        _carry_addresses(obj["spec"], old["spec"])
    elif resource.kind in ("Pod", "Job"):
        for key, value in old["spec"].items():
            if key in ("nodeName", "serviceAccountName", "serviceAccount", "selector", "priority"):
                obj.setdefault("spec", {}).setdefault(key, value)


def _carry_addresses(spec: Obj, old: Obj) -> None:
    kind = spec.get("type", "ClusterIP")
    if kind != "ExternalName" and not spec.get("clusterIP") and not spec.get("clusterIPs"):
        for field in ("clusterIP", "clusterIPs"):
            if field in old:
                spec[field] = old[field]
    if kind not in ("NodePort", "LoadBalancer"):
        spec.pop("externalTrafficPolicy", None)
        for port in spec.get("ports") or []:
            if old.get("type") in ("NodePort", "LoadBalancer"):
                port.pop("nodePort", None)
        return
    known = {(p["protocol"], p["port"]): p.get("nodePort") for p in old.get("ports") or []}
    for port in spec.get("ports") or []:
        number = known.get((port.get("protocol", "TCP"), port.get("port")))
        if number and not port.get("nodePort"):
            port["nodePort"] = number


def admit_create(store: Store, obj: Obj, resource: Resource, user: User) -> None:
    """The plugins that look at a new object; raise ApiStatus where one refuses."""
    meta = obj["metadata"]
    namespace = meta.get("namespace", "")
    if resource.namespaced and resource.kind not in UNPLACED:
        _check_namespace(store, namespace, meta.get("name", ""), resource)
    if resource.kind == "Pod":
        spec = obj.setdefault("spec", {})
        _account(store, obj, namespace)
        _priority(store, obj)
        _tolerations(spec)
        _limits(store, obj, namespace)


def _check_namespace(store: Store, namespace: str, name: str, resource: Resource) -> None:
    record = store.get("namespaces", ("", namespace))
    if record is None:
        raise statuses.not_found("namespaces", "", namespace)
    if record.obj["metadata"].get("deletionTimestamp"):
        text = f"unable to create new content in namespace {namespace} because it is being terminated"
        causes = [
            {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
        ]
        raise statuses.forbidden(resource.plural, resource.group, name, text, causes)


def _account(store: Store, obj: Obj, namespace: str) -> None:
    spec = obj["spec"]
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    record = store.get("serviceaccounts", (namespace, name))
    if record is None:
        text = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise statuses.forbidden("pods", "", obj["metadata"].get("name", ""), text)
    wanted = spec.get("automountServiceAccountToken", record.obj.get("automountServiceAccountToken", True))
    if wanted:
        _token_volume(spec)


def _token_volume(spec: Obj) -> None:
    boxes = [
        box
        for key in ("initContainers", "containers")
        for box in spec.get(key) or []
        if not any(m.get("mountPath") == TOKEN_PATH for m in box.get("volumeMounts") or [])
    ]
    if not boxes:
        return
    name = "kube-api-access-" + "".join(random.choices("bcdfghjklmnpqrstvwxz2456789", k=5))
    sources: list[Any] = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                ]
            }
        },
    ]
    spec.setdefault("volumes", []).append({"name": name, "projected": {"sources": sources}})
    for box in boxes:
        box.setdefault("volumeMounts", []).append({"name": name, "readOnly": True, "mountPath": TOKEN_PATH})


def _priority(store: Store, obj: Obj) -> None:
    spec = obj["spec"]
    name = spec.get("priorityClassName")
    if name:
        record = store.get("priorityclasses.scheduling.k8s.io", ("", name))
        if record is None:
            text = f"no PriorityClass with name {name} was found"
            raise statuses.forbidden("pods", "", obj["metadata"].get("name", ""), text)
        found = record.obj
    else:
        classes = (r.obj for r in store.each("priorityclasses.scheduling.k8s.io"))
        found = next((c for c in classes if c.get("globalDefault")), {})
        if found:
            spec["priorityClassName"] = found["metadata"]["name"]
    spec["priority"] = found.get("value", 0)
    spec.setdefault("preemptionPolicy", found.get("preemptionPolicy", "PreemptLowerPriority"))


def _tolerations(spec: Obj) -> None:
    given = spec.get("tolerations") or []

    def tolerated(key: str) -> bool:
        return any(t.get("key", key) == key and t.get("effect", "NoExecute") == "NoExecute" for t in given)

    added = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for key in SETTLED_TOLERATIONS
        if not tolerated(key)
    ]
    if given or added:
        spec["tolerations"] = [*given, *added]


def _limits(store: Store, obj: Obj, namespace: str) -> None:
    """Defaults of LimitRanges for containers that name no amounts."""
    for record in store.each("limitranges", namespace):
        for item in (record.obj.get("spec") or {}).get("limits") or []:
            if item.get("type") != "Container":
                continue
            for box in obj["spec"].get("containers") or []:
                resources = box.setdefault("resources", {})
                for part, source in (("limits", "default"), ("requests", "defaultRequest")):
                    for name, amount in (item.get(source) or {}).items():
                        resources.setdefault(part, {}).setdefault(name, amount)
