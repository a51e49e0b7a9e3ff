"""Makes the control plane's table of field names and types from the models of the official Python client.

The sandbox may not import the client, so the table is data in the sandbox; a test holds the two together.
Run it to write the table anew after a newer client was pinned: `python tests/contract/field_table.py`.
"""

import json
import re
from pathlib import Path

from kubernetes.client import models

TABLE = Path(__file__).parents[2] / "harness/sandbox/controlplane/fields.json"

ROOTS = [
    "V1Pod",
    "V1Node",
    "V1Namespace",
    "V1Service",
    "V1Endpoints",
    "V1ConfigMap",
    "V1Secret",
    "CoreV1Event",
    "EventsV1Event",
    "V1ServiceAccount",
    "V1ResourceQuota",
    "V1LimitRange",
    "V1PersistentVolumeClaim",
    "V1PersistentVolume",
    "V1Binding",
    "V1Deployment",
    "V1ReplicaSet",
    "V1StatefulSet",
    "V1ControllerRevision",
    "V1Job",
    "V1Scale",
    "V1Lease",
    "V1EndpointSlice",
    "V1PodDisruptionBudget",
    "V1Eviction",
    "V1NetworkPolicy",
    "V1Role",
    "V1RoleBinding",
    "V1ClusterRole",
    "V1ClusterRoleBinding",
    "V1PriorityClass",
    "V1StorageClass",
    "AuthenticationV1TokenRequest",
    "V1TokenReview",
    "V1SelfSubjectReview",
    "V1SubjectAccessReview",
    "V1LocalSubjectAccessReview",
    "V1SelfSubjectAccessReview",
    "V1SelfSubjectRulesReview",
    "V1DeleteOptions",
]

SCALARS = {
    "str": "string",
    "int": "int",
    "bool": "bool",
    "float": "number",
    "bytes": "bytes",
    "bytearray": "bytes",
    "datetime": "time",
    "object": "any",
}
QUANTITIES = {
    ("ResourceRequirements", "limits"),
    ("ResourceRequirements", "requests"),
    ("VolumeResourceRequirements", "limits"),
    ("VolumeResourceRequirements", "requests"),
    ("NodeStatus", "capacity"),
    ("NodeStatus", "allocatable"),
    ("PodSpec", "overhead"),
    ("ContainerStatus", "allocatedResources"),
    ("PodStatus", "allocatedResources"),
    ("ResourceQuotaSpec", "hard"),
    ("ResourceQuotaStatus", "hard"),
    ("ResourceQuotaStatus", "used"),
    ("PersistentVolumeSpec", "capacity"),
    ("PersistentVolumeClaimStatus", "capacity"),
    ("PersistentVolumeClaimStatus", "allocatedResources"),
    ("EmptyDirVolumeSource", "sizeLimit"),
    ("ResourceFieldSelector", "divisor"),
    ("LimitRangeItem", "default"),
    ("LimitRangeItem", "defaultRequest"),
    ("LimitRangeItem", "max"),
    ("LimitRangeItem", "maxLimitRequestRatio"),
    ("LimitRangeItem", "min"),
}
INT_OR_STRING = {
    ("ServicePort", "targetPort"),
    ("HTTPGetAction", "port"),
    ("TCPSocketAction", "port"),
    ("RollingUpdateDeployment", "maxSurge"),
    ("RollingUpdateDeployment", "maxUnavailable"),
    ("RollingUpdateStatefulSetStrategy", "maxUnavailable"),
    ("PodDisruptionBudgetSpec", "minAvailable"),
    ("PodDisruptionBudgetSpec", "maxUnavailable"),
    ("NetworkPolicyPort", "port"),
}


def short(model: str) -> str:
    """The table's name of a client model: without the version."""
    return re.sub(r"^(Core|Events|Authentication|Discovery|Storage|Flowcontrol)?V1", r"\1", model)


def field_type(owner: str, field: str, declared: str) -> tuple[str, str | None]:
    """The table's word for a declared type, and the model it leads to."""
    if (owner, field) in INT_OR_STRING:
        return "intorstring", None
    listed = re.fullmatch(r"List\[(.*)\]", declared)
    if listed:
        inner, model = field_type(owner, "", listed[1])
        return f"[{inner}]", model
    mapped = re.fullmatch(r"Dict\[str, (.*)\]", declared)
    if mapped:
        inner, model = field_type(owner, "", mapped[1])
        return ("{quantity}" if (owner, field) in QUANTITIES else f"{{{inner}}}"), model
    if (owner, field) in QUANTITIES:
        return "quantity", None
    if declared in SCALARS:
        return SCALARS[declared], None
    return short(declared), declared


def build() -> dict[str, dict[str, str]]:
    """Every type reachable from the roots: field name to type; a "!" marks a plain value that is always there."""
    table: dict[str, dict[str, str]] = {}
    todo = list(ROOTS)
    while todo:
        model = todo.pop()
        name = short(model)
        if name in table:
            continue
        declared = getattr(models, model)
        names = declared.attribute_map
        always = {
            names.get(key, info.alias or key)
            for key, info in declared.model_fields.items()
            if info.is_required()
        }
        table[name] = {}
        for attribute, kind in declared.openapi_types.items():
            field = declared.attribute_map[attribute]
            word, found = field_type(name, field, kind)
            required = field in always
            table[name][field] = word + "!" if required and word in ("string", "int", "bool") else word
            if found:
                todo.append(found)
    return {name: table[name] for name in sorted(table)}


def text(table: dict[str, dict[str, str]]) -> str:
    """The file: one line per type."""
    lines = [f" {json.dumps(name)}: {json.dumps(fields, sort_keys=True)}" for name, fields in table.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    TABLE.write_text(text(build()))
