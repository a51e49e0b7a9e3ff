"""restore-binding: put Focus Server's service account back into the bindings that are its own by name.

A binding is its own if it, or the role it grants, is called like the account or the workload, if it names no account of another namespace,
and if no other one grants that role to the account; which others it was in nobody can tell.
A role of that name without a binding gets one. A binding that a fault of ours has changed is the business of `undo-sweep`.
"""

from typing import Any

from harness.cluster import Object, name_of
from harness.doctor.remedies.plan import Plan, Refusal, Remedy, Touch, kubectl, patching
from harness.doctor.sight import Sight, marked
from harness.target import RoleName

RBAC = "rbac.authorization.k8s.io"
PAIRS = (("rolebindings", "roles", "Role"), ("clusterrolebindings", "clusterroles", "ClusterRole"))


def restore(sight: Sight) -> Plan:
    """Plan for both kinds of binding."""
    account, namespace = sight.account(), sight.namespace
    own = {account, sight.role(RoleName.FOCUS_SERVER).name}
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    touches: list[Touch] = []
    refused: list[Refusal] = []
    for bindings, roles, role_kind in PAIRS:
        granted = set()
        held = {_role(one) for one in sight.objects(bindings) if _names(one, account, namespace)}
        for binding in sight.objects(bindings):
            if binding["roleRef"].get("kind") == role_kind:
                granted.add(binding["roleRef"]["name"])
            if not {name_of(binding), binding["roleRef"]["name"]} & own or _role(binding) in held:
                continue
            if strangers := _strangers(binding, namespace):
                refused.append(
                    Refusal(
                        f"{bindings.removesuffix('s')} {name_of(binding)}",
                        f"it is somebody else's: it names {', '.join(strangers)}",
                    )
                )
                continue
            if marked(binding):
                refused.append(
                    Refusal(
                        f"{bindings.removesuffix('s')} {name_of(binding)}",
                        "a fault of ours has changed it: harness undo --sweep takes it back",
                    )
                )
                continue
            body = {"subjects": [*(binding.get("subjects") or []), subject]}
            touches.append(patching(sight, bindings, binding, body, f"name the account {account} in it"))
        unbound = own & {name_of(role) for role in sight.objects(roles)} - granted
        touches += [_new(sight, bindings, role_kind, name, subject) for name in sorted(unbound)]
    notes = (
        ()
        if touches or refused
        else (
            f"every binding called like {' or '.join(sorted(own))} names the account: which right is missing is told by: "
            + kubectl(sight, "auth", "can-i", "--list", f"--as=system:serviceaccount:{namespace}:{account}"),
        )
    )
    return Plan(tuple(touches), tuple(refused), notes, wait_s=5)


def _role(binding: Object) -> tuple[str, str]:
    return str(binding["roleRef"].get("kind")), str(binding["roleRef"]["name"])


def _strangers(binding: Object, namespace: str) -> list[str]:
    """Return the service accounts of other namespaces that a binding names."""
    return [
        f"{one['namespace']}/{one.get('name')}"
        for one in binding.get("subjects") or ()
        if one.get("kind") == "ServiceAccount" and one.get("namespace", namespace) != namespace
    ]


def _names(binding: Object, account: str, namespace: str) -> bool:
    return any(
        (one.get("kind"), one.get("name"), one.get("namespace", namespace))
        == ("ServiceAccount", account, namespace)
        for one in binding.get("subjects") or ()
    )


def _new(sight: Sight, kind: str, role_kind: str, name: str, subject: dict[str, Any]) -> Touch:
    inside = kind == "rolebindings"
    namespace = sight.namespace if inside else ""
    words = (
        "create",
        kind.removesuffix("s"),
        name,
        f"--{role_kind.lower()}={name}",
        f"--serviceaccount={subject['namespace']}:{subject['name']}",
    )
    body = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": role_kind, "name": name},
        "subjects": [subject],
    }
    line = kubectl(sight, *words, namespace=namespace)
    return Touch(
        "create", kind, name, f"the {role_kind} {name} is bound to nobody", line, namespace, body=body
    )


REMEDIES = (
    Remedy(
        "restore-binding",
        "put Focus Server's service account back into its bindings",
        ("focus-rights",),
        restore,
        30,
    ),
)
