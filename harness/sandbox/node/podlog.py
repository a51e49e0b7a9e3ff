"""A container's log file: the lines it printed, each with time and stream, as a container runtime keeps them.

The spawner writes, the kubelet reads for `kubectl logs`. A line is `<RFC 3339 time> stdout|stderr F <text>`.
A file that has grown beyond its bound is set aside once (`.1`), so that hours of logging stay bounded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 10 << 20
TRIES = 5
"""The kubelet removes the directory of a pod that has vanished, also between our making and our using it."""


def timestamp(at_ns: int) -> str:
    """Format wall-clock nanoseconds as Kubernetes' logs do (RFC 3339, nine digits, UTC)."""
    seconds, rest = divmod(at_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


class PodLog:
    """Writes one container's log; keeps the unfinished line of each stream until it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = _opened(path)
        self._rest: dict[str, bytes] = {}

    def write(self, stream: str, received: bytes) -> None:
        """Append what a stream brought."""
        *whole, rest = (self._rest.get(stream, b"") + received).split(b"\n")
        self._rest[stream] = rest
        self._append(stream, whole)

    def _append(self, stream: str, lines: list[bytes]) -> None:
        if not lines:
            return
        head = f"{timestamp(time.time_ns())} {stream} F ".encode()
        os.write(self._fd, b"".join(head + line + b"\n" for line in lines))
        if os.fstat(self._fd).st_size > MOST_BYTES:
            self._set_aside()

    def _set_aside(self) -> None:
        os.close(self._fd)
        with suppress(FileNotFoundError):
            self._path.replace(f"{self._path}.1")
        self._fd = _opened(self._path)

    def close(self) -> None:
        """Write unfinished lines and close."""
        for stream, rest in self._rest.items():
            if rest:
                self._append(stream, [rest])
        os.close(self._fd)


def _opened(path: Path) -> int:
    """Open a log for appending; the log of a pod that keeps vanishing is nobody's to read any more."""
    for _ in range(TRIES):
        # A directory that was there when we made it and gone when we looked is a FileExistsError.
        with suppress(FileNotFoundError, FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


@dataclass(frozen=True)
class LogLine:
    """One line of a container's log."""

    at: str
    stream: str
    text: str


def read_log(path: Path) -> Iterator[LogLine]:
    """Give the lines of a log from the oldest on; nothing if there is none."""
    for part in (Path(f"{path}.1"), path):
        if not part.exists():
            continue
        with part.open(encoding="utf-8", errors="replace", newline="\n") as lines:
            for line in lines:
                if not line.endswith("\n"):
                    return  # still being written
                at, stream, _, text = line.rstrip("\n").split(" ", 3)
                yield LogLine(at, stream, text)
