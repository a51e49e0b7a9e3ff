"""Signs of life: a small file per process of a run, into which it writes its clock as it makes progress.

Conductor, guard and chaos processes each keep one in `undo/alive/` and look at the others': a process that is gone, or that has made no
progress for `HANG_S`, is dead to the others, and whoever is left undoes its faults. Nothing writes it from a side thread. Files
rather than pipes, because everybody has to see everybody (docs/adr/0005-signs-of-life.md).
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from harness.clock import boot_seconds
from harness.cluster import holder_of_this_process, is_dead_here

HANG_S = 4.0
"""No progress for this long is death. Every wait of the processes watched is shorter."""
FOLDER = "alive"


class Alive:
    """The sign of life of this process, from here until `close`; a process that is killed leaves its file behind."""

    def __init__(self, undo_folder: Path, name: str) -> None:
        self._path = undo_folder / FOLDER / name
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self._last = boot_seconds()
        os.pwrite(self._descriptor, _text(holder_of_this_process()), 0)

    def beat(self) -> float:
        """Show progress; return how long ago the last one was, in seconds, sleep of the machine included."""
        now = boot_seconds()
        gap_s, self._last = now - self._last, now
        self.show()  # in place: needs no room on a full disk
        return gap_s

    def show(self) -> None:
        """Show progress in the middle of something; how long the last one is ago is left for `beat` to say."""
        if self._descriptor >= 0:
            os.pwrite(self._descriptor, _clock(), 0)

    def close(self) -> None:
        """End properly: nobody takes this process for dead."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Sign:
    """What another process shows."""

    name: str
    holder: str
    beaten_ns: int

    @property
    def trouble(self) -> str:
        """What is wrong with it, empty if nothing is."""
        if is_dead_here(self.holder):
            return f"{self.name} died"
        silent_s = (time.monotonic_ns() - self.beaten_ns) / 1e9
        return f"{self.name} made no progress for {silent_s:.1f} s" if silent_s > HANG_S else ""


def sign_of(undo_folder: Path, name: str) -> Sign | None:
    """Return the sign of one process, None if it never gave one or has ended properly."""
    try:
        clock, holder = (undo_folder / FOLDER / name).read_text(encoding="utf-8").split("\n")[:2]
        return Sign(name, holder, int(clock))
    except (OSError, ValueError):
        return None  # gone, or being written for the first time


def _clock() -> bytes:
    return f"{time.monotonic_ns():020d}\n".encode()


def _text(holder: str) -> bytes:
    return _clock() + f"{holder}\n".encode()
