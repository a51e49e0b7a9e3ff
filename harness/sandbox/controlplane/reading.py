"""Lists and watches: consistent pages, versions, initial events, bookmarks, Tables and partial metadata.

Called by the HTTP front. Objects were encoded when they were written; a list joins those bytes, and watchers of one
resource share the encoded lines. It refuses (ApiStatus) versions of the future and pages whose past is gone.
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
import yaml
from aiohttp import web

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import asking, statuses, tables, views
from harness.sandbox.controlplane.asking import ListOptions, Representation, Target
from harness.sandbox.controlplane.resources import Resource
from harness.sandbox.controlplane.store import Record, VersionGone
from harness.sandbox.controlplane.verbs import Verbs

BOOKMARK_EVERY_S = 60.0
BOOKMARK_BEFORE_END_S = 2.0
LONGEST_WATCH_S = 3600.0
INITIAL_END = "k8s.io/initial-events-end"
CONTINUE_GONE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter."
)


def send(body: bytes, representation: Representation, code: int = 200) -> web.Response:
    """An answer in its media type."""
    if representation.media == "application/yaml":
        body = yaml.safe_dump(msgspec.json.decode(body), sort_keys=False).encode()
    return web.Response(body=body, status=code, content_type=representation.media)


def shown(resource: Resource, record: Record) -> bytes:
    """The JSON of one object as its resource shows it."""
    if resource.stored_as:
        return msgspec.json.encode(views.from_stored(resource, record.obj))
    return record.raw


def partial(record: Record, version: str = "v1") -> Obj:
    """An object's metadata alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": record.obj["metadata"],
    }


def send_record(
    resource: Resource, record: Record, representation: Representation, code: int = 200
) -> web.Response:
    """One object as the answer, or its row, or its metadata."""
    if representation.shape == "Table":
        table = tables.table(resource, [record], representation.version, record.obj["metadata"])
        return send(msgspec.json.encode(table), representation, code)
    if representation.shape == "PartialObjectMetadata":
        return send(msgspec.json.encode(partial(record, representation.version)), representation, code)
    return send(shown(resource, record), representation, code)


class Reading:
    """Lists and watches of one store."""

    def __init__(self, verbs: Verbs) -> None:
        self.verbs = verbs
        self.store = verbs.store

    def check_future(self, version: str) -> None:
        """Raise ApiStatus 504 for a version that is not reached yet."""
        if version.isdigit() and int(version) > self.store.version:
            text = f"Too large resource version: {version}, current: {self.store.version}"
            causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
            details = {"causes": causes, "retryAfterSeconds": 1}
            raise statuses.refusal(504, "Timeout", f"Timeout: {text}", details)

    # ---- lists

    def list_objects(self, request: web.Request, target: Target, options: ListOptions) -> web.Response:
        """Answer a list."""
        representation = asking.negotiate(request.headers.get("Accept", ""))
        resource = target.resource
        selected = views.read_selectors(resource, options.labels, options.fields)
        self.check_future(options.version)
        version, start = self.store.version, ("", "")
        if options.token:
            version, start = _read_token(options.token)
        elif options.match == "Exact":
            version = int(options.version)
        records = self.verbs.select(
            resource, target.namespace or None, *selected, records=self._past(target, version, start)
        )
        more: dict[str, Any] = {}
        if options.limit and len(records) > options.limit:
            last = records[options.limit - 1].obj["metadata"]
            more["continue"] = _token(version, (last.get("namespace", ""), last["name"]))
            if not options.labels and not options.fields:
                more["remainingItemCount"] = len(records) - options.limit
            records = records[: options.limit]
        return self.send_list(resource, records, str(version), more, representation)

    def _past(self, target: Target, version: int, start: tuple[str, str]) -> Iterable[Record]:
        resource = target.resource
        if version >= self.store.shelf(resource.shelf).version and start == ("", ""):
            return self.store.each(resource.shelf, target.namespace or None)
        try:
            found = self.store.shelf(resource.shelf).at(version)
        except VersionGone as error:
            raise statuses.expired(CONTINUE_GONE if start[1] else str(error)) from error
        return [
            found[key]
            for key in sorted(found)
            if key > start and (not target.namespace or key[0] == target.namespace)
        ]

    def send_list(
        self,
        resource: Resource,
        records: list[Record],
        version: str,
        more: Obj | None = None,
        representation: Representation | None = None,
    ) -> web.Response:
        """Objects as a list, a Table or a list of metadata."""
        representation = representation or Representation()
        meta = {"resourceVersion": version, **(more or {})}
        if representation.shape == "Table":
            table = tables.table(resource, records, representation.version, meta)
            return send(msgspec.json.encode(table), representation)
        if representation.shape:
            items = [partial(record, representation.version) for record in records]
            kind, api_version = "PartialObjectMetadataList", f"meta.k8s.io/{representation.version}"
            body = {"kind": kind, "apiVersion": api_version, "metadata": meta, "items": items}
            return send(msgspec.json.encode(body), representation)
        head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": meta}
        return send(
            _joined(resource, records, head, len(self.store.shelf(resource.shelf).prefix)), representation
        )

    # ---- watches

    async def watch(self, request: web.Request, target: Target, options: ListOptions) -> web.StreamResponse:
        """Answer a watch until its time is up or the client goes."""
        representation = asking.negotiate(request.headers.get("Accept", ""))
        terms = [options.fields, f"metadata.name={target.name}" if target.name else ""]
        selected = views.read_selectors(target.resource, options.labels, ",".join(filter(None, terms)))
        response = web.StreamResponse(headers={"Content-Type": representation.media})
        response.enable_chunked_encoding()
        stream = _Stream(self, target, options, representation, selected)
        seconds = options.timeout_s or LONGEST_WATCH_S
        try:
            await response.prepare(request)
            async for lines in stream.run(time.monotonic() + seconds):
                await response.write(lines)
            await response.write_eof()
        except ConnectionError:  # the client has gone
            pass
        return response


def _joined(resource: Resource, records: list[Record], head: Obj, cut: int) -> bytes:
    if resource.stored_as:
        items = [
            msgspec.json.encode(
                {
                    k: v
                    for k, v in views.from_stored(resource, r.obj).items()
                    if k not in ("kind", "apiVersion")
                }
            )
            for r in records
        ]
    else:
        items = [b"{" + record.raw[cut:] for record in records]
    return msgspec.json.encode(head)[:-1] + b',"items":[' + b",".join(items) + b"]}"


def _token(version: int, last: tuple[str, str]) -> str:
    raw = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": last}).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, name = found["start"]
        return int(found["rv"]), (str(namespace), str(name))
    except (ValueError, KeyError, TypeError) as error:
        raise statuses.bad_request(f"continue key is not valid: {error}") from error


class _Stream:
    """One watch: where it stands and how its events look."""

    def __init__(
        self,
        reading: Reading,
        target: Target,
        options: ListOptions,
        representation: Representation,
        selected: tuple[Any, Any],
    ) -> None:
        self.store = reading.store
        self.verbs = reading.verbs
        self.target = target
        self.options = options
        self.shape = representation.shape
        self.version = representation.version
        self.selected = selected
        self.shelf = reading.store.shelf(target.resource.shelf)
        self.bell = asyncio.Event()
        self.at = 0
        self.first_row = True

    async def run(self, end: float) -> AsyncIterator[bytes]:
        """Chunks of lines until the time `end` (monotonic seconds)."""
        self.shelf.bells.add(self.bell)
        try:
            try:
                opening = self._open()
            except VersionGone as error:
                yield self._line("ERROR", statuses.expired(str(error)).body)
                return
            if opening:
                yield opening
            bookmark_at = self._next_bookmark(end)
            while True:
                try:
                    lines = self._new_lines()
                except VersionGone as error:
                    yield self._line("ERROR", statuses.expired(str(error)).body)
                    return
                if lines:
                    yield lines
                    continue
                wait = min(end, bookmark_at) - time.monotonic()
                if wait <= 0:
                    if self.options.bookmarks and time.monotonic() >= bookmark_at:
                        yield self._bookmark({})
                        bookmark_at = self._next_bookmark(end)
                    if time.monotonic() >= end:
                        return
                    continue
                try:
                    async with asyncio.timeout(wait):
                        await self.bell.wait()
                except TimeoutError:
                    pass
        finally:
            self.shelf.bells.discard(self.bell)

    def _next_bookmark(self, end: float) -> float:
        if not self.options.bookmarks:
            return end
        now = time.monotonic()
        last = end - BOOKMARK_BEFORE_END_S
        return min(now + BOOKMARK_EVERY_S, last) if now < last else end + 1

    def _open(self) -> bytes:
        """Where to start, and the events that come before the stream."""
        version, self.at = self.options.version, self.shelf.end
        if version not in ("", "0") and not self.options.initial:
            if int(version) <= self.store.version:
                self.at = self.shelf.number_after(int(version))
            return b""
        if self.options.initial is False:
            return b""
        records = self.verbs.select(self.target.resource, self.target.namespace or None, *self.selected)
        lines = b"".join(self._event("ADDED", record) for record in records)
        if self.options.initial and self.options.bookmarks:
            lines += self._bookmark({INITIAL_END: "true"})
        return lines

    def _new_lines(self) -> bytes:
        self.bell.clear()
        lines = []
        for change in self.shelf.since(self.at):
            self.at += 1
            if (
                self.target.namespace
                and change.key[0] != self.target.namespace
                and self.target.resource.namespaced
            ):
                continue
            kind = views.event_type(self.target.resource, change, *self.selected)
            if kind is None:
                continue
            if self.shape:
                lines.append(self._event(kind, change.record))
                continue
            key = (self.target.resource.key, kind)
            line = change.lines.get(key)
            if line is None:
                line = change.lines[key] = self._event(kind, change.record)
            lines.append(line)
        return b"".join(lines)

    def _event(self, kind: str, record: Record) -> bytes:
        resource = self.target.resource
        if self.shape == "Table":
            table = tables.table(resource, [record], self.version, {"resourceVersion": str(record.version)})
            if not self.first_row:
                table["columnDefinitions"] = None
            self.first_row = False
            return self._line(kind, table)
        if self.shape:
            return self._line(kind, partial(record, self.version))
        return b'{"type":"%s","object":%s}\n' % (kind.encode(), shown(resource, record))

    def _bookmark(self, annotations: dict[str, str]) -> bytes:
        resource = self.target.resource
        meta: Obj = {"resourceVersion": str(self.store.version), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        obj: Obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
        if self.shape == "Table":
            obj = tables.table(resource, [], self.version, meta)
            obj["rows"] = [
                {
                    "cells": [],
                    "object": {
                        "kind": "PartialObjectMetadata",
                        "apiVersion": "meta.k8s.io/v1",
                        "metadata": meta,
                    },
                }
            ]
        elif self.shape:
            obj = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        return self._line("BOOKMARK", obj)

    @staticmethod
    def _line(kind: str, obj: Obj) -> bytes:
        return msgspec.json.encode({"type": kind, "object": obj}) + b"\n"
