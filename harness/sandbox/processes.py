"""What the supervisor, the kubelets and `status` need to know about processes of this host.

A process belongs to a sandbox if it was started with the sandbox's mark in its environment; forks keep it and so
does what pods start. Looking for the mark is how `down` proves that nothing is left. A process id is
only trusted together with its start time, because ids are used again.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "HARNESS_SANDBOX_ROOT"


@dataclass(frozen=True)
class Found:
    """A living process of a sandbox."""

    pid: int
    name: str
    state: str
    """`running` or `frozen`."""


def processes_of(root: Path) -> list[Found]:
    """Return every living process that carries the mark of the sandbox at `root`, but not the caller."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.environ().get(MARK) != str(root):
                continue
            status = process.status()
            if status != psutil.STATUS_ZOMBIE:
                frozen = status == psutil.STATUS_STOPPED
                found.append(Found(process.pid, process.name(), "frozen" if frozen else "running"))
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or somebody else's
    return found


def end_all(root: Path, within_s: float = 5.0) -> list[Found]:
    """Kill what is left of a sandbox until nothing is; return what could not be ended."""
    deadline = time.monotonic() + within_s
    while left := processes_of(root):
        if time.monotonic() > deadline:
            return left
        for process in left:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.05)
    return []


def started_at(pid: int) -> float | None:
    """Return what tells this process from a later one of the same id; None if there is none.

    On Linux it is the clock tick of its start since boot: unlike the start's wall-clock time it never depends
    on who computes it.
    """
    try:
        fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return None if sys.platform == "linux" else _started_at_by_wall_clock(pid)
    return None if fields[0] in "ZX" else float(fields[19])


def _started_at_by_wall_clock(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def is_frozen(pid: int) -> bool:
    """Say whether a process is stopped."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def wait_gone(pids: Iterable[int], within_s: float) -> bool:
    """Wait until none of the processes lives; False when time is up."""
    deadline = time.monotonic() + within_s
    while any(started_at(pid) is not None for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def close_files_but(keep: set[int]) -> None:
    """Close every open file but standard input and output and those to keep; for a freshly forked child."""
    for entry in list(Path("/dev/fd").iterdir()):
        fd = int(entry.name)
        if fd > 2 and fd not in keep:
            try:
                os.close(fd)
            except OSError:
                pass  # the one that listed the directory


def name_process(name: str) -> None:
    """Show `name` (15 characters) in ps and top; does nothing where that is not possible."""
    try:
        Path("/proc/self/comm").write_text(name[:15], encoding="utf-8")
    except OSError:
        pass
