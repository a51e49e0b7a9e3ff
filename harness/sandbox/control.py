"""The line between the command line and a sandbox's supervisor: one request, one reply, over a Unix socket.

The supervisor listens in the sandbox's directory; `ask` is everybody else's side. What can be asked for is in `hands`. It knows
nothing of what a request does.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import msgspec

from harness.errors import HarnessError, InputError
from harness.sandbox.hands import Request
from harness.sandbox.impairments import NONE, Impairment


class Process(msgspec.Struct, frozen=True):
    """One line of `status`."""

    role: str
    pid: int
    state: str
    """`running`, `frozen` or `ended`."""
    impairment: Impairment = NONE


class Armed(msgspec.Struct, frozen=True):
    """One timer that `status` shows: what it does, and in how many seconds."""

    name: str
    in_s: float
    words: str


class Reply(msgspec.Struct, frozen=True):
    """The answer: what was done, or why not."""

    said: str = ""
    error: str = ""
    processes: tuple[Process, ...] = ()
    timers: tuple[Armed, ...] = ()


def control_socket(root: Path) -> socket.socket:
    """Listen for requests about the sandbox at `root`."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    (root / "control").unlink(missing_ok=True)
    with short_path(root) as directory:
        control.bind(f"{directory}/control")
    control.listen(16)
    return control


class short_path:  # noqa: N801 - used like a function
    """A path to `root` that fits into a Unix socket's address, however deep the directory lies."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._fd = -1

    def __enter__(self) -> str:
        if len(str(self._root)) < 80 or sys.platform != "linux":
            return str(self._root)
        self._fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._fd}"

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def ask(root: Path, request: Request, timeout_s: float = 10.0) -> Reply:
    """Send one request to the sandbox's supervisor; raise InputError with its reason when it refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line, short_path(root) as directory:
        line.settimeout(timeout_s)
        try:
            line.connect(f"{directory}/control")
            line.sendall(msgspec.json.encode(request) + b"\n")
            reply = msgspec.json.decode(line.makefile("rb").readline(), type=Reply)
        except (OSError, msgspec.MsgspecError) as error:
            raise HarnessError(f"the supervisor at {root} does not answer: {error}") from error
    if reply.error:
        raise InputError(reply.error)
    return reply
