"""The store on disk: one line per change, so that a control plane that was killed comes back with its objects.

Followed by `server`; read once at the start. Versions go on after a jump, and watches from before are refused (410),
as after the restart of a real server. Lines are written, not synced: they outlive the process, not the machine. A torn
last line is cut. When the file has grown far beyond what it holds, it is written anew.
"""

import os
from pathlib import Path

import msgspec

from harness.sandbox.api import Obj
from harness.sandbox.controlplane.store import Change, Record, Store

VERSION_JUMP = 1000
LEAST_COMPACTED = 16 * 1024 * 1024
SKIPPED = ("pods.metrics.k8s.io", "nodes.metrics.k8s.io")  # kubelets write these anew


class Line(msgspec.Struct, frozen=True):
    """One change: version, shelf, and the object after it; `gone` where it was the last of it."""

    version: int
    shelf: str
    obj: Obj
    gone: bool = False


def _line(shelf: str, record: Record, *, gone: bool) -> bytes:
    flag = b"true" if gone else b"false"
    return b'{"version":%d,"shelf":"%s","gone":%s,"obj":%s}\n' % (
        record.version,
        shelf.encode(),
        flag,
        record.raw,
    )


class Journal:
    """The file of one store."""

    def __init__(self, file: Path, store: Store) -> None:
        self._file = file
        self._store = store
        self._size = 0
        self._fd = -1
        self._limit = LEAST_COMPACTED

    def load(self) -> int:
        """Put what the file holds into the (empty) store; give the number of objects."""
        found: dict[tuple[str, str, str], Line] = {}
        version = 0
        if self._file.exists():
            for raw in self._file.read_bytes().split(b"\n"):
                try:
                    line = msgspec.json.decode(raw, type=Line)
                except msgspec.DecodeError:  # the end of the file, or a line torn by a kill
                    continue
                version = max(version, line.version)
                meta = line.obj["metadata"]
                key = (line.shelf, meta.get("namespace", ""), meta["name"])
                found.pop(key, None)
                if not line.gone:
                    found[key] = line
        for (shelf, namespace, name), line in found.items():
            self._store.restore(shelf, (namespace, name), line.obj, line.version)
        if version:
            self._store.jump(version + VERSION_JUMP)
        return len(found)

    def follow(self) -> None:
        """Write the file anew and then every change, from now on."""
        self._write_anew()
        for name, shelf in self._store.shelves.items():
            if name not in SKIPPED:
                shelf.listeners.append(lambda change, name=name: self._append(name, change))  # type: ignore[misc]

    def _append(self, shelf: str, change: Change) -> None:
        line = _line(shelf, change.record, gone=change.kind == "DELETED")
        os.write(self._fd, line)
        self._size += len(line)
        if self._size > self._limit:
            self._write_anew()

    def _write_anew(self) -> None:
        aside = self._file.with_suffix(".new")
        lines = [
            _line(name, record, gone=False)
            for name, shelf in self._store.shelves.items()
            if name not in SKIPPED
            for record in shelf.records.values()
        ]
        body = b"".join(lines)
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        os.write(fd, body)
        aside.replace(self._file)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size = fd, len(body)
        self._limit = max(LEAST_COMPACTED, 4 * len(body))

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
