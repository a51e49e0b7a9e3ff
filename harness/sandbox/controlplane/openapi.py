"""OpenAPI v2 and v3 from the field table: enough for kubectl's apply, explain and validation.

Called by `pages`. Descriptions are not served (they are the real server's own text); paths carry what kubectl looks
for: the kinds, and that PATCH and POST know fieldValidation and dryRun.
"""

from functools import cache
from typing import Any

import msgspec

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import fields
from harness.sandbox.controlplane.resources import GROUPS, RESOURCES, Resource, members, versions_of

SCALARS: dict[str, Obj] = {
    "string": {"type": "string"},
    "bytes": {"type": "string", "format": "byte"},
    "int": {"type": "integer", "format": "int32"},
    "number": {"type": "number", "format": "double"},
    "bool": {"type": "boolean"},
    "time": {"type": "string", "format": "date-time"},
    "quantity": {"type": "string"},
    "intorstring": {"type": "string", "format": "int-or-string"},
    "any": {"type": "object"},
}
NAMES = {"ObjectMeta": "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}


def _definition_name(type_name: str) -> str:
    return NAMES.get(type_name, f"io.k8s.api.sandbox.v1.{type_name}")


def _schema(word: str, at: str) -> Obj:
    found = fields.shape(word)
    one: Obj = (
        {"$ref": at + _definition_name(found.word)}
        if found.is_type
        else dict(SCALARS.get(found.word, {"type": "object"}))
    )
    if found.of == "list":
        return {"type": "array", "items": one}
    return {"type": "object", "additionalProperties": one} if found.of == "map" else one


def _definition(type_name: str, at: str) -> Obj:
    properties: Obj = {}
    for field, word in fields.table()[type_name].items():
        properties[field] = _schema(word, at)
        key = fields.merge_key(type_name, field)
        if key is not None:
            properties[field]["x-kubernetes-patch-strategy"] = "merge"
            if key:
                properties[field]["x-kubernetes-patch-merge-key"] = key
    return {"type": "object", "description": type_name, "properties": properties}


def _definitions(resources: tuple[Resource, ...], at: str) -> Obj:
    found: Obj = {}
    for resource in resources:
        for name in fields.reachable(resource.type_name):
            if _definition_name(name) not in found:
                found[_definition_name(name)] = _definition(name, at)
        kinds = found[_definition_name(resource.type_name)].setdefault("x-kubernetes-group-version-kind", [])
        kinds.append({"group": resource.group, "version": resource.version, "kind": resource.kind})
    return found


def _parameters(names: tuple[str, ...], version: int) -> list[Obj]:
    if version == 2:
        return [{"name": name, "in": "query", "type": "string", "uniqueItems": True} for name in names]
    return [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]


WRITE = ("dryRun", "fieldManager", "fieldValidation")
ACTIONS = {"get": "get", "post": "post", "put": "put", "patch": "patch", "delete": "delete"}


def _operation(resource: Resource, action: str, version: int) -> Obj:
    names = WRITE if action in ("post", "put") else (*WRITE, "force") if action == "patch" else ("dryRun",)
    answer: Obj = {"description": "OK"}
    return {
        "operationId": f"{action}{resource.kind}{resource.group.partition('.')[0].title()}",
        "parameters": [] if action == "get" else _parameters(names, version),
        "responses": {"200": answer},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        },
    }


def _paths(resources: tuple[Resource, ...], version: int) -> Obj:
    found: Obj = {}
    for resource in resources:
        base = f"/apis/{resource.api_version}" if resource.group else "/api/v1"
        space = "/namespaces/{namespace}" if resource.namespaced else ""
        collection = f"{base}{space}/{resource.plural}"
        found[collection] = {a: _operation(resource, a, version) for a in ("get", "post")}
        one = {a: _operation(resource, a, version) for a in ("get", "put", "patch", "delete")}
        found[f"{collection}/{{name}}"] = one
    return found


@cache
def page(path: str) -> bytes | None:
    """The JSON of an OpenAPI path; None where there is none."""
    if path == "/openapi/v2":
        info = {"title": "Kubernetes", "version": "v1.36"}
        body: dict[str, Any] = {"swagger": "2.0", "info": info, "paths": _paths(RESOURCES, 2)}
        return msgspec.json.encode({**body, "definitions": _definitions(RESOURCES, "#/definitions/")})
    if path == "/openapi/v3":
        listed = {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=sandbox"}}
        for group in GROUPS:
            for version in versions_of(group):
                name = f"apis/{group}/{version}"
                listed[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash=sandbox"}
        return msgspec.json.encode({"paths": listed})
    parts = path.removeprefix("/openapi/v3/").split("/")
    if parts == ["api", "v1"]:
        found = members("", "v1")
    elif len(parts) == 3 and parts[0] == "apis":
        found = members(parts[1], parts[2])
    else:
        return None
    if not found:
        return None
    info = {"title": "Kubernetes", "version": "v1.36"}
    schemas = _definitions(found, "#/components/schemas/")
    return msgspec.json.encode(
        {"openapi": "3.0.0", "info": info, "paths": _paths(found, 3), "components": {"schemas": schemas}}
    )
