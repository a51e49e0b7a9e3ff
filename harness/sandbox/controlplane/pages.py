"""Pages that are no resources: version, health, discovery plain and aggregated, and the way to the OpenAPI pages.

Called by the HTTP front. Everything is made from the table of resources; an unknown path is a plain 404.
"""

import platform
from functools import cache

import msgspec
from aiohttp import web

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import asking, openapi, openapi_protobuf
from harness.sandbox.controlplane.resources import GROUPS, Resource, Subresource, members, versions_of

VERSION = "v1.36.2"
HEALTHY = ("/healthz", "/livez", "/readyz")
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def page(request: web.Request, git_version: str = VERSION) -> web.Response:
    """Answer a GET outside the resources, for a server of a version."""
    path = request.path.rstrip("/") or "/"
    if path == "/version":
        return _json(version(git_version))
    if path.startswith(HEALTHY):
        return web.Response(text="ok")
    if path in ("/api", "/apis"):
        return _discovery(request, path)
    if path == "/openapi/v2" and openapi_protobuf.ASKED in request.headers.get("Accept", ""):
        response = web.Response(body=_openapi_v2_protobuf())
        response.headers["Content-Type"] = openapi_protobuf.MEDIA_TYPE
        return response
    if path.startswith("/openapi"):
        found = openapi.page(path)
        if found is not None:
            return web.Response(body=found, content_type="application/json")
    if path == "/":
        return _json(
            {
                "paths": [
                    "/api",
                    "/api/v1",
                    "/apis",
                    *_group_paths(),
                    *HEALTHY,
                    "/openapi/v2",
                    "/openapi/v3",
                    "/version",
                ]
            }
        )
    resources = _resource_page(path)
    return web.Response(text="404 page not found\n", status=404) if resources is None else _json(resources)


@cache
def _openapi_v2_protobuf() -> bytes:
    return openapi_protobuf.encode(msgspec.json.decode(openapi.page("/openapi/v2") or b"{}"))


def _json(obj: Obj) -> web.Response:
    return web.Response(body=msgspec.json.encode(obj), content_type="application/json")


def version(git_version: str = VERSION) -> Obj:
    """What /version says; without a setting the version whose behaviour this server follows."""
    major, minor, _ = git_version.removeprefix("v").split(".", 2)
    return {
        "major": major,
        "minor": minor,
        "gitVersion": git_version,
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "go1.26",
        "compiler": f"python{platform.python_version()}",
        "platform": f"linux/{platform.machine()}",
    }


def _group_paths() -> list[str]:
    return [
        f"/apis/{group}{rest}" for group in GROUPS for rest in ("", *(f"/{v}" for v in versions_of(group)))
    ]


def _discovery(request: web.Request, path: str) -> web.Response:
    wanted = asking.aggregated(request.headers.get("Accept", ""))
    groups = ("",) if path == "/api" else GROUPS
    if wanted:
        items = [_aggregated_group(group) for group in groups]
        body = {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{wanted}",
            "metadata": {},
            "items": items,
        }
        response = _json(body)
        response.headers["Content-Type"] = AGGREGATED.replace("v=v2", f"v={wanted}")
        return response
    if path == "/api":
        address = request.host
        clients = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
        return _json({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": clients})
    return _json({"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(group) for group in GROUPS]})


def _group(group: str) -> Obj:
    versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in versions_of(group)]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _resource_page(path: str) -> Obj | None:
    parts = path.strip("/").split("/")
    if parts == ["api", "v1"]:
        return _resource_list("", "v1")
    if parts[0] != "apis" or len(parts) > 3 or parts[1] not in GROUPS:
        return None
    if len(parts) == 2:
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1])}
    return _resource_list(parts[1], parts[2]) if parts[2] in versions_of(parts[1]) else None


def _resource_list(group: str, version_: str) -> Obj:
    entries: list[Obj] = []
    for resource in members(group, version_):
        entries.append(_entry(resource))
        entries += [_sub_entry(resource, sub) for sub in resource.subresources]
    name = f"{group}/{version_}" if group else version_
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": entries}


def _entry(resource: Resource) -> Obj:
    entry: Obj = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": sorted(resource.verbs),
    }
    if resource.short:
        entry["shortNames"] = list(resource.short)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return entry


def _sub_entry(resource: Resource, sub: Subresource) -> Obj:
    entry: Obj = {
        "name": f"{resource.plural}/{sub.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": sub.kind or resource.kind,
        "verbs": sorted(sub.verbs),
    }
    if sub.group:
        entry.update(group=sub.group, version=sub.version)
    return entry


def _aggregated_group(group: str) -> Obj:
    versions = []
    for version_ in versions_of(group):
        found = [_aggregated(resource) for resource in members(group, version_)]
        versions.append({"version": version_, "resources": found, "freshness": "Current"})
    meta: Obj = {"creationTimestamp": None}
    return {"metadata": {"name": group, **meta} if group else meta, "versions": versions}


def _kind(group: str, version_: str, kind: str) -> Obj:
    return {"group": group, "version": version_, "kind": kind}


def _aggregated(resource: Resource) -> Obj:
    entry: Obj = {
        "resource": resource.plural,
        "responseKind": _kind(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": sorted(resource.verbs),
    }
    if resource.short:
        entry["shortNames"] = list(resource.short)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    subs = sorted(resource.subresources, key=lambda sub: sub.name)
    if subs:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": _kind(
                    sub.group or resource.group, sub.version or resource.version, sub.kind or resource.kind
                ),
                "verbs": sorted(sub.verbs),
            }
            for sub in subs
        ]
    return entry
