"""What a fresh cluster has before anybody asks: namespaces, roles and bindings, priority classes, its own Service.

Called once when the control plane starts. Also the small world of `--world conformance`: one ready node that no
kubelet stands behind, so that the API can be tried alone.
"""

from contextlib import suppress
from pathlib import Path

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controlplane.resources import ALL_VERBS, BY_KEY
from harness.sandbox.controlplane.store import Change
from harness.sandbox.controlplane.verbs import Ask, Verbs, now

ASK = Ask(manager="control-plane")
RBAC = "rbac.authorization.k8s.io"
EVERYTHING = [
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
]
READ = ["get", "list", "watch"]
WRITE = list(ALL_VERBS)
OPEN_PATHS = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
DISCOVERY = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *OPEN_PATHS]


def _rule(groups: str, resources: str, verbs: list[str]) -> Obj:
    names = ["" if group == "core" else group for group in groups.split()]
    return {"apiGroups": names, "resources": resources.split(), "verbs": verbs}


CONTENT = (
    _rule("core", "configmaps endpoints persistentvolumeclaims pods serviceaccounts services", WRITE),
    _rule(
        "apps",
        "deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale",
        WRITE,
    ),
    _rule("batch", "jobs", WRITE),
    _rule("policy", "poddisruptionbudgets", WRITE),
    _rule("networking.k8s.io", "networkpolicies", WRITE),
    _rule("coordination.k8s.io", "leases", WRITE),
)
LOOK = (
    *({**rule, "verbs": READ} for rule in CONTENT),
    _rule("core", "events limitranges namespaces pods/log pods/status resourcequotas", READ),
    _rule("core", "services/status persistentvolumeclaims/status resourcequotas/status", READ),
    _rule("apps", "controllerrevisions deployments/status replicasets/status statefulsets/status", READ),
    _rule("batch", "jobs/status", READ),
    _rule("discovery.k8s.io", "endpointslices", READ),
    _rule("policy", "poddisruptionbudgets/status", READ),
    _rule("metrics.k8s.io", "pods nodes", READ),
)
EDIT = (
    *LOOK,
    *CONTENT,
    _rule("core", "secrets", WRITE),
    _rule("core", "pods/exec pods/attach pods/eviction serviceaccounts/token", ["create", "get"]),
    _rule("core", "events", ["create", "patch", "update"]),
)
CLUSTER_ROLES: dict[str, list[Obj]] = {
    "cluster-admin": EVERYTHING,
    "admin": [
        *EDIT,
        _rule(RBAC, "roles rolebindings", WRITE),
        _rule("authorization.k8s.io", "localsubjectaccessreviews", ["create"]),
    ],
    "edit": list(EDIT),
    "view": list(LOOK),
    "system:discovery": [{"nonResourceURLs": DISCOVERY, "verbs": ["get"]}],
    "system:public-info-viewer": [{"nonResourceURLs": OPEN_PATHS, "verbs": ["get"]}],
    "system:basic-user": [
        _rule("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", ["create"]),
        _rule("authentication.k8s.io", "selfsubjectreviews", ["create"]),
    ],
    "system:node": [
        _rule("core", "configmaps secrets services endpoints persistentvolumeclaims persistentvolumes", READ),
        _rule("core", "nodes pods", ["create", "get", "list", "watch", "patch", "update", "delete"]),
        _rule("core", "nodes/status pods/status", ["patch", "update"]),
        _rule("core", "pods/eviction serviceaccounts/token", ["create"]),
        _rule("core", "serviceaccounts namespaces", READ),
        _rule("core events.k8s.io", "events", ["create", "patch", "update"]),
        _rule("discovery.k8s.io", "endpointslices", READ),
        _rule("coordination.k8s.io", "leases", ["create", "get", "patch", "update", "delete"]),
        _rule("metrics.k8s.io", "pods nodes", ["create", "get", "update", "delete"]),
        _rule("authentication.k8s.io", "tokenreviews", ["create"]),
        _rule("authorization.k8s.io", "subjectaccessreviews", ["create"]),
    ],
}
BINDINGS = (
    ("cluster-admin", "cluster-admin", "system:masters"),
    ("system:discovery", "system:discovery", "system:authenticated"),
    ("system:basic-user", "system:basic-user", "system:authenticated"),
    ("system:public-info-viewer", "system:public-info-viewer", "system:authenticated"),
    ("system:public-info-viewer", "system:public-info-viewer", "system:unauthenticated"),
    ("system:node", "system:node", "system:nodes"),
)
BOOTSTRAPPED = {"kubernetes.io/bootstrapping": "rbac-defaults"}


def _make(verbs: Verbs, key: str, obj: Obj, namespace: str = "") -> None:
    """Create what is not there yet."""
    try:
        verbs.create(BY_KEY[key], namespace, obj, ASK)
    except ApiStatus as refusal:
        if refusal.reason != "AlreadyExists":
            raise


def make(verbs: Verbs, ca: Path, host: str, port: int) -> None:
    """Make the objects every cluster has."""
    follow_namespaces(verbs, ca.read_text())
    for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
        _make(verbs, "namespaces", {"metadata": {"name": name}})
    for name, rules in CLUSTER_ROLES.items():
        _make(
            verbs,
            f"clusterroles.{RBAC}",
            {"metadata": {"name": name, "labels": dict(BOOTSTRAPPED)}, "rules": rules},
        )
    for name in dict.fromkeys(name for name, _, _ in BINDINGS):
        groups = [group for bound, _, group in BINDINGS if bound == name]
        role = next(role for bound, role, _ in BINDINGS if bound == name)
        binding = {
            "metadata": {"name": name, "labels": dict(BOOTSTRAPPED)},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": group} for group in groups],
        }
        _make(verbs, f"clusterrolebindings.{RBAC}", binding)
    for name, value in (("system-cluster-critical", 2000000000), ("system-node-critical", 2000001000)):
        _make(verbs, "priorityclasses.scheduling.k8s.io", {"metadata": {"name": name}, "value": value})
    _own_service(verbs, host, port)


def _own_service(verbs: Verbs, host: str, port: int) -> None:
    ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]
    labels = {"component": "apiserver", "provider": "kubernetes"}
    meta = {"name": "kubernetes", "labels": labels}
    _make(verbs, "services", {"metadata": dict(meta), "spec": {"ports": ports}}, "default")
    subset = {"addresses": [{"ip": host}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}
    _make(verbs, "endpoints", {"metadata": dict(meta), "subsets": [subset]}, "default")
    point = {"addresses": [host], "conditions": {"ready": True}}
    slice_ = {
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [point],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    _make(verbs, "endpointslices.discovery.k8s.io", slice_, "default")


def follow_namespaces(verbs: Verbs, ca: str) -> None:
    """Give every namespace its default service account and the CA bundle, at once when it is made."""

    def made(change: Change) -> None:
        if change.kind != "ADDED":
            return
        name = change.key[1]
        _make(verbs, "serviceaccounts", {"metadata": {"name": "default"}}, name)
        _make(verbs, "configmaps", {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": ca}}, name)

    verbs.store.shelf("namespaces").listeners.append(made)


def conformance_node(verbs: Verbs, name: str = "conformance-node") -> None:
    """One ready node with GPU shares and a lease, as a kubelet would report it."""
    amounts = {"cpu": "8", "memory": "16Gi", "pods": "110", "nvidia.com/gpu.shared": "20"}
    conditions = [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": reason,
            "lastHeartbeatTime": now(),
            "lastTransitionTime": now(),
        }
        for kind, status, reason in (
            ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            ("PIDPressure", "False", "KubeletHasSufficientPID"),
            ("Ready", "True", "KubeletReady"),
        )
    ]
    info = {
        "kubeletVersion": "v1.36.2",
        "osImage": "sandbox",
        "architecture": "amd64",
        "operatingSystem": "linux",
    }
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}]
    status = {
        "capacity": amounts,
        "allocatable": dict(amounts),
        "conditions": conditions,
        "addresses": addresses,
        "nodeInfo": info,
    }
    _make(
        verbs,
        "nodes",
        {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "status": status},
    )
    lease = {"metadata": {"name": name}, "spec": {"holderIdentity": name, "leaseDurationSeconds": 40}}
    _make(verbs, "leases.coordination.k8s.io", lease, "kube-node-lease")
    renew_lease(verbs, name)


def renew_lease(verbs: Verbs, name: str = "conformance-node") -> None:
    """Say that the node of the small world lives, as its kubelet would every ten seconds."""
    patch = {"spec": {"renewTime": now().replace("Z", ".000000Z")}}
    leases = BY_KEY["leases.coordination.k8s.io"]
    with suppress(ApiStatus):  # somebody took the lease away: then the node is not to live
        verbs.patch(leases, "kube-node-lease", name, "merge", patch, ASK)
