"""The HTTP front of the API server: identity, rights, routing by verb, and answers.

One handler for every path, run by aiohttp. What a request means is in `asking`, what it does in `verbs`,
`subresources` and `reviews`, lists and watches are `reading`. Every refusal leaves as a Status object.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from aiohttp import web

from harness.sandbox.api import ApiStatus
from harness.sandbox.controlplane import (
    asking,
    deletion,
    identity,
    kubelet_seam,
    pages,
    podlog,
    reviews,
    statuses,
    views,
)
from harness.sandbox.controlplane.asking import Target
from harness.sandbox.controlplane.bodies import (
    delete_options,
    deleted,
    how,
    read_body,
    send_json,
    status_response,
)
from harness.sandbox.controlplane.callers import Callers, verb_of
from harness.sandbox.controlplane.identity import User
from harness.sandbox.controlplane.reading import Reading, send_record
from harness.sandbox.controlplane.resources import BY_KEY
from harness.sandbox.controlplane.rights import Action, Rights, refused
from harness.sandbox.controlplane.store import Record
from harness.sandbox.controlplane.subresources import Subresources
from harness.sandbox.controlplane.verbs import Ask, Verbs, now

LOG = logging.getLogger(__name__)
OPTION_KINDS = {
    "POST": "CreateOptions",
    "PUT": "UpdateOptions",
    "PATCH": "PatchOptions",
    "DELETE": "DeleteOptions",
}
DELAY_CHECK_S = 0.1
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Front:
    """The request handler of one control plane."""

    def __init__(
        self,
        verbs: Verbs,
        subresources: Subresources,
        rights: Rights,
        secret: str,
        version: str = pages.VERSION,
    ) -> None:
        self.verbs = verbs
        self.subresources = subresources
        self.rights = rights
        self.callers = Callers(verbs.store, subresources.tokens, rights)
        self.tokens = subresources.tokens
        self.reading = Reading(verbs)
        self._secret = secret
        self._version = version

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        try:
            return await self._answer(request)
        except ApiStatus as refusal:
            return status_response(request, refusal)
        except identity.Unauthorized:
            return status_response(request, statuses.refusal(401, "Unauthorized", "Unauthorized"))
        except ConnectionError:  # the client has gone: nobody reads this
            return web.Response(status=499)
        except web.HTTPException:
            raise
        except Exception:
            LOG.exception("%s %s", request.method, request.path_qs)
            return status_response(request, statuses.internal("the server has made a mistake; see its log"))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        user = self.callers.user(request)
        target = asking.read_path(request.path)
        if target is None:
            return self._page(request, user)
        user = self.callers.impersonated(request, user, target)
        verb = verb_of(request, target)
        self.callers.authorize(user, verb, target)
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

    def _page(self, request: web.Request, user: User) -> web.StreamResponse:
        """Discovery, OpenAPI, version, health: everything that is no resource."""
        user = self.callers.impersonated(request, user, None)
        action = Action(request.method.lower(), path=request.path)
        if not self.callers.rights.allows(user, action):
            raise refused(user, action)
        if request.method not in ("GET", "HEAD"):
            raise statuses.method_not_allowed()
        return pages.page(request, self._version)

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
            self.callers.check_escalation(user, target, body)
            record, created = self.verbs.create(resource, namespace, body, ask), True
        elif not name:
            raise statuses.method_not_allowed()
        elif request.method == "PUT":
            self.callers.check_escalation(user, target, body)
            record, created = self.verbs.update(resource, namespace, name, body, ask)
        else:
            self.callers.check_patch(user, target, body)
            record, created = self.verbs.patch(resource, namespace, name, how(request), body, ask)
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

    async def _delete(self, request: web.Request, user: User, target: Target) -> web.StreamResponse:
        representation = asking.negotiate(request.headers.get("Accept", ""))
        body = await read_body(request, may_be_empty=True) or {}
        ask = self._ask(request, user)
        if asking.dry_run(body.get("dryRun") or [], "DeleteOptions"):
            ask = replace(ask, dry_run=True)
        options = delete_options(request, body)
        resource = target.resource
        if target.name:
            if resource.key == "namespaces" and target.name in ("default", "kube-system", "kube-public"):
                raise statuses.forbidden("namespaces", "", target.name, "this namespace may not be deleted")
            record, gone = self.verbs.delete(resource, target.namespace, target.name, options, ask)
            if not gone or resource.returns_deleted:
                return send_record(resource, record, representation)
            return send_json(deleted(target, record))
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
                resource, target.namespace, target.name, how(request), body, ask, sub
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
        return send_json(self.subresources.patch_scale(*found, how(request), body, ask))

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


def delayed(delay_s: Callable[[], float]) -> Any:
    """Make a middleware that keeps every request waiting at the door for as long as `delay_s` says at that moment."""

    @web.middleware
    async def wait(request: web.Request, handler: Handler) -> web.StreamResponse:
        came = time.monotonic()
        while (left := came + delay_s() - time.monotonic()) > 0:
            await asyncio.sleep(min(left, DELAY_CHECK_S))
        return await handler(request)

    return wait


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
