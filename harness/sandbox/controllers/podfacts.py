"""What controllers ask about a pod, a node or a template. Pure.

Shared by the controllers and the scheduler; each answer is Kubernetes' own definition.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable
from fractions import Fraction

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import quantity
from harness.sandbox.recorder import seconds_of

SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def phase(pod: Obj) -> str:
    """Return the pod's phase."""
    return (pod.get("status") or {}).get("phase") or "Pending"


def is_over(pod: Obj) -> bool:
    """Say whether the pod has succeeded or failed."""
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Obj) -> bool:
    """Say whether the pod counts as running or going to run."""
    return not is_over(pod) and not is_going(pod)


def is_going(obj: Obj) -> bool:
    """Say whether the object is being deleted."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def condition(obj: Obj, type_: str) -> Obj | None:
    """Return a condition of the object's status."""
    for found in (obj.get("status") or {}).get("conditions") or []:
        if found["type"] == type_:
            result: Obj = found
            return result
    return None


def is_true(obj: Obj, type_: str) -> bool:
    """Say whether a condition holds."""
    return (condition(obj, type_) or {}).get("status") == "True"


def is_ready(pod: Obj) -> bool:
    """Say whether the pod's Ready condition holds."""
    return is_true(pod, "Ready")


def ready_since_s(pod: Obj) -> float:
    """Return when the pod became ready, in seconds since the epoch."""
    return seconds_of((condition(pod, "Ready") or {}).get("lastTransitionTime"))


def requests_of(pod: Obj) -> dict[str, Fraction]:
    """Return what the pod asks for: the sum of its containers, or the greatest init container."""
    spec = pod["spec"]
    total: dict[str, Fraction] = {}
    for container in spec.get("containers") or []:
        for resource, amount in ((container.get("resources") or {}).get("requests") or {}).items():
            total[resource] = total.get(resource, Fraction(0)) + quantity.parse(amount)
    for container in spec.get("initContainers") or []:
        for resource, amount in ((container.get("resources") or {}).get("requests") or {}).items():
            total[resource] = max(total.get(resource, Fraction(0)), quantity.parse(amount))
    return total


def tolerates(tolerations: Iterable[Obj], taint: Obj) -> bool:
    """Say whether one of the tolerations matches the taint."""
    return any(_matches(toleration, taint) for toleration in tolerations)


def _matches(toleration: Obj, taint: Obj) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == (taint.get("value") or "")


def pod_from(template: Obj, owner: Obj, *, generate: bool = True) -> Obj:
    """Return a new pod of a template, controlled by `owner`, not yet named unless the API names it."""
    meta = copy.deepcopy(template.get("metadata") or {})
    meta = {key: meta[key] for key in ("labels", "annotations", "finalizers") if meta.get(key)}
    meta["namespace"] = owner["metadata"]["namespace"]
    if generate:
        meta["generateName"] = owner["metadata"]["name"] + "-"
    meta["ownerReferences"] = [reference(owner)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": copy.deepcopy(template["spec"])}


def reference(owner: Obj) -> Obj:
    """Return the owner reference of a controller."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def template_hash(template: Obj) -> str:
    """Return a short name for a template: equal templates, equal names."""
    said = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join(SUFFIX_LETTERS[byte % len(SUFFIX_LETTERS)] for byte in said[:10])


def share_of(value: int | str | None, total: int, *, round_up: bool) -> int:
    """Return a count that is given as a number or a percentage of `total`."""
    if value is None:
        return 0
    if isinstance(value, str) and value.endswith("%"):
        exact = Fraction(int(value[:-1]) * total, 100)
        return -(-exact.numerator // exact.denominator) if round_up else exact.numerator // exact.denominator
    return int(value)


def with_condition(conditions: list[Obj], new: Obj, stamp: str) -> list[Obj]:
    """Return the conditions with one set; its transition time only moves when its status does."""
    old = next((one for one in conditions if one["type"] == new["type"]), None)
    same = old is not None and old.get("status") == new["status"]
    assert not same or old is not None
    since = old["lastTransitionTime"] if same and old is not None and "lastTransitionTime" in old else stamp
    return [*(one for one in conditions if one["type"] != new["type"]), {**new, "lastTransitionTime": since}]
