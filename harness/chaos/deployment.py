"""Deploy the reverter: its objects as data, put into a cluster, tested and removed again.

`harness reverter manifest` prints them (deploy/reverter.yaml is its output), `install` applies them, `status` asks whether it answers.
Image, pull policy and where it runs are given; its rights are what undoing takes, and no more.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness import __version__
from harness.chaos.faults.fault import MANAGED_BY
from harness.chaos.faults.workers import REVERTER_LABELS
from harness.chaos.reverter import ANSWER_ANNOTATION, NEEDS_ANNOTATION, TEST_LABEL
from harness.cluster import Cluster, Conflict, Object, name_of
from harness.cluster.kinds import KINDS, annotations_of
from harness.errors import HarnessError, TargetError
from harness.target import Target

NAME = "focus-harness-reverter"
IMAGE = "focus-harness:0.1.0"
ANSWER_S = 15.0
INSTALL_S = 90.0
CORE, APPS, BATCH, RBAC = "", "apps", "batch", "rbac.authorization.k8s.io"
EVERYWHERE = (
    (CORE, ("nodes",), ("get", "patch")),
    (CORE, ("events",), ("create",)),
    (RBAC, ("clusterrolebindings",), ("get", "patch")),
    (RBAC, ("clusterroles",), ("bind",)),
)
IN_THE_SYSTEM = (
    (CORE, ("pods",), ("get", "list", "patch", "delete")),
    (CORE, ("services",), ("get", "patch")),
    (CORE, ("configmaps",), ("list", "delete")),
    (APPS, ("deployments", "statefulsets"), ("get", "patch")),
    (BATCH, ("jobs",), ("list", "delete")),
    ("networking.k8s.io", ("networkpolicies",), ("list", "delete")),
    (RBAC, ("rolebindings",), ("get", "patch")),
    (RBAC, ("roles",), ("bind",)),
)
IN_OURS = (
    (CORE, ("pods",), ("list", "delete")),
    (CORE, ("configmaps",), ("list", "delete")),
    ("coordination.k8s.io", ("leases",), ("get", "list", "patch")),
)
Rules = Sequence[tuple[str, Sequence[str], Sequence[str]]]


def reverter_objects(
    namespace: str = "focus-harness",
    system_namespace: str = "panda",
    image: str = IMAGE,
    pull_policy: str = "IfNotPresent",
    node_selector: Mapping[str, str] | None = None,
) -> list[tuple[str, Object]]:
    """Return (kind in the plural, object) of everything the reverter needs, in the order of creation."""
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
    objects: list[tuple[str, Object]] = [
        ("namespaces", {"metadata": {"name": namespace, "labels": MANAGED_BY}}),
        ("serviceaccounts", {"metadata": _metadata(namespace)}),
        ("clusterroles", {"metadata": _metadata(), "rules": _rules(EVERYWHERE)}),
        ("clusterrolebindings", _binding("ClusterRole", subject)),
    ]
    for where, rules in ((system_namespace, IN_THE_SYSTEM), (namespace, IN_OURS)):
        objects.append(("roles", {"metadata": _metadata(where), "rules": _rules(rules)}))
        objects.append(("rolebindings", _binding("Role", subject, where)))
    objects.append(("deployments", _deployment(namespace, image, pull_policy, dict(node_selector or {}))))
    return [
        (kind, {"apiVersion": KINDS[kind].api_version, "kind": KINDS[kind].name, **obj})
        for kind, obj in objects
    ]


def _metadata(namespace: str | None = None) -> Object:
    labels = {"app.kubernetes.io/part-of": "focus-harness", **REVERTER_LABELS}
    return {"name": NAME, **({"namespace": namespace} if namespace else {}), "labels": labels}


def _rules(rules: Rules) -> list[dict[str, Any]]:
    return [
        {"apiGroups": [group], "resources": list(kinds), "verbs": list(verbs)}
        for group, kinds, verbs in rules
    ]


def _binding(role_kind: str, subject: Object, namespace: str | None = None) -> Object:
    role = {"apiGroup": RBAC, "kind": role_kind, "name": NAME}
    return {"metadata": _metadata(namespace), "roleRef": role, "subjects": [subject]}


def _deployment(namespace: str, image: str, pull_policy: str, node_selector: Mapping[str, str]) -> Object:
    container = {
        "name": "reverter",
        "image": image,
        "imagePullPolicy": pull_policy,
        "args": ["reverter", "run", "--namespace", namespace],
        "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": False,
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec: Object = {
        "serviceAccountName": NAME,
        "terminationGracePeriodSeconds": 5,
        "tolerations": [{"operator": "Exists"}],  # a cordoned or NotReady node is just when it is needed
        "containers": [container],
    }
    if node_selector:
        spec["nodeSelector"] = dict(node_selector)
    else:
        control_plane = {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}
        preferred = {"weight": 100, "preference": {"matchExpressions": [control_plane]}}
        spec["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}}
    return {
        "metadata": _metadata(namespace),
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": REVERTER_LABELS},
            "template": {"metadata": {"labels": REVERTER_LABELS}, "spec": spec},
        },
    }


def install(cluster: Cluster, objects: Sequence[tuple[str, Object]]) -> None:
    """Create the objects, or bring those that exist up to date."""
    for kind, obj in objects:
        namespace = obj["metadata"].get("namespace")
        body = {key: value for key, value in obj.items() if key not in {"apiVersion", "kind"}}
        try:
            cluster.create(kind, body, namespace)
        except Conflict:
            patch = {key: value for key, value in body.items() if key != "roleRef"}
            cluster.patch(kind, name_of(obj), patch, namespace)


def uninstall(cluster: Cluster, objects: Sequence[tuple[str, Object]]) -> None:
    """Delete the objects, newest first; the namespace stays, because lock and entries live there."""
    for kind, obj in reversed(objects):
        if kind != "namespaces":
            cluster.delete(kind, name_of(obj), obj["metadata"].get("namespace"), propagation="Background")


def await_answer(
    cluster: Cluster,
    outside: Sequence[str] = (),
    within_s: float = ANSWER_S,
    progress: Callable[[], object] = lambda: None,
) -> str:
    """Have the reverter find out that a test Lease is not renewed; return its version. `progress` is called meanwhile.

    Raises TargetError if it does not answer within `within_s`, is of another version, or cannot load the faults from outside.
    """
    namespace = cluster.harness_namespace
    cluster.ensure_harness_namespace()
    name = f"test-{secrets.token_hex(4)}"
    annotations = {NEEDS_ANNOTATION: json.dumps(list(outside))}
    metadata = {"name": name, "labels": {TEST_LABEL: "true", **MANAGED_BY}, "annotations": annotations}
    cluster.create("leases", {"metadata": metadata, "spec": {"leaseDurationSeconds": 1}}, namespace)
    until = time.monotonic() + within_s
    try:
        while time.monotonic() < until:
            answer = annotations_of(cluster.get("leases", name, namespace)).get(ANSWER_ANNOTATION, "")
            version = answer.removeprefix("ok ")
            if answer.startswith("ok") and version != __version__:
                raise TargetError(
                    f"the reverter in {namespace} is of version {version}, this harness of {__version__}: it might not be able "
                    "to read the undo entries; install this one's: harness reverter install"
                )
            if answer.startswith("ok"):
                return version
            if answer:
                raise TargetError(
                    f"the reverter in {namespace} cannot undo what this campaign does: {answer}"
                )
            progress()
            time.sleep(0.2)
    finally:
        try:
            cluster.delete("leases", name, namespace)
        except HarnessError:
            pass  # the answer matters more
    raise TargetError(
        f"no reverter answers in {namespace}: nobody would undo faults if this machine were lost; install it with "
        "`harness reverter install`, or play with --guard-only (which the report says on top)"
    )


def require_reverter(target: Target, cluster: Cluster, progress: Callable[[], object] = lambda: None) -> str:
    """Return the version of the reverter that answers; raises TargetError if none does. On the sandbox none is needed."""
    if target.is_sandbox:
        return ""
    return await_answer(cluster, target.faults, progress=progress)
