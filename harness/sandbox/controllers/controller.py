"""The frame of a controller: a queue of keys, one reconciliation at a time, retries.

A controller names what wakes it and reconciles one key from the picture it has; it must be able to do so again
at any time. A refusal by the server is tried again a little later, an unexpected error is logged and tried again.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable

from harness.sandbox.api import Api, ApiStatus, Obj
from harness.sandbox.controllers.informer import Key, World, controller_of, key_of
from harness.sandbox.recorder import Recorder

log = logging.getLogger(__name__)

FIRST_RETRY_S, LAST_RETRY_S = 0.02, 5.0


class Controller(ABC):
    """Reconciles keys; subclasses say how and what wakes them."""

    name = "controller"

    def __init__(self, world: World, recorder: Recorder) -> None:
        self.world = world
        self.api: Api = world.api
        self.recorder = recorder
        self._queue: dict[Key, None] = {}
        self._retries: dict[Key, int] = {}
        self._due: dict[Key, asyncio.TimerHandle] = {}
        self._woken = asyncio.Event()

    def wake(self, key: Key) -> None:
        """Have a key reconciled soon."""
        self._queue[key] = None
        self._woken.set()

    def wake_after(self, key: Key, delay_s: float) -> None:
        """Have a key reconciled after a delay, unless an earlier moment is set already."""
        loop = asyncio.get_running_loop()
        due = self._due.get(key)
        if due is not None and not due.cancelled():
            if due.when() <= loop.time() + delay_s and due.when() > loop.time():
                return
            due.cancel()
        self._due[key] = loop.call_later(max(delay_s, 0), self._overdue, key)

    def _overdue(self, key: Key) -> None:
        self._due.pop(key, None)
        self.wake(key)

    def wakes_itself(self, resource: str) -> None:
        """Wake on every event about objects of the resource, by their own key."""
        self.world.informer(resource).on_event(lambda _kind, obj, _before: self.wake(key_of(obj)))

    def wakes_controller(self, resource: str, kind: str) -> None:
        """Wake on every event about objects of the resource, by the key of their controller of this kind."""

        def on_event(_kind: str, obj: Obj, before: Obj | None) -> None:
            for one in (obj, before):
                owner = controller_of(one) if one is not None else None
                if owner is not None and owner["kind"] == kind:
                    self.wake((obj["metadata"].get("namespace") or "", owner["name"]))

        self.world.informer(resource).on_event(on_event)

    @abstractmethod
    async def reconcile(self, key: Key) -> None:
        """Make the world as the object of this key says."""

    async def run(self) -> None:
        """Reconcile what was woken, for ever."""
        await self.world.synced()
        while True:
            while not self._queue:
                self._woken.clear()
                await self._woken.wait()
            key = next(iter(self._queue))
            del self._queue[key]
            await self._attempt(key)

    async def _attempt(self, key: Key) -> None:
        try:
            await self.reconcile(key)
        except ApiStatus as refusal:
            if refusal.code not in (404, 409):
                log.warning("%s %s/%s: %s", self.name, *key, refusal)
            self._again(key)
        except Exception:
            log.exception("%s %s/%s", self.name, *key)
            self._again(key)
        else:
            self._retries.pop(key, None)

    def _again(self, key: Key) -> None:
        tries = self._retries[key] = self._retries.get(key, 0) + 1
        self.wake_after(key, min(FIRST_RETRY_S * 2**tries, LAST_RETRY_S))


async def ignoring_absence(request: Awaitable[object]) -> None:
    """Await a request whose object may be gone, or another one of the same name, by now."""
    try:
        await request
    except ApiStatus as refusal:
        if refusal.code not in (404, 409):
            raise
