"""Who may do what in a new sandbox: service accounts, roles and bindings of the pods.

Used by `manifests.apply`. Focus Server may read nodes and pods and make jobs and services; a cleanup pod may read
and delete them; every pod of the namespace may look up services, which stands for DNS. Nothing else is granted.
"""

from __future__ import annotations

from typing import Any

from harness.sandbox.settings import Settings

Obj = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"
READ = ["get", "list", "watch"]
CLEANUP_ACCOUNT = "cleanup-sa"


def access_objects(settings: Settings) -> list[tuple[str, Obj]]:
    """Return the objects in the order of their creation."""
    namespace, focus = settings.namespace, settings.focus_name
    accounts = [(focus, focus), ("cleanup", CLEANUP_ACCOUNT)]
    objects: list[tuple[str, Obj]] = [
        ("serviceaccounts", _meta("v1", "ServiceAccount", account, namespace)) for _, account in accounts
    ]
    roles = {
        focus: [
            _rule("batch", ["jobs"], [*READ, "create", "delete"]),
            _rule("", ["services"], [*READ, "create", "delete"]),
            _rule("", ["configmaps"], ["get"]),
        ],
        "cleanup": [
            _rule("batch", ["jobs"], [*READ, "delete"]),
            _rule("", ["services"], [*READ, "delete"]),
            _rule("", ["pods"], READ),
            _rule("metrics.k8s.io", ["pods"], ["get", "list"]),
        ],
    }
    for role, account in accounts:
        objects.append(
            (f"roles.{RBAC}", _meta(f"{RBAC}/v1", "Role", role, namespace) | {"rules": roles[role]})
        )
        objects.append(
            (f"rolebindings.{RBAC}", _binding("Role", role, namespace, _account(account, namespace)))
        )
    objects.append(
        (
            f"roles.{RBAC}",
            _meta(f"{RBAC}/v1", "Role", "service-lookup", namespace)
            | {"rules": [_rule("", ["services"], ["get"])]},
        )
    )
    everyone = {
        "kind": "Group",
        "name": f"system:serviceaccounts:{namespace}",
        "apiGroup": RBAC,
    }
    objects.append((f"rolebindings.{RBAC}", _binding("Role", "service-lookup", namespace, everyone)))
    objects.append(
        (
            f"clusterroles.{RBAC}",
            _meta(f"{RBAC}/v1", "ClusterRole", focus) | {"rules": [_rule("", ["nodes", "pods"], READ)]},
        )
    )
    objects.append(
        (f"clusterrolebindings.{RBAC}", _binding("ClusterRole", focus, None, _account(focus, namespace)))
    )
    return objects


def _rule(group: str, resources: list[str], verbs: list[str]) -> Obj:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _account(name: str, namespace: str) -> Obj:
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def _binding(kind: str, role: str, namespace: str | None, subject: Obj) -> Obj:
    made = "ClusterRoleBinding" if namespace is None else "RoleBinding"
    return _meta(f"{RBAC}/v1", made, role, namespace) | {
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
        "subjects": [subject],
    }


def _meta(version: str, kind: str, name: str, namespace: str | None = None) -> Obj:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}
