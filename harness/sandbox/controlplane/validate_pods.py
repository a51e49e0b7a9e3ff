"""What a pod must look like, alone and as a template, and what of it may change later.

Called by `validation`; returns causes in the server's order and words. Only the rules that clients of the sandbox
can meet are here; docs/sandbox-api.md names the rest.
"""

import json
import re
from typing import Any

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import naming, quantity
from harness.sandbox.controlplane.statuses import (
    Cause,
    duplicate,
    forbidden_field,
    invalid_value,
    missing_reference,
    required,
    unsupported,
)

NATIVE = {"cpu", "memory", "ephemeral-storage", "storage", "pods"}
PULL = ("Always", "IfNotPresent", "Never")
PROTOCOLS = ("SCTP", "TCP", "UDP")
EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
PORT_TEXT = "must be between 1 and 65535, inclusive"
ENV_NAME = re.compile(r"[^=]+")


def is_extended(name: str) -> bool:
    """Whether a resource is an extended one: counted in whole pieces, never overcommitted."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def port_causes(value: Any, at: str) -> list[Cause]:
    """What is wrong with a port number."""
    return [] if isinstance(value, int) and 1 <= value <= 65535 else [invalid_value(at, value, PORT_TEXT)]


def _amounts(found: Obj, at: str) -> list[Cause]:
    causes = []
    for name, amount in found.items():
        path = f"{at}[{name}]"
        causes += naming.key_causes(name, at)
        if "/" not in name and name not in NATIVE and not name.startswith("hugepages-"):
            causes.append(invalid_value(path, name, "must be a standard resource type or fully qualified"))
            causes.append(invalid_value(path, name, "must be a standard resource for containers"))
        value = quantity.parse(amount)
        if value < 0:
            causes.append(invalid_value(path, amount, "must be greater than or equal to 0"))
        elif is_extended(name) and value.denominator != 1:
            causes.append(invalid_value(path, amount, "must be an integer"))
    return causes


def resource_causes(resources: Obj, at: str) -> list[Cause]:
    """What is wrong with limits and requests."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    causes = _amounts(limits, f"{at}.limits") + _amounts(requests, f"{at}.requests")
    for name, asked in requests.items():
        limit = limits.get(name)
        if limit is None:
            if is_extended(name):
                causes.append(required(f"{at}.limits", "Limit must be set for non overcommitable resources"))
        elif is_extended(name) and quantity.parse(asked) != quantity.parse(limit):
            causes.append(invalid_value(f"{at}.requests", asked, f"must be equal to {name} limit of {limit}"))
        elif quantity.parse(asked) > quantity.parse(limit):
            text = f"must be less than or equal to {name} limit of {limit}"
            causes.append(invalid_value(f"{at}.requests", asked, text))
    return causes


def _env(box: Obj, at: str) -> list[Cause]:
    causes = []
    for i, variable in enumerate(box.get("env") or []):
        path = f"{at}.env[{i}]"
        if not variable.get("name"):
            causes.append(required(f"{path}.name"))
        elif not ENV_NAME.fullmatch(variable["name"]):
            text = "a valid environment variable name must consist only of printable ASCII characters other than '='"
            causes.append(invalid_value(f"{path}.name", variable["name"], text))
        if variable.get("value") and variable.get("valueFrom"):
            causes.append(
                invalid_value(f"{path}.valueFrom", "", "may not be specified when `value` is not empty")
            )
    return causes


def _container_ports(box: Obj, at: str) -> list[Cause]:
    causes, names = [], set()
    for i, port in enumerate(box.get("ports") or []):
        path = f"{at}.ports[{i}]"
        if port.get("name"):
            if port["name"] in names:
                causes.append(duplicate(f"{path}.name", port["name"]))
            names.add(port["name"])
        if not port.get("containerPort"):
            causes.append(required(f"{path}.containerPort"))
        else:
            causes += port_causes(port["containerPort"], f"{path}.containerPort")
        if port.get("protocol") not in PROTOCOLS:
            causes.append(unsupported(f"{path}.protocol", port.get("protocol", ""), PROTOCOLS))
    return causes


def _probe(probe: Obj, at: str) -> list[Cause]:
    causes = []
    handlers = [name for name in ("exec", "httpGet", "tcpSocket", "grpc") if name in probe]
    if not handlers:
        causes.append(required(at, "must specify a handler type"))
    one_only = "may not specify more than 1 handler type"
    causes += [forbidden_field(f"{at}.{extra}", one_only) for extra in handlers[1:]]
    numbers = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold")
    return causes + [
        invalid_value(f"{at}.{field}", probe[field], "must be greater than or equal to 0")
        for field in numbers
        if probe.get(field, 0) < 0
    ]


def _container(box: Obj, at: str, names: set[str], volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    name = box.get("name", "")
    if not name:
        causes.append(required(f"{at}.name"))
    elif name in names:
        causes.append(duplicate(f"{at}.name", name))
    else:
        causes += naming.name_causes("label", name, f"{at}.name")
    names.add(name)
    if not box.get("image"):
        causes.append(required(f"{at}.image"))
    elif box["image"] != box["image"].strip():
        causes.append(
            invalid_value(f"{at}.image", box["image"], "must not have leading or trailing whitespace")
        )
    causes += _container_ports(box, at) + _env(box, at)
    for i, mount in enumerate(box.get("volumeMounts") or []):
        path = f"{at}.volumeMounts[{i}]"
        if not mount.get("name"):
            causes.append(required(f"{path}.name"))
        elif mount["name"] not in volumes:
            causes.append(missing_reference(f"{path}.name", mount["name"]))
        if not mount.get("mountPath"):
            causes.append(required(f"{path}.mountPath"))
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in box:
            causes += _probe(box[probe], f"{at}.{probe}")
    if box.get("imagePullPolicy") not in PULL:
        causes.append(unsupported(f"{at}.imagePullPolicy", box.get("imagePullPolicy", ""), PULL))
    return causes + resource_causes(box.get("resources") or {}, f"{at}.resources")


def toleration_causes(toleration: Obj, at: str) -> list[Cause]:
    """What is wrong with a toleration."""
    causes = []
    key, operator = toleration.get("key", ""), toleration.get("operator", "")
    if key:
        causes += naming.key_causes(key, f"{at}.key")
    if not key and operator != "Exists":
        causes.append(
            invalid_value(
                f"{at}.operator",
                operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        )
    if operator == "Exists" and toleration.get("value"):
        text = "value must be empty when `operator` is 'Exists'"
        causes.append(invalid_value(f"{at}.operator", toleration, text))
    if operator not in ("", "Equal", "Exists"):
        causes.append(unsupported(f"{at}.operator", operator, ("Equal", "Exists")))
    if toleration.get("effect") and toleration["effect"] not in EFFECTS:
        causes.append(unsupported(f"{at}.effect", toleration["effect"], EFFECTS))
    return causes


def spec_causes(spec: Obj, at: str) -> list[Cause]:
    """What is wrong with a pod's spec, in a pod or in a template."""
    causes: list[Cause] = []
    volumes: set[str] = set()
    for i, volume in enumerate(spec.get("volumes") or []):
        path = f"{at}.volumes[{i}]"
        if not volume.get("name"):
            causes.append(required(f"{path}.name"))
        elif volume["name"] in volumes:
            causes.append(duplicate(f"{path}.name", volume["name"]))
        else:
            causes += naming.name_causes("label", volume["name"], f"{path}.name")
        volumes.add(volume.get("name", ""))
        if len(volume) > 2:
            extra = sorted(key for key in volume if key != "name")[1]
            causes.append(forbidden_field(f"{path}.{extra}", "may not specify more than 1 volume type"))
    names: set[str] = set()
    if not spec.get("containers"):
        causes.append(required(f"{at}.containers"))
    for key in ("containers", "initContainers"):
        for i, box in enumerate(spec.get(key) or []):
            causes += _container(box, f"{at}.{key}[{i}]", names, volumes)
    known = ("Always", "OnFailure", "Never")
    if spec.get("restartPolicy") not in known:
        causes.append(unsupported(f"{at}.restartPolicy", spec.get("restartPolicy", ""), known))
    policies = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
    if spec.get("dnsPolicy") not in policies:
        causes.append(unsupported(f"{at}.dnsPolicy", spec.get("dnsPolicy", ""), policies))
    for field in ("terminationGracePeriodSeconds", "activeDeadlineSeconds"):
        if spec.get(field, 1) < 0:
            causes.append(invalid_value(f"{at}.{field}", spec[field], "must be greater than or equal to 0"))
    causes += naming.label_causes(spec.get("nodeSelector") or {}, f"{at}.nodeSelector")
    for i, toleration in enumerate(spec.get("tolerations") or []):
        causes += toleration_causes(toleration, f"{at}.tolerations[{i}]")
    for field, rule in (("hostname", "label"), ("subdomain", "label"), ("nodeName", "subdomain")):
        if spec.get(field):
            causes += naming.name_causes(rule, spec[field], f"{at}.{field}")
    return causes


def pod_causes(obj: Obj) -> list[Cause]:
    """What is wrong with a Pod."""
    return spec_causes(obj.get("spec") or {}, "spec")


CHANGEABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod_update_causes(new: Obj, old: Obj) -> list[Cause]:
    """What an update may not do to a Pod's spec."""
    after, before = _fixed(new["spec"]), _fixed(old["spec"])
    causes = []
    kept = old["spec"].get("tolerations") or []
    if any(toleration not in (new["spec"].get("tolerations") or []) for toleration in kept):
        causes.append(
            forbidden_field(
                "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
            )
        )
    if len(new["spec"].get("containers") or []) != len(old["spec"]["containers"]):
        causes.append(forbidden_field("spec.containers", "pod updates may not add or remove containers"))
    elif after != before:
        changed = {
            key: (before.get(key), after.get(key))
            for key in sorted({*before, *after})
            if before.get(key) != after.get(key)
        }
        shown = json.dumps(changed, indent=1)
        causes.append(forbidden_field("spec", f"{CHANGEABLE}\n{shown}"))
    return causes


def _fixed(spec: Obj) -> Obj:
    """The part of a pod's spec that may never change."""
    fixed = {
        k: v for k, v in spec.items() if k not in ("activeDeadlineSeconds", "tolerations", "schedulingGates")
    }
    for key in ("containers", "initContainers"):
        fixed[key] = [{k: v for k, v in box.items() if k != "image"} for box in spec.get(key) or []]
    return fixed
