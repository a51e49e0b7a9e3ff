"""The truth log: what really happened in the sandbox, for scoring only.

Every process that knows something at its source (Focus Server, MongoDB's pod, the broker's, stream servers, the
ingress) appends to a file of its own, `truth/<process>.jsonl`, one JSON line per fact, flushed per line. No part of
the harness may read these files; only the scoring of its judgments does. Nothing here decides anything.

A line: `{"at_ns": monotonic nanoseconds, "seq": n, "process": name, "kind": kind, ...facts}`. On one host the
monotonic clock is the same in all processes, the harness' included.
"""

from __future__ import annotations

import json
import os
import time
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO


class Cause(StrEnum):
    """Why a create is refused; which one is the primary one, the setting `check_order` says."""

    FOCUS_SERVER = "focus_server_down"
    KUBERNETES_API = "kubernetes_unreachable"
    GPU_EXHAUSTED = "gpu_exhausted"
    WORKER_UNAVAILABLE = "worker_unavailable"
    MAX_WINDOWS = "max_windows"
    MONGODB = "mongodb_unavailable"
    BROKER = "broker_unavailable"
    WAITING_FOR_FIBER = "waiting_for_fibre"
    STARTING = "server_starting"
    """It has just started and has not read the cluster yet."""
    WHIM = "unexplained"
    """For no reason that anybody could see; never beside another cause."""


def in_order(causes: set[Cause], order: tuple[str, ...]) -> list[Cause]:
    """Return causes in the order of precedence, those that have none as they stand in `Cause`; the first is the primary one."""
    whole = (*order, *(cause for cause in Cause if cause not in order))
    return sorted(causes, key=whole.index)


class TruthLog:
    """Appends facts of one process; opened lazily so that it can be made before a fork."""

    def __init__(self, folder: Path, process: str) -> None:
        self._path = folder / f"{process}.jsonl"
        self._process = process
        self._seq = 0
        self._file: TextIO | None = None
        self._last: dict[str, str] = {}

    def write(self, kind: str, **facts: Any) -> None:
        """Append one fact now; a disk that refuses is reported on stderr by the exception's owner."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        line = {"at_ns": time.monotonic_ns(), "seq": self._seq, "process": self._process, "kind": kind}
        self._seq += 1
        self._file.write(json.dumps(line | facts, separators=(",", ":")) + "\n")
        self._file.flush()

    def write_change(self, kind: str, key: str = "", **facts: Any) -> bool:
        """Append a fact only if it differs from the last one of this kind and key; return whether it did."""
        shown = json.dumps(facts, sort_keys=True)
        if self._last.get(kind + "/" + key) == shown:
            return False
        self._last[kind + "/" + key] = shown
        self.write(kind, **({"of": key} if key else {}), **facts)
        return True

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read(folder: Path) -> list[dict[str, Any]]:
    """Return all facts of a truth folder in time order, a torn last line left out. For scoring and tests."""
    facts = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                facts.append(json.loads(line))
            except ValueError:
                continue
    return sorted(facts, key=lambda fact: (fact["at_ns"], fact["process"], fact["seq"]))


def process_name(program: str, pod_name: str) -> str:
    """Return the truth file's name for a pod; a restarted container appends under its own pid."""
    return f"{program}-{pod_name}-{os.getpid()}"
