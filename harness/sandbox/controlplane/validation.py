"""The rules of every kind but pods: what a new object must look like and what an update may change.

Called by the verbs; returns causes in the server's order and words. Rules are looked up by kind; a kind without an
entry has only the rules of metadata.
"""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import naming, selectors
from harness.sandbox.controlplane.resources import Resource
from harness.sandbox.controlplane.statuses import (
    Cause,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
    too_long,
    unsupported,
)
from harness.sandbox.controlplane.validate_pods import (
    EFFECTS,
    PORT_TEXT,
    PROTOCOLS,
    pod_causes,
    pod_update_causes,
    port_causes,
    spec_causes,
)

IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"
DATA_LIMIT = 1024 * 1024
SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def not_negative(spec: Obj, *names: str, at: str = "spec") -> list[Cause]:
    """Causes for numbers below zero."""
    return [invalid_value(f"{at}.{n}", spec[n], NOT_NEGATIVE) for n in names if (spec.get(n) or 0) < 0]


def selector_causes(selector: Obj | None, at: str) -> list[Cause]:
    """What is wrong with a LabelSelector object."""
    causes = naming.label_causes((selector or {}).get("matchLabels") or {}, f"{at}.matchLabels")
    for i, term in enumerate((selector or {}).get("matchExpressions") or []):
        path, operator = f"{at}.matchExpressions[{i}]", term.get("operator")
        if operator in ("In", "NotIn") and not term.get("values"):
            text = "must be specified when `operator` is 'In' or 'NotIn'"
            causes.append(required(f"{path}.values", text))
        elif operator in ("Exists", "DoesNotExist") and term.get("values"):
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            causes.append(forbidden_field(f"{path}.values", text))
        elif operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            causes.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
    return causes


def data_size(obj: Obj) -> list[Cause]:
    """ConfigMaps and Secrets hold at most 1 MiB, and only proper keys."""
    causes, size = [], 0
    for part in ("data", "binaryData"):
        for key, value in (obj.get(part) or {}).items():
            size += len(value)
            if not all(c.isalnum() or c in "-_." for c in key) or len(key) > 253:
                text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                causes.append(invalid_value(f"{part}[{key}]", key, text))
    if size > DATA_LIMIT:
        causes.append(too_long("[]" if obj.get("kind") == "ConfigMap" else "data", DATA_LIMIT))
    return causes


def data_update(new: Obj, old: Obj) -> list[Cause]:
    """What was declared immutable stays."""
    causes = []
    if old.get("immutable"):
        if not new.get("immutable"):
            causes.append(forbidden_field("immutable", "field is immutable when `immutable` is set"))
        text = "field is immutable when `immutable` is set"
        causes += [
            forbidden_field(part, text) for part in ("data", "binaryData") if new.get(part) != old.get(part)
        ]
    if old.get("kind") == "Secret" and new.get("type") != old.get("type"):
        causes.append(invalid_value("type", new.get("type"), IMMUTABLE))
    return causes


def _workload(obj: Obj, policies: tuple[str, ...] = ("Always",)) -> list[Cause]:
    spec = obj["spec"]
    causes = not_negative(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    labels = spec["template"]["metadata"].get("labels") or {}
    if "selector" not in spec:
        causes.append(required("spec.selector"))
    else:
        causes += selector_causes(spec["selector"], "spec.selector")
        if not spec["selector"]:
            text = "empty selector is invalid for deployment"
            causes.append(invalid_value("spec.selector", spec["selector"], text))
        elif not causes and not selectors.from_object(spec["selector"]).holds(labels):
            text = "`selector` does not match template `labels`"
            causes.append(invalid_value("spec.template.metadata.labels", labels, text))
    causes += naming.label_causes(labels, "spec.template.labels")
    causes += spec_causes(spec["template"]["spec"], "spec.template.spec")
    policy = spec["template"]["spec"].get("restartPolicy")
    if policy not in policies:
        causes.append(unsupported("spec.template.spec.restartPolicy", policy, policies))
    return causes


def _same_fields(new: Obj, old: Obj, *names: str) -> list[Cause]:
    spec, before = new["spec"], old["spec"]
    return [
        invalid_value(f"spec.{name}", spec.get(name), IMMUTABLE)
        for name in names
        if spec.get(name) != before.get(name)
    ]


STATEFUL_CHANGEABLE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def stateful_set_update(new: Obj, old: Obj) -> list[Cause]:
    """Most of a StatefulSet's spec stays."""
    fixed = ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")
    if any(new["spec"].get(name) != old["spec"].get(name) for name in fixed):
        return [forbidden_field("spec", STATEFUL_CHANGEABLE)]
    return []


def job_causes(obj: Obj) -> list[Cause]:
    """What is wrong with a Job."""
    spec = obj["spec"]
    causes = not_negative(
        spec, "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"
    )
    if spec.get("completionMode") not in ("Indexed", "NonIndexed"):
        causes.append(
            unsupported("spec.completionMode", spec.get("completionMode"), ("Indexed", "NonIndexed"))
        )
    labels = spec["template"]["metadata"].get("labels") or {}
    causes += naming.label_causes(labels, "spec.template.labels")
    causes += spec_causes(spec["template"]["spec"], "spec.template.spec")
    policy = spec["template"]["spec"].get("restartPolicy")
    if policy == "Always":
        path = "spec.template.spec.restartPolicy"
        causes.append(
            Cause(
                path,
                "FieldValueRequired",
                'Required value: valid values: "OnFailure", "Never"',
            )
            if not policy
            else unsupported(path, policy, ("OnFailure", "Never"))
        )
    return causes


def job_update(new: Obj, old: Obj) -> list[Cause]:
    """Selector, template and completions of a Job stay; a suspended one that never ran may be re-aimed at nodes."""
    causes = []
    if new["spec"].get("completionMode") != "Indexed":
        causes += _same_fields(new, old, "completions")
    causes += _same_fields(new, old, "selector")
    free: tuple[str, ...] = ()
    if old["spec"].get("suspend") and not old.get("status", {}).get("startTime"):
        free = ("nodeSelector", "tolerations", "affinity", "schedulingGates")
    before, after = (
        {k: v for k, v in o["spec"]["template"]["spec"].items() if k not in free} for o in (old, new)
    )
    if before != after:
        causes.append(invalid_value("spec.template.spec", new["spec"]["template"], IMMUTABLE))
    return causes + _same_fields(new, old, "completionMode", "manualSelector", "podFailurePolicy")


def service_causes(obj: Obj) -> list[Cause]:
    """What is wrong with a Service."""
    spec = obj["spec"]
    kind, ports = spec.get("type"), spec.get("ports") or []
    headless = spec.get("clusterIP") == "None"
    causes: list[Cause] = []
    if not ports and kind != "ExternalName" and not headless:
        causes.append(required("spec.ports"))
    names: set[str] = set()
    numbers: set[Any] = set()
    for i, port in enumerate(ports):
        causes += _service_port(port, f"spec.ports[{i}]", len(ports) > 1, names)
        number = (port.get("protocol"), port.get("port"))
        if number in numbers:
            causes.append(
                duplicate(f"spec.ports[{i}]", {"port": port.get("port"), "protocol": port.get("protocol")})
            )
        numbers.add(number)
        if port.get("nodePort") and kind not in ("NodePort", "LoadBalancer"):
            text = "may not be used when `type` is 'ClusterIP'"
            causes.append(forbidden_field(f"spec.ports[{i}].nodePort", text))
    causes += naming.label_causes(spec.get("selector") or {}, "spec.selector")
    if spec.get("sessionAffinity") not in ("ClientIP", "None"):
        causes.append(unsupported("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None")))
    if kind not in SERVICE_TYPES:
        causes.append(unsupported("spec.type", kind, SERVICE_TYPES))
    if headless and kind in ("NodePort", "LoadBalancer"):
        text = f"may not be set to 'None' for {kind} services"
        causes.append(invalid_value("spec.clusterIPs[0]", "None", text))
    if kind == "ExternalName" and not spec.get("externalName"):
        causes.append(required("spec.externalName"))
    return causes


def _service_port(port: Obj, at: str, named: bool, names: set[str]) -> list[Cause]:
    causes = []
    if not port.get("name"):
        if named:
            causes.append(required(f"{at}.name"))
    else:
        causes += naming.name_causes("label", port["name"], f"{at}.name")
        if port["name"] in names:
            causes.append(duplicate(f"{at}.name", port["name"]))
        names.add(port["name"])
    causes += port_causes(port.get("port", 0), f"{at}.port")
    if port.get("protocol") not in PROTOCOLS:
        causes.append(unsupported(f"{at}.protocol", port.get("protocol"), PROTOCOLS))
    target = port.get("targetPort")
    if isinstance(target, int) and not 1 <= target <= 65535:
        causes.append(invalid_value(f"{at}.targetPort", target, PORT_TEXT))
    return causes


def service_update(new: Obj, old: Obj) -> list[Cause]:
    """The address of a Service stays, unless it becomes or ceases to be an ExternalName."""
    after, before = new["spec"], old["spec"]
    if "ExternalName" in (after.get("type"), before.get("type")):
        return []
    if before.get("clusterIP") and after.get("clusterIP") != before.get("clusterIP"):
        shown = after.get("clusterIPs") or [after.get("clusterIP")]
        return [invalid_value("spec.clusterIPs[0]", shown, "may not change once set")]
    return []


def node_causes(obj: Obj) -> list[Cause]:
    """What is wrong with a Node: its taints."""
    causes, seen = [], set()
    for i, taint in enumerate((obj.get("spec") or {}).get("taints") or []):
        at = f"spec.taints[{i}]"
        causes += naming.key_causes(taint.get("key", ""), f"{at}.key")
        causes += naming.label_causes({"x": taint.get("value", "")}, f"{at}.value")
        if not taint.get("effect"):
            causes.append(required(f"{at}.effect"))
        elif taint["effect"] not in EFFECTS:
            causes.append(unsupported(f"{at}.effect", taint["effect"], EFFECTS))
        pair = (taint.get("key"), taint.get("effect"))
        if pair in seen:
            text = "taints must be unique by key and effect pair"
            causes.append(Cause(at, "FieldValueDuplicate", f"Duplicate value: {text}"))
        seen.add(pair)
    return causes


def node_update(new: Obj, old: Obj) -> list[Cause]:
    """The provider's id of a Node stays."""
    before = (old.get("spec") or {}).get("providerID")
    if before and (new.get("spec") or {}).get("providerID") != before:
        return [
            forbidden_field(
                "spec.providerID", 'node updates may not change providerID except from "" to valid'
            )
        ]
    return []


def budget_causes(obj: Obj) -> list[Cause]:
    """What is wrong with a PodDisruptionBudget."""
    spec = obj.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        text = "minAvailable and maxUnavailable cannot be both set"
        return [invalid_value("spec", spec, text)]
    causes = []
    for name in ("minAvailable", "maxUnavailable"):
        value = spec.get(name)
        if isinstance(value, int) and value < 0:
            causes.append(invalid_value(f"spec.{name}", value, NOT_NEGATIVE))
        if isinstance(value, str) and not (value.endswith("%") and value[:-1].isdigit()):
            text = "a valid percent string must be a numeric string followed by an ending '%'"
            causes.append(invalid_value(f"spec.{name}", value, text))
    return causes + selector_causes(spec.get("selector"), "spec.selector")


def binding_causes(obj: Obj) -> list[Cause]:
    """What is wrong with a RoleBinding or ClusterRoleBinding."""
    ref, causes = obj.get("roleRef") or {}, []
    kinds = ("ClusterRole", "Role") if obj["metadata"].get("namespace") else ("ClusterRole",)
    if ref.get("kind") not in kinds:
        causes.append(unsupported("roleRef.kind", ref.get("kind", ""), kinds))
    if not ref.get("name"):
        causes.append(required("roleRef.name"))
    for i, subject in enumerate(obj.get("subjects") or []):
        at = f"subjects[{i}]"
        if not subject.get("name"):
            causes.append(required(f"{at}.name"))
        if subject.get("kind") not in ("ServiceAccount", "User", "Group"):
            causes.append(
                unsupported(f"{at}.kind", subject.get("kind", ""), ("ServiceAccount", "User", "Group"))
            )
        elif subject["kind"] == "ServiceAccount" and not subject.get("namespace"):
            causes.append(required(f"{at}.namespace"))
    return causes


def binding_update(new: Obj, old: Obj) -> list[Cause]:
    """The role of a binding stays."""
    if new.get("roleRef") != old.get("roleRef"):
        return [invalid_value("roleRef", new.get("roleRef"), "cannot change roleRef")]
    return []


def role_causes(obj: Obj) -> list[Cause]:
    """What is wrong with a Role or ClusterRole."""
    causes = []
    for i, rule in enumerate(obj.get("rules") or []):
        at = f"rules[{i}]"
        if not rule.get("verbs"):
            causes.append(required(f"{at}.verbs", "verbs must contain at least one value"))
        if not rule.get("nonResourceURLs"):
            if not rule.get("apiGroups"):
                causes.append(
                    required(f"{at}.apiGroups", "resource rules must supply at least one api group")
                )
            if not rule.get("resources"):
                causes.append(required(f"{at}.resources", "resource rules must supply at least one resource"))
    return causes


def lease_causes(obj: Obj) -> list[Cause]:
    """What is wrong with a Lease."""
    spec = obj.get("spec") or {}
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        return [invalid_value("spec.leaseDurationSeconds", duration, "must be greater than 0")]
    return not_negative(spec, "leaseTransitions")


def slice_causes(obj: Obj) -> list[Cause]:
    """What is wrong with an EndpointSlice."""
    known = ("FQDN", "IPv4", "IPv6")
    if not obj.get("addressType"):
        return [required("addressType")]
    if obj["addressType"] not in known:
        return [unsupported("addressType", obj["addressType"], known)]
    return []


def claim_causes(obj: Obj) -> list[Cause]:
    """What is wrong with a PersistentVolumeClaim."""
    spec = obj.get("spec") or {}
    causes = []
    if not spec.get("accessModes"):
        causes.append(required("spec.accessModes", "at least 1 access mode is required"))
    if not ((spec.get("resources") or {}).get("requests") or {}).get("storage"):
        causes.append(required("spec.resources[storage]"))
    return causes


def policy_causes(obj: Obj) -> list[Cause]:
    """What is wrong with a NetworkPolicy: selectors and blocks that the proxies could not read."""
    spec = obj.get("spec") or {}
    causes = selector_causes(spec.get("podSelector"), "spec.podSelector")
    for word, side in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(word) or []):
            for j, peer in enumerate(rule.get(side) or []):
                causes += _peer_causes(peer, f"spec.{word}[{i}].{side}[{j}]")
    return causes


def _peer_causes(peer: Obj, at: str) -> list[Cause]:
    block = peer.get("ipBlock")
    if block is None:
        causes = [] if peer else [required(at, "must specify a peer")]
        for name in ("podSelector", "namespaceSelector"):
            causes += selector_causes(peer.get(name), f"{at}.{name}")
        return causes
    if len(peer) > 1:
        return [forbidden_field(at, "may not specify both ipBlock and another peer")]
    if not block.get("cidr"):
        return [required(f"{at}.ipBlock.cidr")]
    blocks = [
        ("cidr", block["cidr"]),
        *((f"except[{k}]", b) for k, b in enumerate(block.get("except") or [])),
    ]
    text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
    return [invalid_value(f"{at}.ipBlock.{name}", b, text) for name, b in blocks if not _is_block(b)]


def _is_block(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def priority_update(new: Obj, old: Obj) -> list[Cause]:
    """The value of a PriorityClass stays."""
    if new.get("value") != old.get("value"):
        return [forbidden_field("value", "may not be changed in an update.")]
    return []


CREATE: Mapping[str, Callable[[Obj], list[Cause]]] = {
    "Pod": pod_causes,
    "Deployment": _workload,
    "ReplicaSet": _workload,
    "StatefulSet": _workload,
    "Job": job_causes,
    "Service": service_causes,
    "Node": node_causes,
    "ConfigMap": data_size,
    "Secret": data_size,
    "PodDisruptionBudget": budget_causes,
    "RoleBinding": binding_causes,
    "ClusterRoleBinding": binding_causes,
    "Role": role_causes,
    "ClusterRole": role_causes,
    "Lease": lease_causes,
    "EndpointSlice": slice_causes,
    "PersistentVolumeClaim": claim_causes,
    "NetworkPolicy": policy_causes,
}
UPDATE: Mapping[str, Callable[[Obj, Obj], list[Cause]]] = {
    "Pod": pod_update_causes,
    "Deployment": lambda new, old: _same_fields(new, old, "selector"),
    "ReplicaSet": lambda new, old: _same_fields(new, old, "selector"),
    "StatefulSet": stateful_set_update,
    "Job": job_update,
    "Service": service_update,
    "Node": node_update,
    "ConfigMap": data_update,
    "Secret": data_update,
    "RoleBinding": binding_update,
    "ClusterRoleBinding": binding_update,
    "PriorityClass": priority_update,
}


def create_causes(obj: Obj, resource: Resource) -> list[Cause]:
    """Everything that is wrong with a new object."""
    rule = CREATE.get(resource.kind)
    return naming.meta_causes(obj["metadata"], resource) + (rule(obj) if rule else [])


def update_causes(new: Obj, old: Obj, resource: Resource) -> list[Cause]:
    """Everything that is wrong with a change; finalizers are looked at twice, as the server does."""
    causes = naming.meta_update_causes(new["metadata"], old["metadata"])
    if resource.kind in ("ConfigMap", "Secret"):
        causes = causes * 2
    causes += naming.meta_causes(new["metadata"], resource)
    changed = UPDATE.get(resource.kind)
    rule = CREATE.get(resource.kind)
    return causes + (changed(new, old) if changed else []) + (rule(new) if rule else [])
