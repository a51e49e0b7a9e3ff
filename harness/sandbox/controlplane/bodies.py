"""Bodies in and out: reading JSON, YAML and protobuf, delete options, and Status objects as answers.

Called by the HTTP front. It refuses (ApiStatus) what is too large, in another format, or malformed.
"""

from typing import Any

import msgspec
import yaml
from aiohttp import web

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controlplane import asking, deletion, protobuf, statuses
from harness.sandbox.controlplane.asking import Target
from harness.sandbox.controlplane.store import Record

BODY_LIMIT = 3145728
PATCHES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}


def how(request: web.Request) -> str:
    how = PATCHES.get(request.content_type)
    if how is None:
        accepted = ", ".join(PATCHES)
        text = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        raise statuses.refusal(415, "UnsupportedMediaType", text, {})
    if how == "apply" and not request.query.get("fieldManager"):
        cause = statuses.required("fieldManager", "is required for apply patch")
        raise statuses.invalid("PatchOptions", "meta.k8s.io", "", [cause])
    return how


async def read_body(request: web.Request, *, may_be_empty: bool = False) -> Any:
    """The parsed body; raise ApiStatus where it is too large, empty, in another format or malformed."""
    if (request.content_length or 0) > BODY_LIMIT:
        raise _too_large()
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large() from error
    if not raw:
        if may_be_empty:
            return None
        raise statuses.bad_request("unexpected end of JSON input")
    if "protobuf" in request.content_type:
        try:
            return protobuf.read(raw)
        except protobuf.Unreadable as error:
            text = (
                f"the body of the request was in an unknown format ({error}) - accepted media types include: "
            )
            more = "application/json, application/yaml"
            raise statuses.refusal(415, "UnsupportedMediaType", text + more, {}) from error
    try:
        if request.content_type.endswith("yaml"):
            return yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe one
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise statuses.bad_request(f"couldn't get version/kind; json parse error: {error}") from error


def _too_large() -> ApiStatus:
    return statuses.refusal(413, "RequestEntityTooLarge", f"Request entity too large: limit is {BODY_LIMIT}")


def delete_options(request: web.Request, body: Obj) -> deletion.Options:
    query = request.query
    grace = body.get("gracePeriodSeconds")
    if grace is None and query.get("gracePeriodSeconds"):
        try:
            grace = int(query["gracePeriodSeconds"])
        except ValueError:
            text = f'strconv.ParseInt: parsing "{query["gracePeriodSeconds"]}": invalid syntax'
            raise statuses.bad_request(text) from None
    policy = body.get("propagationPolicy") or query.get("propagationPolicy")
    orphan = body.get("orphanDependents")
    if orphan is None and query.get("orphanDependents"):
        orphan = asking.truth(query["orphanDependents"])
    if policy is None and orphan is not None:
        policy = "Orphan" if orphan else "Background"
    if policy is not None and policy not in deletion.POLICIES:
        cause = statuses.unsupported("propagationPolicy", policy, (*deletion.POLICIES, "nil"))
        raise statuses.invalid("DeleteOptions", "meta.k8s.io", "", [cause])
    conditions = body.get("preconditions") or {}
    return deletion.Options(grace, policy, conditions.get("uid"), conditions.get("resourceVersion"))


def deleted(target: Target, record: Record) -> Obj:
    resource, meta = target.resource, record.obj["metadata"]
    details: Obj = {"name": meta["name"]}
    if resource.group:
        details["group"] = resource.group
    details.update(kind=resource.plural, uid=meta["uid"])
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def send_json(obj: Obj, code: int = 200) -> web.Response:
    """An object as the answer."""
    return web.Response(body=msgspec.json.encode(obj), status=code, content_type="application/json")


def status_response(request: web.Request, refusal: ApiStatus) -> web.Response:
    response = web.Response(
        body=b"" if request.method == "HEAD" else msgspec.json.encode(refusal.body),
        status=refusal.code or 500,
        content_type="application/json",
    )
    if retry_after_s := refusal.body.get("details", {}).get("retryAfterSeconds"):
        response.headers["Retry-After"] = str(retry_after_s)
    return response
