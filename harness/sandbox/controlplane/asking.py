"""A request taken apart: path to target, query to options, Accept header to representation.

Pure functions used by the HTTP layer. They refuse (ApiStatus) what the server would refuse at this point.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.sandbox.controlplane import statuses
from harness.sandbox.controlplane.resources import BY_KEY, Resource
from harness.sandbox.controlplane.statuses import qualified

AVAILABLE = (
    "application/json, application/yaml, application/vnd.kubernetes.protobuf, "
    "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
)
SERVED = {"application/json", "application/yaml", "application/*", "*/*", ""}
TABLES = {"Table", "PartialObjectMetadata", "PartialObjectMetadataList"}


@dataclass(frozen=True)
class Target:
    """What a path points at."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    sub: str = ""
    rest: str = ""


def read_path(path: str) -> Target | None:
    """The target of a path; None where it is no path of a resource that is served."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, version, parts = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, parts = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize"):
        namespace, parts = parts[1], parts[2:]
    resource = BY_KEY.get(qualified(parts[0], group))
    if resource is None or resource.version != version:
        return None
    if namespace and not resource.namespaced:
        return None
    name, sub = parts[1] if len(parts) > 1 else "", parts[2] if len(parts) > 2 else ""
    if resource.key == "namespaces":
        namespace = name
    return Target(resource, namespace, name, sub, "/".join(parts[3:]))


@dataclass(frozen=True)
class Representation:
    """How an answer is to look: its media type, and Table or partial metadata instead of the object."""

    media: str = "application/json"
    shape: str = ""
    version: str = "v1"


def _ranges(accept: str) -> list[tuple[str, dict[str, str]]]:
    found = []
    for part in accept.split(","):
        media, *params = (word.strip() for word in part.split(";"))
        found.append((media, dict(p.split("=", 1) for p in params if "=" in p)))
    return found


def negotiate(accept: str) -> Representation:
    """The first representation asked for that is served; raise ApiStatus 406 where none is."""
    for media, params in _ranges(accept):
        if media not in SERVED:
            continue
        shape = params.get("as", "")
        if shape and (shape not in TABLES or params.get("g") != "meta.k8s.io"):
            continue
        if shape and params.get("v") not in ("v1", "v1beta1"):
            continue
        kept = "application/yaml" if media == "application/yaml" else "application/json"
        return Representation(kept, shape, params.get("v", "v1"))
    text = f"406: Not Acceptable\n\nAvailable representations: {AVAILABLE}"
    raise statuses.refusal(406, "NotAcceptable", text, {})


def truth(value: str | None) -> bool:
    """A query's yes or no."""
    return value is not None and value.lower() in ("", "1", "true", "t", "yes")


@dataclass(frozen=True)
class ListOptions:
    """The query of a list or watch."""

    labels: str = ""
    fields: str = ""
    version: str = ""
    match: str = ""
    limit: int = 0
    token: str = ""
    watch: bool = False
    bookmarks: bool = False
    initial: bool | None = None
    timeout_s: int = 0


def list_options(query: Mapping[str, str]) -> ListOptions:
    """Read the query of a list or watch; raise ApiStatus where its parts do not fit together."""
    initial = truth(query["sendInitialEvents"]) if "sendInitialEvents" in query else None
    options = ListOptions(
        query.get("labelSelector", ""),
        query.get("fieldSelector", ""),
        query.get("resourceVersion", ""),
        query.get("resourceVersionMatch", ""),
        _number(query, "limit"),
        query.get("continue", ""),
        truth(query.get("watch")),
        truth(query.get("allowWatchBookmarks")),
        initial,
        _number(query, "timeoutSeconds"),
    )
    causes = _causes(options)
    if causes:
        raise statuses.invalid("ListOptions", "meta.k8s.io", "", causes)
    if options.version and not options.version.isdigit():
        shown = options.version
        cause = statuses.invalid_value(
            "resourceVersion", shown, f'strconv.ParseUint: parsing "{shown}": invalid syntax'
        )
        raise statuses.refusal(400, "BadRequest", f"{cause.field}: {cause.message}")
    return options


def _number(query: Mapping[str, str], name: str) -> int:
    try:
        return int(query.get(name) or 0)
    except ValueError:
        text = f'strconv.ParseInt: parsing "{query[name]}": invalid syntax'
        raise statuses.bad_request(text) from None


def _causes(options: ListOptions) -> list[statuses.Cause]:
    forbid = statuses.forbidden_field
    if options.watch:
        if options.initial is not None and options.match != "NotOlderThan":
            text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            return [forbid("resourceVersionMatch", text)]
        if options.initial is None and options.match:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            return [forbid("resourceVersionMatch", text)]
        return []
    if options.initial is not None:
        return [forbid("sendInitialEvents", "sendInitialEvents is forbidden for list")]
    if options.match:
        if options.token:
            return [
                forbid("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
            ]
        if not options.version:
            text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            return [forbid("resourceVersionMatch", text)]
        if options.match not in ("Exact", "NotOlderThan"):
            return [
                statuses.unsupported("resourceVersionMatch", options.match, ("Exact", "NotOlderThan", ""))
            ]
        if options.match == "Exact" and options.version == "0":
            text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            return [forbid("resourceVersionMatch", text)]
    return []


def dry_run(query_values: list[str], kind: str) -> bool:
    """Whether a write is only tried; raise ApiStatus 422 for a value other than All."""
    values = [value for value in query_values if value]
    if any(value != "All" for value in values):
        cause = statuses.unsupported("dryRun", values, ("All",))
        raise statuses.invalid(kind, "meta.k8s.io", "", [cause])
    return bool(values)


def aggregated(accept: str) -> str:
    """The version of aggregated discovery asked for first, or nothing where plain discovery is wanted."""
    for media, params in _ranges(accept):
        if params.get("as") == "APIGroupDiscoveryList" and media == "application/json":
            version = params.get("v", "")
            if params.get("g") == "apidiscovery.k8s.io" and version in ("v2", "v2beta1"):
                return version
        elif media in SERVED:
            return ""
    return ""
