"""The HTTP front of the API server: identity, rights, routing by verb, and answers.

One handler for every path, run by aiohttp. What a request means is in `asking`, what it does in `verbs`,
`subresources` and `reviews`, lists and watches are `reading`. Every refusal leaves as a Status object.
"""

import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import msgspec
import yaml
from aiohttp import web

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controlplane import (
    asking,
    deletion,
    identity,
    kubelet_seam,
    pages,
    podlog,
    protobuf,
    reviews,
    statuses,
    views,
)
from harness.sandbox.controlplane.asking import Target
from harness.sandbox.controlplane.identity import ANONYMOUS, User
from harness.sandbox.controlplane.reading import Reading, send_record
from harness.sandbox.controlplane.resources import BY_KEY
from harness.sandbox.controlplane.rights import Action, Rights, refused
from harness.sandbox.controlplane.store import Record
from harness.sandbox.controlplane.subresources import Subresources
from harness.sandbox.controlplane.verbs import Ask, Verbs, now

LOG = logging.getLogger(__name__)
BODY_LIMIT = 3145728
PATCHES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
OPTION_KINDS = {
    "POST": "CreateOptions",
    "PUT": "UpdateOptions",
    "PATCH": "PatchOptions",
    "DELETE": "DeleteOptions",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Front:
    """The request handler of one control plane."""

    def __init__(self, verbs: Verbs, subresources: Subresources, rights: Rights, secret: str) -> None:
        self.verbs = verbs
        self.subresources = subresources
        self.rights = rights
        self.tokens = subresources.tokens
        self.reading = Reading(verbs)
        self._secret = secret

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        try:
            return await self._answer(request)
        except ApiStatus as refusal:
            return _status_response(request, refusal)
        except identity.Unauthorized:
            return _status_response(request, statuses.refusal(401, "Unauthorized", "Unauthorized"))
        except (ConnectionResetError, TimeoutError):
            raise
        except web.HTTPException:
            raise
        except Exception:
            LOG.exception("%s %s", request.method, request.path_qs)
            return _status_response(request, statuses.internal("the server has made a mistake; see its log"))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        user = self._user(request)
        target = asking.read_path(request.path)
        if target is None:
            return self._page(request, user)
        user = self._impersonated(request, user, target)
        verb = _verb(request, target)
        self._authorize(user, verb, target)
        if target.sub:
            return await self._subresource(request, user, target)
        if request.method == "GET":
            return await self._read(request, target, verb)
        if verb not in target.resource.verbs and not target.resource.upsert:
            raise statuses.method_not_allowed()
        if target.resource.namespaced and not target.namespace:
            raise statuses.method_not_allowed()
        if request.method == "DELETE":
            return await self._delete(request, user, target)
        return await self._write(request, user, target)

    # ---- who, and whether

    def _user(self, request: web.Request) -> User:
        header = request.headers.get("Authorization", "")
        scheme, _, token = header.partition(" ")
        if not header:
            return ANONYMOUS
        if scheme.lower() != "bearer" or not token:
            raise identity.Unauthorized
        user, about = self.tokens.read(token.strip())
        if about.get("serviceaccount"):
            self._check_account(user, about)
        return user

    def _check_account(self, user: User, about: Obj) -> None:
        """A token ends with its account, and with the pod it is bound to."""
        record = self.verbs.store.get("serviceaccounts", (about["namespace"], about["serviceaccount"]))
        if record is None or (user.uid and record.obj["metadata"]["uid"] != user.uid):
            raise identity.Unauthorized
        bound = about.get("bound") or {}
        if bound.get("kind") == "Pod":
            pod = self.verbs.store.get("pods", (about["namespace"], bound.get("name", "")))
            if pod is None or (bound.get("uid") and pod.obj["metadata"]["uid"] != bound["uid"]):
                raise identity.Unauthorized

    def _impersonated(self, request: web.Request, user: User, target: Target | None) -> User:
        name = request.headers.get("Impersonate-User")
        if not name:
            return user
        groups = request.headers.getall("Impersonate-Group", [])
        wanted = [Action("impersonate", "users", name=name)]
        parts = name.split(":")
        if name.startswith("system:serviceaccount:") and len(parts) == 4:
            wanted = [Action("impersonate", "serviceaccounts", namespace=parts[2], name=parts[3])]
            groups = groups or ["system:serviceaccounts", f"system:serviceaccounts:{parts[2]}"]
        wanted += [Action("impersonate", "groups", name=group) for group in groups]
        for action in wanted:
            if not self.rights.allows(user, action):
                raise self._may_not_impersonate(request, user, target, action)
        everybody = identity.AUTHENTICATED if name != ANONYMOUS.name else ANONYMOUS.groups[0]
        return User(
            name, tuple(dict.fromkeys([*groups, everybody])), request.headers.get("Impersonate-Uid", "")
        )

    @staticmethod
    def _may_not_impersonate(
        request: web.Request, user: User, target: Target | None, action: Action
    ) -> ApiStatus:
        if target is None:
            return refused(user, action)
        verb = f"impersonate-on:user-info:{_verb(request, target)}"
        return refused(user, _action(verb, target))

    def _authorize(self, user: User, verb: str, target: Target) -> None:
        action = _action(verb, target)
        if self.rights.allows(user, action):
            return
        if target.sub in ("exec", "attach") and self.rights.allows(user, replace(action, verb="get")):
            return
        raise refused(user, action)

    def _page(self, request: web.Request, user: User) -> web.StreamResponse:
        """Discovery, OpenAPI, version, health: everything that is no resource."""
        user = self._impersonated(request, user, None)
        action = Action(request.method.lower(), path=request.path)
        if not self.rights.allows(user, action):
            raise refused(user, action)
        if request.method not in ("GET", "HEAD"):
            raise statuses.method_not_allowed()
        return pages.page(request)

    # ---- reading

    async def _read(self, request: web.Request, target: Target, verb: str) -> web.StreamResponse:
        if target.name:
            if "get" not in target.resource.verbs:
                raise statuses.method_not_allowed()
            representation = asking.negotiate(request.headers.get("Accept", ""))
            self.reading.check_future(request.query.get("resourceVersion", ""))
            record = self.verbs.find(target.resource, target.namespace, target.name)
            if verb == "get":
                return send_record(target.resource, record, representation)
        if verb not in target.resource.verbs:
            raise statuses.method_not_allowed()
        options = asking.list_options(request.query)
        if verb == "watch":
            return await self.reading.watch(request, target, options)
        return self.reading.list_objects(request, target, options)

    # ---- writing

    async def _write(self, request: web.Request, user: User, target: Target) -> web.StreamResponse:
        representation = asking.negotiate(request.headers.get("Accept", ""))
        ask = self._ask(request, user)
        resource, namespace, name = target.resource, target.namespace, target.name
        body = await read_body(request)
        if request.method == "POST":
            if name:
                raise statuses.method_not_allowed()
            if not resource.stored:
                return self._post_unstored(target, body, user, ask)
            self._check_escalation(user, target, body)
            record, created = self.verbs.create(resource, namespace, body, ask), True
        elif not name:
            raise statuses.method_not_allowed()
        elif request.method == "PUT":
            self._check_escalation(user, target, body)
            record, created = self.verbs.update(resource, namespace, name, body, ask)
        else:
            self._check_patch(user, target, body)
            record, created = self.verbs.patch(resource, namespace, name, _how(request), body, ask)
        response = send_record(resource, record, representation, 201 if created else 200)
        for warning in ask.warnings:
            response.headers.add("Warning", f"299 - {json.dumps(warning)}")
        return response

    def _post_unstored(self, target: Target, body: Any, user: User, ask: Ask) -> web.Response:
        obj = self.verbs.read_body(target.resource, body, ask)
        if target.resource.kind == "Binding":
            name = obj.get("metadata", {}).get("name", "")
            return send_json(self.subresources.bind(target.namespace, name, obj, ask), 201)
        return send_json(reviews.answer(target.resource, obj, user, self.rights, self.tokens, now()), 201)

    def _ask(self, request: web.Request, user: User) -> Ask:
        query = request.query
        dry = asking.dry_run(query.getall("dryRun", []), OPTION_KINDS[request.method])
        agent = request.headers.get("User-Agent", "").partition("/")[0]
        manager = query.get("fieldManager") or agent or "unknown"
        validation = query.get("fieldValidation") or "Warn"
        return Ask(
            user, dry_run=dry, validation=validation, manager=manager, force=asking.truth(query.get("force"))
        )

    def _check_escalation(self, user: User, target: Target, body: Any) -> None:
        """Nobody hands out rights that they do not have themselves."""
        kind = target.resource.kind
        if kind not in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding") or not isinstance(
            body, dict
        ):
            return
        namespace = target.namespace or None
        name = (body.get("metadata") or {}).get("name", "")
        if kind in ("Role", "ClusterRole"):
            rules, special = body.get("rules") or [], "escalate"
        else:
            ref = body.get("roleRef") or {}
            own = ref.get("kind") == "Role"
            shelf = "roles" if own else "clusterroles"
            key = (target.namespace if own else "", ref.get("name", ""))
            record = self.verbs.store.get(f"{shelf}.rbac.authorization.k8s.io", key)
            rules, special = (record.obj.get("rules") or []) if record else [], "bind"
        if self.rights.covers(user, rules, namespace):
            return
        if self.rights.allows(user, replace(_action(special, target), name=name)):
            return
        shown = json.dumps(rules, separators=(",", ":"))
        text = f'user "{user.name}" (groups={list(user.groups)}) is attempting to grant RBAC permissions not currently held:\n{shown}'
        raise statuses.forbidden(target.resource.plural, target.resource.group, name, text)

    def _check_patch(self, user: User, target: Target, patch: Any) -> None:
        if target.resource.kind in ("Role", "ClusterRole") and isinstance(patch, dict) and "rules" in patch:
            self._check_escalation(user, target, patch)

    async def _delete(self, request: web.Request, user: User, target: Target) -> web.StreamResponse:
        representation = asking.negotiate(request.headers.get("Accept", ""))
        body = await read_body(request, may_be_empty=True) or {}
        ask = self._ask(request, user)
        if asking.dry_run(body.get("dryRun") or [], "DeleteOptions"):
            ask = replace(ask, dry_run=True)
        options = _delete_options(request, body)
        resource = target.resource
        if target.name:
            if resource.key == "namespaces" and target.name in ("default", "kube-system", "kube-public"):
                raise statuses.forbidden("namespaces", "", target.name, "this namespace may not be deleted")
            record, gone = self.verbs.delete(resource, target.namespace, target.name, options, ask)
            if not gone or resource.returns_deleted:
                return send_record(resource, record, representation)
            return send_json(_deleted(target, record))
        return self._delete_collection(request, target, options, ask)

    def _delete_collection(
        self, request: web.Request, target: Target, options: deletion.Options, ask: Ask
    ) -> web.Response:
        resource = target.resource
        found = asking.list_options(request.query)
        selected = views.read_selectors(resource, found.labels, found.fields)
        records: list[Record] = []
        for record in self.verbs.select(resource, target.namespace or None, *selected):
            meta = record.obj["metadata"]
            records.append(
                self.verbs.delete(resource, meta.get("namespace", ""), meta["name"], options, ask)[0]
            )
        return self.reading.send_list(resource, records, str(self.verbs.store.version))

    # ---- subresources

    async def _subresource(self, request: web.Request, user: User, target: Target) -> web.StreamResponse:
        resource, sub = target.resource, target.sub
        known = resource.sub(sub)
        if known is None:
            raise statuses.no_such_resource()
        if resource.key == "pods" and sub in ("log", "exec", "attach"):
            return await self._kubelet(request, target)
        if sub == "scale":
            return await self._scale(request, user, target)
        representation = asking.negotiate(request.headers.get("Accept", ""))
        if request.method == "GET" and sub == "status":
            return send_record(
                resource, self.verbs.find(resource, target.namespace, target.name), representation
            )
        if request.method not in ("POST", "PUT", "PATCH"):
            raise statuses.method_not_allowed()
        ask, body = self._ask(request, user), await read_body(request)
        if request.method == "POST" and "create" in known.verbs:
            return send_json(
                self.subresources.post(resource, target.namespace, target.name, sub, body, ask), 201
            )
        if request.method == "PUT" and "update" in known.verbs:
            record, _ = self.verbs.update(resource, target.namespace, target.name, body, ask, sub)
        elif request.method == "PATCH" and "patch" in known.verbs:
            record, _ = self.verbs.patch(
                resource, target.namespace, target.name, _how(request), body, ask, sub
            )
        else:
            raise statuses.method_not_allowed()
        return send_record(resource, record, representation)

    async def _scale(self, request: web.Request, user: User, target: Target) -> web.StreamResponse:
        found = (target.resource, target.namespace, target.name)
        if request.method == "GET":
            return send_json(self.subresources.scale(*found))
        if request.method not in ("PUT", "PATCH"):
            raise statuses.method_not_allowed()
        ask, body = self._ask(request, user), await read_body(request)
        if request.method == "PUT":
            return send_json(self.subresources.put_scale(*found, body, ask))
        return send_json(self.subresources.patch_scale(*found, _how(request), body, ask))

    async def _kubelet(self, request: web.Request, target: Target) -> web.StreamResponse:
        pod = self.verbs.find(target.resource, target.namespace, target.name).obj
        if target.sub == "log" and request.method != "GET":
            raise statuses.method_not_allowed()
        container = podlog.check(pod, request.query, target.sub)
        node_name = pod["spec"].get("nodeName")
        if not node_name:
            if target.sub == "log":
                return web.Response(status=204)
            raise statuses.bad_request(f"pod {target.name} does not have a host assigned")
        node = self.verbs.find(BY_KEY["nodes"], "", node_name).obj
        kubelet = kubelet_seam.kubelet_of(node, self._secret)
        path = f"/{target.namespace}/{target.name}/{container}"
        query = [(key, value) for key, value in request.query.items() if key != "container"]
        if target.sub == "log":
            query = [(key, value) for key, value in query if key in kubelet_seam.LOG_PARAMETERS]
            return await kubelet_seam.copy_logs(kubelet, path, query, request)
        return await kubelet_seam.bridge_exec(kubelet, path, query, request)


def _verb(request: web.Request, target: Target) -> str:
    method = request.method
    if method == "GET" and target.sub in ("exec", "attach"):
        return "create"
    if method == "GET":
        if target.name and not (asking.truth(request.query.get("watch")) and not target.sub):
            return "get"
        return "watch" if asking.truth(request.query.get("watch")) else "list"
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    words = {"POST": "create", "PUT": "update", "PATCH": "patch"}
    if method not in words:
        raise statuses.method_not_allowed()
    return words[method]


def _action(verb: str, target: Target) -> Action:
    resource = target.resource
    return Action(verb, resource.plural, resource.group, target.sub, target.namespace, target.name)


def _how(request: web.Request) -> str:
    how = PATCHES.get(request.content_type)
    if how is None:
        accepted = ", ".join(PATCHES)
        text = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        raise statuses.refusal(415, "UnsupportedMediaType", text, {})
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


def _delete_options(request: web.Request, body: Obj) -> deletion.Options:
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


def _deleted(target: Target, record: Record) -> Obj:
    resource, meta = target.resource, record.obj["metadata"]
    details: Obj = {"name": meta["name"]}
    if resource.group:
        details["group"] = resource.group
    details.update(kind=resource.plural, uid=meta["uid"])
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def send_json(obj: Obj, code: int = 200) -> web.Response:
    """An object as the answer."""
    return web.Response(body=msgspec.json.encode(obj), status=code, content_type="application/json")


def _status_response(request: web.Request, refusal: ApiStatus) -> web.Response:
    response = web.Response(
        body=b"" if request.method == "HEAD" else msgspec.json.encode(refusal.body),
        status=refusal.code or 500,
        content_type="application/json",
    )
    if refusal.code == 429 or refusal.body.get("details", {}).get("retryAfterSeconds"):
        response.headers["Retry-After"] = str(refusal.body.get("details", {}).get("retryAfterSeconds") or 10)
    return response


@web.middleware
async def measured(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Log requests that took long; watches and logs are long by nature."""
    start = time.monotonic()
    try:
        return await handler(request)
    finally:
        took = time.monotonic() - start
        if took > 1.0 and "watch" not in request.query and not request.path.endswith(("/log", "/exec")):
            LOG.warning("slow: %s %s took %.2f s", request.method, request.path, took)
