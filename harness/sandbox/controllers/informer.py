"""A controller's picture of one kind of object: list, then watch, kept in memory.

All controllers share one `World`, which holds one `Informer` per resource. The picture may lag behind the server by
an event or two; whoever has just written waits with `until` before deciding again. Objects belong to
everybody: nobody may change one, only copies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from harness.sandbox.api import Api, Obj
from harness.sandbox.controlplane.resources import BY_KEY

Key = tuple[str, str]
Handler = Callable[[str, Obj, Obj | None], None]
"""kind of event, the object (the last known one for DELETED), the object before."""

CAUGHT_UP_S = 2.0


def key_of(obj: Obj) -> Key:
    """Return namespace and name."""
    meta = obj["metadata"]
    return meta.get("namespace") or "", meta["name"]


def controller_of(obj: Obj) -> Obj | None:
    """Return the owner reference of the object's controller."""
    for owner in obj["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            found: Obj = owner
            return found
    return None


class Informer:
    """One resource's objects by key, and by the uids of their owners."""

    def __init__(self, resource: str) -> None:
        self.resource = resource
        self.items: dict[Key, Obj] = {}
        self.synced = asyncio.Event()
        self._by_owner: dict[str, set[Key]] = {}
        self._by_namespace: dict[str, dict[Key, Obj]] = {}
        self._handlers: list[Handler] = []
        self._waiting: set[asyncio.Future[None]] = set()
        kind = BY_KEY[resource]
        version = f"{kind.group}/{kind.version}" if kind.group else kind.version
        self._is = {"apiVersion": version, "kind": kind.kind}

    def on_event(self, handler: Handler) -> None:
        """Call `handler` for every event from now on."""
        self._handlers.append(handler)

    def get(self, namespace: str, name: str) -> Obj | None:
        """Return an object; None if it is not known."""
        return self.items.get((namespace, name))

    def owned_by(self, uid: str) -> list[Obj]:
        """Return the objects that name `uid` among their owners."""
        return [self.items[key] for key in self._by_owner.get(uid, ())]

    def controlled_by(self, uid: str) -> list[Obj]:
        """Return the objects whose controller is `uid`."""
        return [obj for obj in self.owned_by(uid) if (controller_of(obj) or {}).get("uid") == uid]

    def within(self, namespace: str) -> Iterator[Obj]:
        """Give the objects of one namespace."""
        return iter(list(self._by_namespace.get(namespace, {}).values()))

    async def run(self, api: Api) -> None:
        """Follow the server for ever."""
        async for kind, obj in api.watch(self.resource):
            if kind == "SYNCED":
                self.synced.set()
            else:
                self.take(kind, obj)

    def take(self, kind: str, obj: Obj) -> None:
        """Take over one event."""
        obj |= self._is  # items of a list do not say what they are
        key = key_of(obj)
        before = self.items.pop(key, None)
        if before is not None:
            self._unlist(key, before)
        if kind != "DELETED":
            self.items[key] = obj
            self._by_namespace.setdefault(key[0], {})[key] = obj
            for owner in obj["metadata"].get("ownerReferences") or []:
                self._by_owner.setdefault(owner["uid"], set()).add(key)
        for handler in self._handlers:
            handler(kind, obj, before)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def _unlist(self, key: Key, obj: Obj) -> None:
        self._by_namespace.get(key[0], {}).pop(key, None)
        for owner in obj["metadata"].get("ownerReferences") or []:
            keys = self._by_owner.get(owner["uid"])
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._by_owner[owner["uid"]]

    async def until(self, holds: Callable[[], Any], within_s: float = CAUGHT_UP_S) -> bool:
        """Wait until the picture shows something; False when it does not come in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while not holds():
            changed: asyncio.Future[None] = loop.create_future()
            self._waiting.add(changed)
            try:
                async with asyncio.timeout_at(deadline):
                    await changed
            except TimeoutError:
                return False
            finally:
                self._waiting.discard(changed)
        return True

    async def until_seen(self, obj: Obj) -> bool:
        """Wait until the picture is as new as an object that a write gave back."""
        uid, version = obj["metadata"]["uid"], int(obj["metadata"]["resourceVersion"])
        key = key_of(obj)

        def seen() -> bool:
            known = self.items.get(key)
            return known is not None and (
                known["metadata"]["uid"] != uid or int(known["metadata"]["resourceVersion"]) >= version
            )

        return await self.until(seen)


class World:
    """All informers; controllers ask for those they need before `run`."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._informers: dict[str, Informer] = {}

    def informer(self, resource: str) -> Informer:
        """Return the informer of a resource, the same one for everybody."""
        return self._informers.setdefault(resource, Informer(resource))

    async def run(self) -> None:
        """Follow every resource that somebody asked for."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers.values():
                group.create_task(informer.run(self.api))

    async def synced(self) -> None:
        """Return once every picture is complete."""
        for informer in self._informers.values():
            await informer.synced.wait()
