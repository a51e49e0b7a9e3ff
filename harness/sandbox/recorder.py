"""Records Kubernetes events about objects: what a controller, the scheduler or a kubelet did and why.

Recording never waits and never fails its caller: events go through a bounded queue, and what cannot be written
is dropped, as in Kubernetes. The same thing said again raises the count of the first event.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from harness.sandbox.api import Api, ApiStatus, Obj

NORMAL, WARNING = "Normal", "Warning"
_REMEMBERED = 2000
_QUEUED = 1000


def now() -> str:
    """Return the wall clock's time as Kubernetes writes it (RFC 3339, whole seconds, UTC)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def now_micro() -> str:
    """Return the wall clock's time with microseconds, as leases have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_of(stamp: str | None) -> float:
    """Return the seconds since the epoch of an RFC 3339 time; 0 for none."""
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0


@dataclass(frozen=True)
class _Said:
    about: Obj
    type: str
    reason: str
    message: str
    field_path: str

    @property
    def key(self) -> tuple[str, ...]:
        return (self.about["metadata"].get("uid", ""), self.type, self.reason, self.message, self.field_path)


@dataclass
class Recorder:
    """Writes events as `component`, on `host` where that is a node. Run it as a task."""

    api: Api
    component: str
    host: str = ""
    _queue: asyncio.Queue[_Said] = field(default_factory=lambda: asyncio.Queue(_QUEUED))
    _first: dict[tuple[str, ...], tuple[str, str, int]] = field(default_factory=dict)

    def record(self, about: Obj, type_: str, reason: str, message: str, field_path: str = "") -> None:
        """Say something about an object; returns at once."""
        try:
            self._queue.put_nowait(_Said(about, type_, reason, message[:1024], field_path))
        except asyncio.QueueFull:
            pass

    async def run(self) -> None:
        """Write what was recorded, for ever."""
        while True:
            said = await self._queue.get()
            try:
                await self._write(said)
            except ApiStatus:
                pass  # events are best effort

    async def _write(self, said: _Said) -> None:
        known = self._first.pop(said.key, None)
        if known is not None:
            name, namespace, count = known
            repeated = {"count": count + 1, "lastTimestamp": now()}
            try:
                await self.api.patch("events", name, repeated, namespace)
            except ApiStatus:
                await self._create(said)
            else:
                self._first[said.key] = (name, namespace, count + 1)
            return
        await self._create(said)

    async def _create(self, said: _Said) -> None:
        event = event_about(said.about, said.type, said.reason, said.message, said.field_path)
        event["source"] = {"component": self.component, **({"host": self.host} if self.host else {})}
        event["reportingComponent"] = self.component
        event["reportingInstance"] = self.host
        meta = event["metadata"]
        await self.api.create("events", event, meta["namespace"])
        if len(self._first) >= _REMEMBERED:
            self._first.pop(next(iter(self._first)))
        self._first[said.key] = (meta["name"], meta["namespace"], 1)


def event_about(about: Obj, type_: str, reason: str, message: str, field_path: str = "") -> Obj:
    """Return a new event about an object, without a source."""
    meta = about["metadata"]
    namespace = meta.get("namespace") or "default"
    reference = {
        "kind": about.get("kind", ""),
        "apiVersion": about.get("apiVersion", ""),
        "name": meta["name"],
        "uid": meta.get("uid", ""),
    }
    if meta.get("namespace"):
        reference["namespace"] = meta["namespace"]
    if meta.get("resourceVersion"):
        reference["resourceVersion"] = meta["resourceVersion"]
    if field_path:
        reference["fieldPath"] = field_path
    stamp = now()
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name']}.{secrets.token_hex(8)}", "namespace": namespace},
        "involvedObject": reference,
        "type": type_,
        "reason": reason,
        "message": message,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
