"""NetworkPolicies as faults write them: who may still reach the pods of a selector. Builds objects, touches nothing."""

import re
from typing import Any

from harness.cluster import Object
from harness.errors import TargetError

_SET = re.compile(r"^([^\s!=,()]+)\s+(in|notin)\s+\(([^()]*)\)$")


def policy(name: str, selector: str, allowed: Object | None = None) -> Object:
    """Return a policy by which the pods of `selector` take traffic from the pods of `allowed` only, or from nobody."""
    rules = [{"from": [{"podSelector": allowed}]}] if allowed is not None else []
    spec = {"podSelector": label_selector(selector), "policyTypes": ["Ingress"], "ingress": rules}
    return {"metadata": {"name": name}, "spec": spec}


def label_selector(text: str) -> Object:
    """Return a selector in kubectl's words as an object; raises TargetError for what is not understood."""
    labels: dict[str, str] = {}
    expressions: list[dict[str, Any]] = []
    for part in filter(None, (part.strip() for part in re.split(r",(?![^(]*\))", text))):
        if match := _SET.match(part):
            values = [value.strip() for value in match[3].split(",")]
            operator = {"in": "In", "notin": "NotIn"}[match[2]]
            expressions.append({"key": match[1], "operator": operator, "values": values})
        elif "!=" in part:
            key, _, value = part.partition("!=")
            expressions.append({"key": key.strip(), "operator": "NotIn", "values": [value.strip()]})
        elif "=" in part:
            key, _, value = part.partition("=")
            labels[key.strip()] = value.lstrip("=").strip()
        elif re.fullmatch(r"!?[^\s!=,()]+", part):
            operator = "DoesNotExist" if part.startswith("!") else "Exists"
            expressions.append({"key": part.lstrip("!"), "operator": operator})
        else:
            raise TargetError(
                f"label selector {text!r}: {part!r} is not understood; write key=value, key or !key"
            )
    return {
        **({"matchLabels": labels} if labels else {}),
        **({"matchExpressions": expressions} if expressions else {}),
    }
