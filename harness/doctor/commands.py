"""Commands that a remedy runs: they end within their time, with everything they have started. Called by `mend`."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from harness.doctor.remedies import Touch
from harness.doctor.sight import Sight
from harness.errors import Unreachable

HAND_TIMEOUT_S = 20.0


def run_hand(sight: Sight, touch: Touch, alive: Callable[[], None]) -> None:
    """Reach a node by the target's `hands.node`; raises Unreachable if that fails or takes too long."""
    command = str(sight.target.hands.node)
    argv = shlex.split(command.format(node=shlex.quote(touch.name), verb=touch.body))
    if argv[0] == "harness":  # ours: the same installation, whatever PATH says
        argv = [sys.executable, "-m", "harness", *argv[1:]]
    run_command(argv, HAND_TIMEOUT_S, alive)


def run_command(argv: list[str], within_s: float, alive: Callable[[], None]) -> None:
    """Run a command, showing signs of life; raises Unreachable if it fails or takes too long, and leaves nothing of it running then."""
    until = time.monotonic() + within_s
    with (
        tempfile.TemporaryFile() as told
    ):  # a pipe would stay open as long as anything that the command leaves behind
        try:
            process = subprocess.Popen(argv, stdout=told, stderr=told, start_new_session=True)
        except OSError as error:
            raise Unreachable(f"{shlex.join(argv)}: {error}") from error
        try:
            while process.poll() is None:
                try:
                    process.wait(timeout=1.0)
                except subprocess.TimeoutExpired:
                    alive()
                    if time.monotonic() > until:
                        raise Unreachable(f"{shlex.join(argv)}: no end within {within_s:.0f} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        told.seek(0)
        said = told.read().decode(errors="replace").strip()[-300:]
    if process.returncode != 0:
        raise Unreachable(f"{shlex.join(argv)} ended with {process.returncode}: {said}")
