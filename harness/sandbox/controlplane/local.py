"""`Api` in-process: controllers and the scheduler read and write the store as system:admin, without HTTP.

Objects given out are copies, so a controller may change them. A watch here never loses events: it starts from the
store's state and follows its changes; one that falls behind the window lists anew.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from harness.sandbox.api import SYNCED, Mirror, Obj, PatchType, WatchEvent
from harness.sandbox.controlplane import deletion, statuses, views
from harness.sandbox.controlplane.resources import BY_KEY, Resource
from harness.sandbox.controlplane.store import Change, Record, VersionGone
from harness.sandbox.controlplane.subresources import Subresources
from harness.sandbox.controlplane.verbs import Ask, Verbs

ASK = Ask(manager="control-plane")
YIELD_EVERY = 64  # a burst of changes must not keep the loop from others


def _resource(key: str) -> Resource:
    found = BY_KEY.get(key)
    if found is None:
        raise statuses.no_such_resource()
    return found


class LocalApi:
    """The in-process `Api`."""

    def __init__(self, verbs: Verbs, subresources: Subresources) -> None:
        self._verbs = verbs
        self._subresources = subresources

    @staticmethod
    def _out(resource: Resource, record: Record) -> Obj:
        obj = record.copy()
        return views.from_stored(resource, obj) if resource.stored_as else obj

    async def get(
        self, resource: str, name: str, namespace: str | None = None, subresource: str | None = None
    ) -> Obj:
        """Read one object or its scale."""
        kind = _resource(resource)
        if subresource == "scale":
            return self._subresources.scale(kind, namespace or "", name)
        return self._out(kind, self._verbs.find(kind, namespace or "", name))

    async def list(
        self,
        resource: str,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
    ) -> tuple[list[Obj], str]:
        """List objects; give items and the version they are of."""
        kind = _resource(resource)
        selected = views.read_selectors(kind, labels or "", fields or "")
        records = self._verbs.select(kind, namespace, *selected)
        return [self._out(kind, record) for record in records], str(self._verbs.store.version)

    async def create(
        self,
        resource: str,
        obj: Obj,
        namespace: str | None = None,
        subresource: str | None = None,
        name: str | None = None,
    ) -> Obj:
        """Create an object, or post to a subresource."""
        kind = _resource(resource)
        meta = obj.get("metadata") or {}
        space = namespace or meta.get("namespace") or ""
        if subresource:
            return self._subresources.post(kind, space, name or meta["name"], subresource, obj, ASK)
        return self._out(kind, self._verbs.create(kind, space, obj, ASK))

    async def replace(
        self, resource: str, obj: Obj, namespace: str | None = None, subresource: str | None = None
    ) -> Obj:
        """Put an object, its status or its scale."""
        kind, meta = _resource(resource), obj["metadata"]
        space = namespace or meta.get("namespace") or ""
        if subresource == "scale":
            return self._subresources.put_scale(kind, space, meta["name"], obj, ASK)
        record, _ = self._verbs.update(kind, space, meta["name"], obj, ASK, subresource or "")
        return self._out(kind, record)

    async def patch(
        self,
        resource: str,
        name: str,
        patch: Any,
        namespace: str | None = None,
        subresource: str | None = None,
        type: PatchType = "merge",  # noqa: A002 - the word of the protocol
    ) -> Obj:
        """Change parts of an object, its status or its scale."""
        kind = _resource(resource)
        if subresource == "scale":
            return self._subresources.patch_scale(kind, namespace or "", name, type, patch, ASK)
        record, _ = self._verbs.patch(kind, namespace or "", name, type, patch, ASK, subresource or "")
        return self._out(kind, record)

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
        options = deletion.Options(grace_s, propagation, uid, resource_version)
        record, _ = self._verbs.delete(_resource(resource), namespace or "", name, options, ASK)
        return self._out(_resource(resource), record)

    async def watch(
        self,
        resource: str,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
    ) -> AsyncGenerator[WatchEvent]:
        """List, then follow, for ever; see `Api.watch`."""
        kind = _resource(resource)
        shelf, bell = self._verbs.store.shelf(kind.shelf), asyncio.Event()
        mirror, synced = Mirror(), False
        shelf.bells.add(bell)
        try:
            while True:
                at = shelf.end
                items, _ = await self.list(resource, namespace, labels, fields)
                for event in mirror.listed(items):
                    yield event
                if not synced:
                    synced = True
                    yield SYNCED, {}
                try:
                    follow = self._follow(kind, at, bell, namespace, labels or "", fields or "")
                    async with aclosing(follow) as events:
                        async for event in events:
                            mirror.seen(*event)
                            yield event
                except VersionGone:
                    continue
        finally:
            shelf.bells.discard(bell)

    async def _follow(
        self, kind: Resource, at: int, bell: asyncio.Event, namespace: str | None, labels: str, fields: str
    ) -> AsyncGenerator[WatchEvent]:
        shelf = self._verbs.store.shelf(kind.shelf)
        selected = views.read_selectors(kind, labels, fields)
        while True:
            bell.clear()
            changes = shelf.since(at)
            for count, change in enumerate(changes):
                at += 1
                if namespace and change.key[0] != namespace:
                    continue
                seen = self._seen(kind, change, selected)
                if seen:
                    yield seen, self._out(kind, change.record)
                if count % YIELD_EVERY == YIELD_EVERY - 1:
                    await asyncio.sleep(0)
            if at == shelf.end:
                await bell.wait()

    @staticmethod
    def _seen(kind: Resource, change: Change, selected: Any) -> str | None:
        return views.event_type(kind, change, *selected)
