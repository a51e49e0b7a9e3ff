"""The resources the sandbox serves, as a table: names, scope, verbs, subresources, selectable fields, behaviour.

Read by discovery, routing, OpenAPI, verbs and tables. What a kind's defaults and rules are is in `defaults` and
`validation`, keyed by kind. A kind that is not here does not exist for clients (404).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.sandbox.controlplane.statuses import qualified

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
READ_WRITE = ("get", "patch", "update")


@dataclass(frozen=True)
class Subresource:
    """One subresource: its verbs and, where it is of another kind, that kind."""

    name: str
    verbs: tuple[str, ...]
    kind: str = ""
    group: str = ""
    version: str = ""


STATUS = Subresource("status", READ_WRITE)
SCALE = Subresource("scale", READ_WRITE, "Scale", "autoscaling", "v1")


@dataclass(frozen=True)
class Resource:
    """One row: `type_name` is the type in the field table, `stored_as` the shelf (another resource's, for views)."""

    plural: str
    kind: str
    type_name: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    generation: bool = False  # whether metadata.generation counts changes of the spec
    returns_deleted: bool = False  # whether deleting answers with the object instead of a Status
    orphans: bool = False  # whether dependents stay when nobody says otherwise
    label_style: str = ""  # how an unsupported field label is refused: "plain", "kind" or the general way
    selectable: Mapping[str, str] = field(default_factory=dict)  # field label to path, beside metadata.*
    name_rule: str = "subdomain"  # subdomain, label, label1035, path
    upsert: bool = False  # whether a PUT creates what is missing
    stored_as: str = ""

    @property
    def key(self) -> str:
        """Plural with group, as everybody names the resource."""
        return qualified(self.plural, self.group)

    @property
    def shelf(self) -> str:
        """Where its objects are kept."""
        return self.stored_as or self.key

    @property
    def api_version(self) -> str:
        """What objects carry as apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        """The kind in lower case."""
        return self.kind.lower()

    @property
    def stored(self) -> bool:
        """Whether objects of it are kept at all (reviews are only answered)."""
        return "get" in self.verbs

    def sub(self, name: str) -> Subresource | None:
        """A subresource by name."""
        return next((s for s in self.subresources if s.name == name), None)


def _same(*labels: str) -> dict[str, str]:
    return {label: label for label in labels}


POD_FIELDS = _same(
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
)
EVENT_FIELDS = {
    **{
        f"involvedObject.{part}": f"involvedObject.{part}"
        for part in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    },
    "reason": "reason",
    "reportingComponent": "reportingComponent",
    "source": "source.component",
    "type": "type",
}
NEW_EVENT_FIELDS = {
    label.replace("involvedObject", "regarding"): path for label, path in EVENT_FIELDS.items()
}

CORE = (
    Resource("bindings", "Binding", "Binding", verbs=("create",)),
    Resource("configmaps", "ConfigMap", "ConfigMap", short=("cm",)),
    Resource("endpoints", "Endpoints", "Endpoints", short=("ep",)),
    Resource("events", "Event", "CoreEvent", short=("ev",), selectable=EVENT_FIELDS, label_style="plain"),
    Resource("limitranges", "LimitRange", "LimitRange", short=("limits",)),
    Resource(
        "namespaces",
        "Namespace",
        "Namespace",
        namespaced=False,
        verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
        subresources=(Subresource("finalize", ("update",)), STATUS),
        short=("ns",),
        selectable=_same("status.phase"),
        label_style="plain",
        returns_deleted=True,
        name_rule="label",
    ),
    Resource(
        "nodes",
        "Node",
        "Node",
        namespaced=False,
        subresources=(STATUS,),
        short=("no",),
        selectable=_same("spec.unschedulable"),
        label_style="plain",
    ),
    Resource(
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        "PersistentVolumeClaim",
        subresources=(STATUS,),
        short=("pvc",),
        returns_deleted=True,
    ),
    Resource(
        "persistentvolumes",
        "PersistentVolume",
        "PersistentVolume",
        namespaced=False,
        subresources=(STATUS,),
        short=("pv",),
        returns_deleted=True,
    ),
    Resource(
        "pods",
        "Pod",
        "Pod",
        subresources=(
            Subresource("attach", ("create", "get"), "PodAttachOptions"),
            Subresource("binding", ("create",), "Binding"),
            Subresource("eviction", ("create",), "Eviction", "policy", "v1"),
            Subresource("exec", ("create", "get"), "PodExecOptions"),
            Subresource("log", ("get",)),
            STATUS,
        ),
        short=("po",),
        categories=("all",),
        generation=True,
        returns_deleted=True,
        selectable=POD_FIELDS,
        label_style="plain",
    ),
    Resource(
        "resourcequotas",
        "ResourceQuota",
        "ResourceQuota",
        subresources=(STATUS,),
        short=("quota",),
        returns_deleted=True,
    ),
    Resource("secrets", "Secret", "Secret", selectable=_same("type"), label_style="plain"),
    Resource(
        "serviceaccounts",
        "ServiceAccount",
        "ServiceAccount",
        subresources=(Subresource("token", ("create",), "TokenRequest", "authentication.k8s.io", "v1"),),
        short=("sa",),
        returns_deleted=True,
    ),
    Resource(
        "services",
        "Service",
        "Service",
        subresources=(STATUS,),
        short=("svc",),
        categories=("all",),
        returns_deleted=True,
        selectable=_same("spec.clusterIP", "spec.type"),
        label_style="plain",
        name_rule="label1035",
    ),
)

APPS = (
    Resource("controllerrevisions", "ControllerRevision", "ControllerRevision", "apps"),
    *(
        Resource(
            plural,
            kind,
            kind,
            "apps",
            subresources=(SCALE, STATUS),
            short=short,
            categories=("all",),
            generation=True,
            selectable=selectable,
            label_style="kind",
        )
        for plural, kind, short, selectable in (
            ("deployments", "Deployment", ("deploy",), {}),
            ("replicasets", "ReplicaSet", ("rs",), _same("status.replicas")),
            ("statefulsets", "StatefulSet", ("sts",), {}),
        )
    ),
)

RBAC = "rbac.authorization.k8s.io"
ACCESS = "authorization.k8s.io"
IDENTITY = "authentication.k8s.io"
METRICS = "metrics.k8s.io"

OTHERS = (
    Resource(
        "jobs",
        "Job",
        "Job",
        "batch",
        subresources=(STATUS,),
        categories=("all",),
        generation=True,
        orphans=True,
        selectable={"status.successful": "status.succeeded"},
        label_style="kind",
    ),
    Resource("leases", "Lease", "Lease", "coordination.k8s.io"),
    Resource("endpointslices", "EndpointSlice", "EndpointSlice", "discovery.k8s.io", generation=True),
    Resource(
        "events",
        "Event",
        "EventsEvent",
        "events.k8s.io",
        short=("ev",),
        selectable=NEW_EVENT_FIELDS,
        label_style="plain",
        stored_as="events",
    ),
    Resource(
        "networkpolicies",
        "NetworkPolicy",
        "NetworkPolicy",
        "networking.k8s.io",
        short=("netpol",),
        generation=True,
    ),
    Resource(
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        "PodDisruptionBudget",
        "policy",
        subresources=(STATUS,),
        short=("pdb",),
        generation=True,
    ),
    Resource("roles", "Role", "Role", RBAC, name_rule="path"),
    Resource("rolebindings", "RoleBinding", "RoleBinding", RBAC, name_rule="path"),
    Resource("clusterroles", "ClusterRole", "ClusterRole", RBAC, namespaced=False, name_rule="path"),
    Resource(
        "clusterrolebindings",
        "ClusterRoleBinding",
        "ClusterRoleBinding",
        RBAC,
        namespaced=False,
        name_rule="path",
    ),
    Resource(
        "priorityclasses",
        "PriorityClass",
        "PriorityClass",
        "scheduling.k8s.io",
        namespaced=False,
        short=("pc",),
        generation=True,
    ),
    Resource(
        "storageclasses",
        "StorageClass",
        "StorageClass",
        "storage.k8s.io",
        namespaced=False,
        short=("sc",),
        returns_deleted=True,
    ),
    Resource("pods", "PodMetrics", "PodMetrics", METRICS, "v1beta1", verbs=("get", "list"), upsert=True),
    Resource(
        "nodes",
        "NodeMetrics",
        "NodeMetrics",
        METRICS,
        "v1beta1",
        namespaced=False,
        verbs=("get", "list"),
        upsert=True,
    ),
    *(
        Resource(plural, kind, kind_type, group, namespaced=namespaced, verbs=("create",))
        for plural, kind, kind_type, group, namespaced in (
            ("selfsubjectreviews", "SelfSubjectReview", "SelfSubjectReview", IDENTITY, False),
            ("tokenreviews", "TokenReview", "TokenReview", IDENTITY, False),
            (
                "localsubjectaccessreviews",
                "LocalSubjectAccessReview",
                "LocalSubjectAccessReview",
                ACCESS,
                True,
            ),
            ("selfsubjectaccessreviews", "SelfSubjectAccessReview", "SelfSubjectAccessReview", ACCESS, False),
            ("selfsubjectrulesreviews", "SelfSubjectRulesReview", "SelfSubjectRulesReview", ACCESS, False),
            ("subjectaccessreviews", "SubjectAccessReview", "SubjectAccessReview", ACCESS, False),
        )
    ),
)

RESOURCES: tuple[Resource, ...] = CORE + APPS + OTHERS
BY_KEY: Mapping[str, Resource] = {resource.key: resource for resource in RESOURCES}
BY_KIND: Mapping[tuple[str, str], Resource] = {(r.group, r.kind): r for r in RESOURCES}
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(r.group for r in RESOURCES if r.group))


def versions_of(group: str) -> tuple[str, ...]:
    """The versions of a group that are served."""
    return tuple(dict.fromkeys(r.version for r in RESOURCES if r.group == group))


def members(group: str, version: str) -> tuple[Resource, ...]:
    """The resources of a group and version, by name."""
    found = (r for r in RESOURCES if (r.group, r.version) == (group, version))
    return tuple(sorted(found, key=lambda r: r.plural))
