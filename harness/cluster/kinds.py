"""Which path of the API a kind of object lives under, and small readings of an object's JSON.

Called by everything in this package and by faults and watchers. Pure: it looks at values it is given.
"""

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
"""One Kubernetes object (or a part of it) as JSON; its schema is Kubernetes' business, not ours."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Where objects of one kind are found: API prefix, plural, and whether they live in a namespace."""

    name: str
    prefix: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """Return the `apiVersion` of the kind's objects."""
        return self.prefix.split("/", 2)[2]

    @property
    def group(self) -> str:
        """Return the API group, empty for the core one."""
        return self.prefix.split("/")[2] if self.prefix.startswith("/apis/") else ""

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of the collection, an object or its subresource."""
        parts = [self.prefix]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


_CORE, _APPS, _BATCH = "/api/v1", "/apis/apps/v1", "/apis/batch/v1"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"

KINDS: dict[str, Kind] = {
    kind.plural: kind
    for kind in (
        Kind("Namespace", _CORE, "namespaces", namespaced=False),
        Kind("Node", _CORE, "nodes", namespaced=False),
        Kind("Pod", _CORE, "pods"),
        Kind("Service", _CORE, "services"),
        Kind("Endpoints", _CORE, "endpoints"),
        Kind("ConfigMap", _CORE, "configmaps"),
        Kind("Secret", _CORE, "secrets"),
        Kind("Event", _CORE, "events"),
        Kind("ServiceAccount", _CORE, "serviceaccounts"),
        Kind("ResourceQuota", _CORE, "resourcequotas"),
        Kind("Deployment", _APPS, "deployments"),
        Kind("ReplicaSet", _APPS, "replicasets"),
        Kind("StatefulSet", _APPS, "statefulsets"),
        Kind("Job", _BATCH, "jobs"),
        Kind("EndpointSlice", "/apis/discovery.k8s.io/v1", "endpointslices"),
        Kind("HorizontalPodAutoscaler", "/apis/autoscaling/v2", "horizontalpodautoscalers"),
        Kind("Lease", "/apis/coordination.k8s.io/v1", "leases"),
        Kind("PodDisruptionBudget", "/apis/policy/v1", "poddisruptionbudgets"),
        Kind("NetworkPolicy", "/apis/networking.k8s.io/v1", "networkpolicies"),
        Kind("Role", _RBAC, "roles"),
        Kind("RoleBinding", _RBAC, "rolebindings"),
        Kind("ClusterRole", _RBAC, "clusterroles", namespaced=False),
        Kind("ClusterRoleBinding", _RBAC, "clusterrolebindings", namespaced=False),
        Kind(
            "SelfSubjectAccessReview",
            "/apis/authorization.k8s.io/v1",
            "selfsubjectaccessreviews",
            namespaced=False,
        ),
        Kind(
            "SubjectAccessReview", "/apis/authorization.k8s.io/v1", "subjectaccessreviews", namespaced=False
        ),
        Kind("LocalSubjectAccessReview", "/apis/authorization.k8s.io/v1", "localsubjectaccessreviews"),
        Kind("SelfSubjectReview", "/apis/authentication.k8s.io/v1", "selfsubjectreviews", namespaced=False),
    )
}
METRICS = "pods.metrics.k8s.io"
"""What pods use at the moment, where a metrics server is installed; pods themselves are `pods`."""
KINDS[METRICS] = Kind("PodMetrics", "/apis/metrics.k8s.io/v1beta1", "pods")


def name_of(obj: Object) -> str:
    """Return the object's name."""
    return str(obj["metadata"]["name"])


def uid_of(obj: Object) -> str:
    """Return the object's uid, empty if it has none."""
    return str(obj["metadata"].get("uid", ""))


def version_of(obj: Object) -> str:
    """Return the object's (or list's) resourceVersion, empty if it has none."""
    return str(obj.get("metadata", {}).get("resourceVersion", ""))


def labels_of(obj: Object) -> dict[str, str]:
    """Return the object's labels."""
    return dict(obj["metadata"].get("labels") or {})


def annotations_of(obj: Object) -> dict[str, str]:
    """Return the object's annotations."""
    return dict(obj["metadata"].get("annotations") or {})


def condition(obj: Object, kind: str) -> str:
    """Return the status of condition `kind` (`True`, `False`, `Unknown`), or `Unknown` if it is absent."""
    for item in obj.get("status", {}).get("conditions") or ():
        if item.get("type") == kind:
            return str(item.get("status", "Unknown"))
    return "Unknown"


def is_ready(obj: Object) -> bool:
    """Say whether a node's or pod's Ready condition is True."""
    return condition(obj, "Ready") == "True"


def gpu_request(pod: Object, resource: str) -> int:
    """Return how many units of `resource` the pod's containers hold as limits."""
    containers = pod.get("spec", {}).get("containers") or ()
    limits = ((container.get("resources") or {}).get("limits") or {} for container in containers)
    return sum(int(limit.get(resource, 0)) for limit in limits)


def holds_resources(pod: Object) -> bool:
    """Say whether the pod still counts against its node: placed, and neither succeeded nor failed."""
    return bool(pod.get("spec", {}).get("nodeName")) and pod.get("status", {}).get("phase") not in {
        "Succeeded",
        "Failed",
    }
