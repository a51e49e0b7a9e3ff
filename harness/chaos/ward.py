"""Start the guard process and keep its lifeline: the end that conductor and lone experiments hold.

The guard holds the other end of a pipe: when this process dies the pipe closes, and the guard undoes. It is a process of its own
session, so a Ctrl-C at the terminal does not reach it. No fault goes in before the guard has said that it is armed.
"""

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness.chaos.alive import sign_of
from harness.chaos.world import freeze
from harness.clock import SystemClock
from harness.errors import Exit, TargetError, Unreachable
from harness.target import Target

ARM_TIMEOUT_S = 30.0
LOOK_S = 0.25
TARGET_FILE = "target.json"
RELEASE = b"q"
GUARD = "guard"
"""The guard's name among the signs of life."""


def undo_folder(run: Path) -> Path:
    """Return where a run keeps its undo journals."""
    return run / "undo"


class Guard:
    """A running guard process, as its ward sees it."""

    def __init__(self, process: "subprocess.Popen[bytes]", pipe: int, folder: Path) -> None:
        self._process = process
        self._pipe = pipe
        self._folder = folder

    @classmethod
    def start(
        cls,
        run: Path,
        target: Target,
        clock: SystemClock,
        *,
        ward: str = "",
        live: Path | None = None,
        progress: Callable[[], object] = lambda: None,
    ) -> "Guard":
        """Start a guard for `run` and return when it is armed; raise TargetError if it cannot arm.

        `ward` names this process' sign of life: if it stands still, this process counts as hung. `live` is the socket that
        hears what the guard records; `progress` is called while it starts.
        """
        folder = undo_folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TARGET_FILE).write_bytes(bytes(freeze(target)))
        ward_read, ward_write = os.pipe()
        ready_read, ready_write = os.pipe()
        command = [sys.executable, "-m", "harness.chaos.guard", "--run", str(run.absolute())]
        command += ["--ward-fd", str(ward_read), "--ready-fd", str(ready_write)]
        command += ["--start-ns", str(clock.start_ns)]
        if ward:
            command += ["--ward", ward]
        if live is not None:
            command += ["--live", str(live)]
        with (folder / "guard.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(ward_read, ready_write),
                start_new_session=True,
            )
        os.close(ward_read)
        os.close(ready_write)
        try:
            _await_armed(ready_read, progress)
        except BaseException:
            os.close(ward_write)
            process.wait(timeout=10)
            raise
        finally:
            os.close(ready_read)
        return cls(process, ward_write, folder)

    @property
    def pid(self) -> int:
        """The guard's process id."""
        return self._process.pid

    @property
    def trouble(self) -> str:
        """What is wrong with the guard (it died, it hangs); empty if nothing is."""
        if self._process.poll() is not None:
            return "the guard died"
        sign = sign_of(self._folder, GUARD)
        return f"the guard: {sign.trouble}" if sign is not None and sign.trouble else ""

    def alive(self) -> bool:
        """Say whether the guard lives and makes progress."""
        return not self.trouble

    def abandon(self) -> None:
        """End a guard that is in trouble, so that another one can take its place."""
        self._process.kill()
        self._process.wait()
        try:
            os.close(self._pipe)
        except OSError:
            pass  # it had been let go

    def let_go(self) -> None:
        """Tell the guard that all is done; it looks once more, and ends."""
        try:
            os.write(self._pipe, RELEASE)
        except OSError:
            pass  # it is gone: `poll` says so
        os.close(self._pipe)

    def poll(self) -> int | None:
        """Return the guard's exit code (0, or 5: something left), None while it runs."""
        return self._process.poll()

    def release(self, timeout_s: float = 150.0) -> int:
        """Let the guard go and wait until it has ended; return its exit code."""
        self.let_go()
        try:
            return self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:  # it goes on trying; nobody can say that all is undone
            return int(Exit.BROKEN)


def _await_armed(ready: int, progress: Callable[[], object]) -> None:
    until = time.monotonic() + ARM_TIMEOUT_S
    said = b""
    while not said.endswith(b"\n"):
        progress()
        if time.monotonic() > until:
            raise Unreachable(
                f"the guard process did not arm within {ARM_TIMEOUT_S:g} s; nothing is injected"
            )
        if not select.select([ready], [], [], LOOK_S)[0]:
            continue
        part = os.read(ready, 4096)
        if not part:
            break
        said += part
    if said != b"armed\n":
        why = said.decode(errors="replace").strip() or "it ended; see undo/guard.log in the run's folder"
        raise TargetError(f"the guard process cannot arm: {why}; nothing is injected")
