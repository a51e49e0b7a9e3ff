"""The store: every object's newest state, one version counter, and a bounded window of past changes per resource.

Written by the verbs, read by lists and watches. All calls are synchronous in one event loop, so each is atomic.
An object is encoded once per change; lists and watchers share those bytes. It knows nothing of Kubernetes' rules: no
defaults, no rights, no finalizers. Objects handed in must not be changed afterwards; `Record.copy` gives an own one.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from harness.sandbox.api import Obj

Key = tuple[str, str]
ENCODER = msgspec.json.Encoder()
WINDOW = 2000
FRESH = 64  # changes of a resource that are kept ready for watchers


class VersionGone(Exception):
    """The version asked for is older than the window; carries the oldest one that could be served."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {asked} ({oldest})")


class VersionTaken(Exception):
    """Somebody else wrote in between."""


class Record:
    """One state of one object, with its JSON; a past state keeps the JSON alone (a fifth of the memory)."""

    __slots__ = ("_obj", "raw", "version")

    def __init__(self, obj: Obj, raw: bytes, version: int) -> None:
        self._obj: Obj | None = obj
        self.raw = raw
        self.version = version

    @property
    def obj(self) -> Obj:
        """The object, not to be changed."""
        return self.copy() if self._obj is None else self._obj

    def copy(self) -> Obj:
        """An own copy, free to be changed."""
        decoded: Obj = msgspec.json.decode(self.raw)
        return decoded

    def shrink(self) -> None:
        """Keep only the JSON."""
        self._obj = None


@dataclass(slots=True)
class Change:
    """One write: what it was (ADDED, MODIFIED, DELETED), the state after and the state before."""

    version: int
    kind: str
    key: Key
    record: Record
    before: Record | None
    lines: dict[Any, bytes] = field(default_factory=dict)  # encoded watch lines, shared between watchers


class Shelf:
    """All objects of one resource and its recent changes."""

    def __init__(self, prefix: bytes, window: int) -> None:
        self.prefix = prefix  # the JSON of kind and apiVersion that starts every encoded object
        self.records: dict[Key, Record] = {}
        self.changes: list[Change] = []
        self.first = 0  # the number of changes[0], counted since the start
        self.oldest = 0  # versions below this one cannot be watched from
        self.version = 0  # of the newest change
        self.bells: set[asyncio.Event] = set()
        self.listeners: list[Callable[[Change], None]] = []
        self._window = window
        self._keys: list[Key] | None = None

    @property
    def keys(self) -> list[Key]:
        """All keys in order of namespace and name."""
        if self._keys is None:
            self._keys = sorted(self.records)
        return self._keys

    def took(self, change: Change) -> None:
        """Take over one change and wake those who wait."""
        if change.kind == "DELETED":
            del self.records[change.key]
            self._keys = None
        else:
            if change.before is None:
                self._keys = None
            self.records[change.key] = change.record
        self.version = change.version
        self.changes.append(change)
        if len(self.changes) > FRESH:
            self._age(self.changes[-FRESH - 1])
        if len(self.changes) >= self._window + self._window // 4 + 1:
            cut = len(self.changes) - self._window
            self.oldest = self.changes[cut - 1].version
            del self.changes[:cut]
            self.first += cut
        for bell in self.bells:
            bell.set()
        for listener in self.listeners:
            listener(change)

    def _age(self, change: Change) -> None:
        """Make a change small that most watchers have seen: its states are past, or nearly."""
        change.lines.clear()
        if self.records.get(change.key) is not change.record:
            change.record.shrink()
        if change.before is not None:
            change.before.shrink()

    def restored(self, key: Key, record: Record) -> None:
        """Take over an object from before the start."""
        self.records[key] = record
        self._keys = None

    @property
    def end(self) -> int:
        """The number the next change will have."""
        return self.first + len(self.changes)

    def number_after(self, version: int) -> int:
        """The number of the first change after a version; raise VersionGone below the window."""
        if version < self.oldest:
            raise VersionGone(version, self.oldest)
        return self.first + bisect_right(self.changes, version, key=lambda change: change.version)

    def since(self, number: int) -> list[Change]:
        """The changes from a number on; raise VersionGone where the window has moved past it."""
        if number < self.first:
            raise VersionGone(number, self.first)
        return self.changes[number - self.first :]

    def at(self, version: int) -> dict[Key, Record]:
        """All objects as they were at a version; raise VersionGone below the window."""
        if version >= self.version:
            return self.records
        start = self.number_after(version)
        past = dict(self.records)
        for change in reversed(self.since(start)):
            if change.before is None:
                past.pop(change.key, None)
            else:
                past[change.key] = change.before
        return past


class Store:
    """Shelves of all resources under one version counter."""

    def __init__(self, first_version: int = 1, window: int = WINDOW) -> None:
        self.version = first_version
        self.shelves: dict[str, Shelf] = {}
        self._window = window

    def shelf(self, name: str) -> Shelf:
        """The shelf of a resource, as made by `open_shelf`."""
        return self.shelves[name]

    def open_shelf(self, name: str, kind: str, api_version: str) -> Shelf:
        """Make the shelf of a resource; objects on it get this kind and version, first in their JSON."""
        prefix = b'{"kind":"%s","apiVersion":"%s",' % (kind.encode(), api_version.encode())
        shelf = Shelf(prefix, self._window)
        shelf.oldest = self.version
        self.shelves[name] = shelf
        return shelf

    def get(self, name: str, key: Key) -> Record | None:
        """The newest state of an object."""
        return self.shelves[name].records.get(key)

    def put(self, name: str, key: Key, obj: Obj, before: Record | None) -> Record:
        """Write an object over the state it was made from; raise VersionTaken where that is not the newest."""
        shelf = self.shelves[name]
        if shelf.records.get(key) is not before:
            raise VersionTaken
        self.version += 1
        record = self.encode(name, obj, self.version)
        shelf.took(Change(self.version, "MODIFIED" if before else "ADDED", key, record, before))
        return record

    def restore(self, name: str, key: Key, obj: Obj, version: int) -> None:
        """Put an object back as it was, without telling anybody; only before the store is used."""
        self.shelves[name].restored(key, self.encode(name, obj, version))

    def jump(self, version: int) -> None:
        """Go on from a version; watches from before it are refused."""
        self.version = version
        for shelf in self.shelves.values():
            shelf.oldest = shelf.version = version

    def encode(self, name: str, obj: Obj, version: int) -> Record:
        """Make a record of an object at a version (0: without one, as a dry run has it), without keeping it."""
        shelf = self.shelves[name]
        if version:
            obj["metadata"]["resourceVersion"] = str(version)
        else:
            obj["metadata"].pop("resourceVersion", None)
        body = {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}
        return Record(obj, shelf.prefix + ENCODER.encode(body)[1:], version)

    def remove(self, name: str, key: Key, before: Record) -> Record:
        """Take an object away; the record given back carries the version of its deletion."""
        shelf = self.shelves[name]
        if shelf.records.get(key) is not before:
            raise VersionTaken
        self.version += 1
        obj = {**before.obj, "metadata": dict(before.obj["metadata"])}
        record = self.encode(name, obj, self.version)
        shelf.took(Change(self.version, "DELETED", key, record, before))
        return record

    def each(self, name: str, namespace: str | None = None) -> Iterator[Record]:
        """Objects in order of their keys, of one namespace or of all."""
        shelf = self.shelves[name]
        for key in shelf.keys:
            if not namespace or key[0] == namespace:
                yield shelf.records[key]
