"""The processes of a run: started in their own session, watched, ended in order.

A child gets the read end of a lifeline pipe as `HARNESS_LIFELINE_FD`; when the conductor is gone, whatever the reason, the
pipe closes and the child ends itself. Terminal signals reach only the conductor, which decides what they mean.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from harness.clock import Clock
from harness.history.events import ProcessEnded, ProcessStarted
from harness.history.writer import HistoryWriter

LIFELINE_VARIABLE = "HARNESS_LIFELINE_FD"


class Child:
    """One process of the run."""

    def __init__(self, name: str, popen: "subprocess.Popen[bytes]", lifeline: int) -> None:
        self.name = name
        self.pid = popen.pid
        self._popen = popen
        self._lifeline = lifeline
        self.ended_seen = False

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._popen.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal unless the process has ended."""
        if self._popen.poll() is None:
            self._popen.send_signal(number)

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the end; None if it still runs after `timeout_s`."""
        try:
            return self._popen.wait(timeout=max(timeout_s, 0.0))
        except subprocess.TimeoutExpired:
            return None

    def end_later(self) -> None:
        """Ask it to end, and do not wait."""
        self.send(signal.SIGTERM)

    def end(self, grace_s: float) -> int | None:
        """Ask it to end (SIGTERM), wait `grace_s`, then end it (SIGKILL); return its exit code."""
        self.send(signal.SIGTERM)
        code = self.wait(grace_s)
        if code is None:
            self._popen.kill()
            code = self.wait(5.0)
        self.release()
        return code

    def release(self) -> None:
        """Close the lifeline."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


class Children:
    """All processes of a run; leaving the block ends those that are left, newest first."""

    def __init__(
        self, logs: Path, writer: HistoryWriter, clock: Clock, environment: Mapping[str, str]
    ) -> None:
        self._logs = logs
        self._writer = writer
        self._clock = clock
        self._environment = {**os.environ, **environment}
        self._all: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self._all):
            if child.poll() is None:
                child.end(grace_s=5.0)
        self.note_ended()

    def start(self, name: str, module: str, arguments: Sequence[str]) -> Child:
        """Start `python -m module arguments`, its output in `logs/<name>.log`."""
        read_end, write_end = os.pipe()
        with (self._logs / f"{name}.log").open("ab") as log:
            popen = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self._environment, LIFELINE_VARIABLE: str(read_end)},
                pass_fds=(read_end,),
                start_new_session=True,
            )
        os.close(read_end)
        child = Child(name, popen, write_end)
        self._all.append(child)
        self._writer.event(ProcessStarted(at_ns=self._clock.now(), process=name, pid=child.pid))
        return child

    def note_ended(self) -> list[tuple[Child, int]]:
        """Record processes that ended since the last call, and return them with their exit codes."""
        ended = []
        for child in self._all:
            code = child.poll()
            if code is None or child.ended_seen:
                continue
            child.ended_seen = True
            child.release()
            self._writer.event(
                ProcessEnded(at_ns=self._clock.now(), process=child.name, pid=child.pid, exit_code=code)
            )
            ended.append((child, code))
        return ended
