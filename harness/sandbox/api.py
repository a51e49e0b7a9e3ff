"""How parts of the sandbox talk to the control plane: the `Api` protocol and its REST implementation.

Kubelets, proxies, the ingress, pods and the supervisor use `RestApi`; controllers and the scheduler are given an
`Api` and never learn whether it is this one or the in-process one. Objects are plain dicts as in Kubernetes JSON.
It refuses to retry requests, to cache, and to hide an error: every refusal is an `ApiStatus`. Only `watch`
reconnects by itself, for ever, because that is what a watcher needs.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import aiohttp
import msgspec

Obj = dict[str, Any]
PatchType = Literal["merge", "strategic", "json"]
WatchEvent = tuple[str, Obj]
SYNCED = "SYNCED"

GROUP_VERSIONS: Mapping[str, str] = {
    "": "v1",
    "apps": "v1",
    "batch": "v1",
    "autoscaling": "v1",
    "authentication.k8s.io": "v1",
    "authorization.k8s.io": "v1",
    "coordination.k8s.io": "v1",
    "discovery.k8s.io": "v1",
    "events.k8s.io": "v1",
    "metrics.k8s.io": "v1beta1",
    "networking.k8s.io": "v1",
    "policy": "v1",
    "rbac.authorization.k8s.io": "v1",
    "scheduling.k8s.io": "v1",
    "storage.k8s.io": "v1",
}

PATCH_TYPES: Mapping[str, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}


class ApiStatus(Exception):
    """A refusal of the API server, as its Status object says it; code 0 where no answer came at all."""

    def __init__(self, code: int, reason: str, message: str, body: Obj | None = None) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.body: Obj = body or {}


class Api(Protocol):
    """Reads, writes and watches objects; resources are plurals with group ("pods", "jobs.batch")."""

    async def get(
        self, resource: str, name: str, namespace: str | None = None, subresource: str | None = None
    ) -> Obj:
        """Read one object (or one of its subresources); raise ApiStatus 404 where there is none."""
        ...

    async def list(
        self,
        resource: str,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
    ) -> tuple[list[Obj], str]:
        """List objects by selectors, all namespaces unless one is named; give also the list's resourceVersion."""
        ...

    async def create(
        self,
        resource: str,
        obj: Obj,
        namespace: str | None = None,
        subresource: str | None = None,
        name: str | None = None,
    ) -> Obj:
        """Create an object, or post to a subresource (binding, eviction, token) of the object `name`."""
        ...

    async def replace(
        self, resource: str, obj: Obj, namespace: str | None = None, subresource: str | None = None
    ) -> Obj:
        """Put an object; its metadata.resourceVersion, where present, must be the newest (else ApiStatus 409)."""
        ...

    async def patch(
        self,
        resource: str,
        name: str,
        patch: Any,
        namespace: str | None = None,
        subresource: str | None = None,
        type: PatchType = "merge",  # noqa: A002 - the word of the protocol
    ) -> Obj:
        """Change parts of an object; a resourceVersion inside the patch makes it conditional (409)."""
        ...

    async def delete(
        self,
        resource: str,
        name: str,
        namespace: str | None = None,
        grace_s: int | None = None,
        propagation: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> Obj:
        """Delete an object; propagation is Background, Foreground or Orphan; uid and version are preconditions."""
        ...

    def watch(
        self,
        resource: str,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
    ) -> AsyncIterator[WatchEvent]:
        """List, then watch, for ever: ADDED for what is there, ("SYNCED", {}) once, then every change.

        After a lost connection or a 410 the list is read again and the differences are yielded, so that the
        consumer always ends with the state of the server. Event types: ADDED, MODIFIED, DELETED, SYNCED.
        """
        ...


def resource_path(
    resource: str, namespace: str | None = None, name: str | None = None, subresource: str | None = None
) -> str:
    """The URL path of a resource; raise KeyError for a group the sandbox does not serve."""
    plural, _, group = resource.partition(".")
    version = GROUP_VERSIONS[group]
    parts = ["/apis", group, version] if group else ["/api", version]
    if namespace and plural != "namespaces":
        parts += ["namespaces", namespace]
    parts += [part for part in (plural, name, subresource) if part]
    return "/".join(parts)


def _same_version(a: Obj, b: Obj) -> bool:
    one, other = a["metadata"], b["metadata"]
    return bool(one["resourceVersion"] == other["resourceVersion"] and one["uid"] == other["uid"])


class Mirror:
    """What a watcher has been told, so that a second list can be turned into the events it missed."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Obj] = {}

    def listed(self, items: list[Obj]) -> list[WatchEvent]:
        """Replace everything by a list and give what changed: deletions first."""
        now = {self._key(item): item for item in items}
        events: list[WatchEvent] = []
        for key, old in self._known.items():
            if key not in now or now[key]["metadata"]["uid"] != old["metadata"]["uid"]:
                events.append(("DELETED", old))
        gone = {id(old) for _, old in events}
        for key, item in now.items():
            known = self._known.get(key)
            if known is None or id(known) in gone:
                events.append(("ADDED", item))
            elif not _same_version(known, item):
                events.append(("MODIFIED", item))
        self._known = now
        return events

    def seen(self, kind: str, obj: Obj) -> None:
        """Take over one event of the stream."""
        if kind == "DELETED":
            self._known.pop(self._key(obj), None)
        else:
            self._known[self._key(obj)] = obj

    @staticmethod
    def _key(obj: Obj) -> tuple[str, str]:
        meta = obj["metadata"]
        return meta.get("namespace", ""), meta["name"]


class RestApi:
    """`Api` over HTTPS with a bearer token; use as an async context manager, inside one event loop."""

    def __init__(
        self, url: str, token: str, ca_file: Path | str, *, timeout_s: float = 10.0, retry_s: float = 0.5
    ) -> None:
        self.url = url.rstrip("/")
        self.token = token
        self._retry_s = retry_s
        self._tls = ssl.create_default_context(cafile=str(ca_file))
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP session, made inside the running loop on first use."""
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls, limit=0, keepalive_timeout=30)
            headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
            self._session = aiohttp.ClientSession(
                connector=connector, headers=headers, timeout=self._timeout, trust_env=False
            )
        return self._session

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Obj:
        """Send one request and give the JSON answer; raise ApiStatus for a refusal or where no answer came."""
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": content_type} if data is not None else None
        try:
            async with self.session.request(
                method, self.url + path, data=data, params=params, headers=headers
            ) as answer:
                raw = await answer.read()
                code = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiStatus(0, "NoAnswer", f"{method} {path}: {type(error).__name__} {error}") from error
        return self._checked(code, raw)

    @staticmethod
    def _checked(code: int, raw: bytes) -> Obj:
        try:
            parsed = msgspec.json.decode(raw) if raw else {}
        except msgspec.DecodeError:
            parsed = {"message": raw.decode("utf-8", "replace")}
        obj: Obj = parsed if isinstance(parsed, dict) else {"message": str(parsed)}
        if code >= 400:
            raise ApiStatus(code, obj.get("reason") or "Unknown", obj.get("message") or "", obj)
        return obj

    async def get(
        self, resource: str, name: str, namespace: str | None = None, subresource: str | None = None
    ) -> Obj:
        """Read one object or one of its subresources."""
        return await self.request("GET", resource_path(resource, namespace, name, subresource))

    async def list(
        self,
        resource: str,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
    ) -> tuple[list[Obj], str]:
        """List objects; give items and the list's resourceVersion."""
        answer = await self.request(
            "GET", resource_path(resource, namespace), params=_selectors(labels, fields)
        )
        return answer.get("items") or [], answer["metadata"]["resourceVersion"]

    async def create(
        self,
        resource: str,
        obj: Obj,
        namespace: str | None = None,
        subresource: str | None = None,
        name: str | None = None,
    ) -> Obj:
        """Create an object, or post to a subresource of the object `name`."""
        namespace = namespace or obj.get("metadata", {}).get("namespace")
        if subresource and name is None:
            name = obj["metadata"]["name"]
        path = resource_path(resource, namespace, name if subresource else None, subresource)
        return await self.request("POST", path, obj)

    async def replace(
        self, resource: str, obj: Obj, namespace: str | None = None, subresource: str | None = None
    ) -> Obj:
        """Put an object (or a subresource of it)."""
        meta = obj["metadata"]
        path = resource_path(resource, namespace or meta.get("namespace"), meta["name"], subresource)
        return await self.request("PUT", path, obj)

    async def patch(
        self,
        resource: str,
        name: str,
        patch: Any,
        namespace: str | None = None,
        subresource: str | None = None,
        type: PatchType = "merge",  # noqa: A002 - the word of the protocol
    ) -> Obj:
        """Change parts of an object."""
        path = resource_path(resource, namespace, name, subresource)
        return await self.request("PATCH", path, patch, content_type=PATCH_TYPES[type])

    async def delete(
        self,
        resource: str,
        name: str,
        namespace: str | None = None,
        grace_s: int | None = None,
        propagation: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> Obj:
        """Delete an object."""
        options = delete_options(grace_s, propagation, uid, resource_version)
        return await self.request("DELETE", resource_path(resource, namespace, name), options)

    async def watch(
        self,
        resource: str,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
    ) -> AsyncGenerator[WatchEvent]:
        """List, then watch, for ever; see `Api.watch`."""
        mirror, synced = Mirror(), False
        path, selectors = resource_path(resource, namespace), _selectors(labels, fields)
        while True:
            try:
                items, version = await self.list(resource, namespace, labels, fields)
            except ApiStatus:
                await asyncio.sleep(self._retry_s)
                continue
            for event in mirror.listed(items):
                yield event
            if not synced:
                synced = True
                yield SYNCED, {}
            async with aclosing(self._stream(path, {**selectors, "resourceVersion": version})) as changes:
                async for kind, obj in changes:
                    mirror.seen(kind, obj)
                    yield kind, obj
            await asyncio.sleep(self._retry_s)

    async def _stream(self, path: str, params: dict[str, str]) -> AsyncGenerator[WatchEvent]:
        """Events from one version on; reconnects at the last version seen, ends when a list is needed."""
        while True:
            query = {**params, "watch": "true", "allowWatchBookmarks": "true"}
            try:
                async with self.session.get(
                    self.url + path, params=query, timeout=aiohttp.ClientTimeout(total=None, sock_connect=5)
                ) as answer:
                    if answer.status != 200:
                        return
                    async for line in _lines(answer.content):
                        event = msgspec.json.decode(line)
                        kind, obj = event["type"], event["object"]
                        if kind == "ERROR":
                            return
                        params["resourceVersion"] = obj["metadata"]["resourceVersion"]
                        if kind != "BOOKMARK":
                            yield kind, obj
            except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError):
                return


def _selectors(labels: str | None, fields: str | None) -> dict[str, str]:
    found = {"labelSelector": labels, "fieldSelector": fields}
    return {key: value for key, value in found.items() if value}


def delete_options(
    grace_s: int | None, propagation: str | None, uid: str | None, resource_version: str | None
) -> Obj:
    """The DeleteOptions body for what was given."""
    options: Obj = {"kind": "DeleteOptions", "apiVersion": "v1"}
    if grace_s is not None:
        options["gracePeriodSeconds"] = grace_s
    if propagation is not None:
        options["propagationPolicy"] = propagation
    conditions = {"uid": uid, "resourceVersion": resource_version}
    if any(conditions.values()):
        options["preconditions"] = {key: value for key, value in conditions.items() if value}
    return options


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines of any length (StreamReader.readline refuses long ones)."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
    if rest.strip():
        yield rest


def load_rest_api(sandbox: Path) -> RestApi:
    """The admin's RestApi of a state directory that holds admin.json (url, token) and ca.pem."""
    found = json.loads((sandbox / "admin.json").read_text())
    return RestApi(found["url"], found["token"], sandbox / "ca.pem")
