"""Field names and types of every kind, read from `fields.json`: unknown fields, wrong types, merge keys.

Called by the verbs on every body, by the patches for merge keys, and by the OpenAPI pages. It refuses to know what a
value means: ranges and relations are the validators' business.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import quantity

Table = dict[str, dict[str, str]]

# How strategic merge joins lists: (type, field) to the key of its elements; "" joins plain values.
MERGE_KEYS: dict[tuple[str, str], str] = {
    ("PodSpec", "containers"): "name",
    ("PodSpec", "initContainers"): "name",
    ("PodSpec", "ephemeralContainers"): "name",
    ("PodSpec", "volumes"): "name",
    ("PodSpec", "imagePullSecrets"): "name",
    ("PodSpec", "hostAliases"): "ip",
    ("PodSpec", "topologySpreadConstraints"): "topologyKey",
    ("PodSpec", "schedulingGates"): "name",
    ("PodSpec", "resourceClaims"): "name",
    ("Container", "env"): "name",
    ("Container", "ports"): "containerPort",
    ("Container", "volumeMounts"): "mountPath",
    ("Container", "volumeDevices"): "devicePath",
    ("EphemeralContainer", "env"): "name",
    ("EphemeralContainer", "volumeMounts"): "mountPath",
    ("ServiceSpec", "ports"): "port",
    ("ServiceAccount", "secrets"): "name",
    ("ServiceAccount", "imagePullSecrets"): "name",
    ("ObjectMeta", "ownerReferences"): "uid",
    ("ObjectMeta", "finalizers"): "",
    ("NodeSpec", "podCIDRs"): "",
    ("NodeStatus", "conditions"): "type",
    ("NodeStatus", "addresses"): "type",
    ("PodStatus", "conditions"): "type",
    ("PodStatus", "podIPs"): "ip",
    ("PodStatus", "hostIPs"): "ip",
    ("JobStatus", "conditions"): "type",
    ("DeploymentStatus", "conditions"): "type",
    ("ReplicaSetStatus", "conditions"): "type",
    ("StatefulSetStatus", "conditions"): "type",
    ("NamespaceStatus", "conditions"): "type",
    ("ServiceStatus", "conditions"): "type",
    ("PodDisruptionBudgetStatus", "conditions"): "type",
    ("PersistentVolumeClaimStatus", "conditions"): "type",
}


# Lists that stay in the JSON when empty (readers insist on them); all other empty lists and maps are dropped.
KEPT_EMPTY = {("EndpointSlice", "endpoints"), ("Role", "rules"), ("ClusterRole", "rules")}

# Values that mean "not set" and are dropped, as the server's own types do it (omitempty on a plain value).
DROPPED_ZERO: dict[str, frozenset[str]] = {
    "NodeSpec": frozenset({"unschedulable"}),
    "PodSpec": frozenset({"hostNetwork", "hostPID", "hostIPC", "nodeName", "hostname", "subdomain"}),
    "PodStatus": frozenset({"hostIP", "podIP", "message", "reason", "nominatedNodeName"}),
    "ServiceSpec": frozenset(
        {"clusterIP", "externalName", "publishNotReadyAddresses", "healthCheckNodePort"}
    ),
    "ServicePort": frozenset({"nodePort", "name"}),
    "EnvVar": frozenset({"value"}),
    "ScaleSpec": frozenset({"replicas"}),
    "JobStatus": frozenset({"active", "succeeded", "failed"}),
    "DeploymentSpec": frozenset({"paused", "minReadySeconds"}),
    "DeploymentStatus": frozenset(
        {"replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas"}
    ),
    "ReplicaSetStatus": frozenset({"readyReplicas", "availableReplicas", "fullyLabeledReplicas"}),
    "StatefulSetStatus": frozenset({"readyReplicas", "currentReplicas", "updatedReplicas"}),
    "ObjectMeta": frozenset(
        {"generateName", "namespace", "uid", "resourceVersion", "selfLink", "generation"}
    ),
}
NO_DROPS: frozenset[str] = frozenset()
NO_ZEROS: Obj = {}


@cache
def _loaded() -> tuple[Table, dict[str, Obj]]:
    """The table, and per type the plain values that are always in the JSON, with their zero."""
    text = resources.files(__package__).joinpath("fields.json").read_text()
    found: Table = json.loads(text)
    zeros: dict[str, Obj] = {}
    for name, fields in found.items():
        always = {field: word for field, word in fields.items() if word.endswith("!")}
        zeros[name] = {field: ZEROS[word[:-1]] for field, word in always.items()}
        fields.update({field: word[:-1] for field, word in always.items()})
    found["PodMetrics"] = _metrics("containers", "[ContainerMetrics]")
    found["NodeMetrics"] = _metrics("usage", "{quantity}")
    found["ContainerMetrics"] = {"name": "string", "usage": "{quantity}"}
    return found, zeros


ZEROS: dict[str, Any] = {"string": "", "int": 0, "bool": False}


def table() -> Table:
    """Every type: field name to type word."""
    return _loaded()[0]


def _metrics(field: str, word: str) -> dict[str, str]:
    return {
        "apiVersion": "string",
        "kind": "string",
        "metadata": "ObjectMeta",
        "timestamp": "time",
        "window": "string",
        field: word,
    }


@dataclass(frozen=True, slots=True)
class Shape:
    """A type word taken apart: a scalar or type name, inside a list, a map, or by itself."""

    word: str
    of: str  # "one", "list" or "map"

    @property
    def is_type(self) -> bool:
        """Whether it names a type of the table."""
        return self.word in table()


@cache
def shape(word: str) -> Shape:
    """Take a type word apart."""
    if word.startswith("["):
        return Shape(word[1:-1], "list")
    if word.startswith("{"):
        return Shape(word[1:-1], "map")
    return Shape(word, "one")


class WrongType(Exception):
    """A value that cannot be read as its field's type; the message names the field as the server does."""


GO = {"string": "string", "bytes": "string", "int": "int32", "bool": "bool", "number": "float64"}


def _json_word(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"


TIME = re.compile(r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$")

SCALARS: dict[str, Callable[[Any], bool]] = {
    "string": lambda v: isinstance(v, str),
    "bytes": lambda v: isinstance(v, str),
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "bool": lambda v: isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "intorstring": lambda v: isinstance(v, int | str) and not isinstance(v, bool),
    "any": lambda _: True,
    "time": lambda v: isinstance(v, str) and TIME.match(v) is not None,
    "quantity": lambda v: isinstance(v, int | float | str) and not isinstance(v, bool),
}


def tidy(obj: Obj, type_name: str) -> tuple[Obj, list[str]]:
    """Copy an object as its type: nulls dropped, quantities canonical; also the paths of unknown fields.

    Unknown fields are dropped. Raises WrongType where a value cannot be read.
    """
    unknown: list[str] = []
    return _tidy_type(obj, type_name, "", unknown), unknown


def _tidy_type(value: Any, name: str, at: str, unknown: list[str]) -> Obj:
    if not isinstance(value, dict):
        raise WrongType(
            f"json: cannot unmarshal {_json_word(value)} into Go struct field {name}.{at} of type v1.{name}"
        )
    types, zeros = _loaded()
    known, zero = types[name], DROPPED_ZERO.get(name, NO_DROPS)
    result: Obj = {}
    for key, item in value.items():
        path = f"{at}.{key}" if at else key
        word = known.get(key)
        if word is None:
            unknown.append(path)
        elif item is not None:
            read = _tidy_field(item, word, path, unknown)
            if read in ([], {}) and word[0] in "[{" and (name, key) not in KEPT_EMPTY:
                continue
            if not read and key in zero:
                continue
            result[key] = read
    for key, missing in zeros.get(name, NO_ZEROS).items():
        if key not in result:
            result[key] = missing
    return result


def _tidy_field(value: Any, word: str, at: str, unknown: list[str]) -> Any:
    found = shape(word)
    if found.of == "one":
        return _tidy_one(value, found.word, at, unknown)
    if found.of == "list":
        if not isinstance(value, list):
            raise WrongType(_cannot(value, at, "[]" + found.word))
        return [_tidy_one(item, found.word, f"{at}[{i}]", unknown) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        raise WrongType(_cannot(value, at, f"map[string]{found.word}"))
    items = {k: ("" if v is None and found.word == "string" else v) for k, v in value.items()}
    return {k: _tidy_one(v, found.word, f"{at}.{k}", unknown) for k, v in items.items()}


def _tidy_one(value: Any, word: str, at: str, unknown: list[str]) -> Any:
    check = SCALARS.get(word)
    if check is None:
        return _tidy_type(value, word, at, unknown) if word in table() else value
    if isinstance(value, float) and word == "int" and value.is_integer():
        value = int(value)
    if not check(value):
        raise WrongType(_cannot(value, at, GO.get(word, word)))
    if word == "quantity":
        try:
            return quantity.canonical(value)
        except ValueError as error:
            raise WrongType(str(error)) from error
    return value


def _cannot(value: Any, at: str, wanted: str) -> str:
    if wanted == "time":
        return f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse'
    return f"json: cannot unmarshal {_json_word(value)} into Go struct field .{at} of type {wanted}"


def merge_key(type_name: str, field: str) -> str | None:
    """The key by which strategic merge joins this list; "" for plain values, None where it replaces it."""
    return MERGE_KEYS.get((type_name, field))


def field_type(type_name: str | None, field: str) -> str | None:
    """The type of a field's value or elements, where it is a type of the table."""
    word = table().get(type_name or "", {}).get(field)
    if word is None:
        return None
    found = shape(word)
    return found.word if found.is_type and found.of != "map" else None


def reachable(type_name: str) -> Iterator[str]:
    """A type and every type below it."""
    seen: set[str] = set()
    todo = [type_name]
    while todo:
        name = todo.pop()
        if name in seen or name not in table():
            continue
        seen.add(name)
        yield name
        todo += [shape(word).word for word in table()[name].values()]
