"""What stops a run: the first Ctrl-C or SIGTERM asks, the second insists.

Asked, the run undoes its faults, drains the load, judges what there is and ends with exit code 8. Insisting ends the load
at once and leaves the undo to the processes that do it anyway.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Says whether, why and how urgently the run should end; usable from any thread."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.reason = ""
        self._insisted = threading.Event()
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in WATCHED:
            self._previous[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def asked(self) -> bool:
        """Whether the run should end."""
        return self._asked.is_set()

    @property
    def insisted(self) -> bool:
        """Whether somebody asked twice."""
        return self._insisted.is_set()

    def ask(self, reason: str) -> None:
        """Ask the run to end; the first reason counts."""
        if not self._asked.is_set():
            self.reason = reason
            self._asked.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s`; return whether the run should end."""
        return self._asked.wait(max(timeout_s, 0.0))

    def pause(self, span_s: float) -> None:
        """Wait for `span_s` seconds, whether or not the run should end; shorter when somebody insists."""
        self._insisted.wait(span_s)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if self._asked.is_set():
            self._insisted.set()
        self.ask(f"stopped by {signal.Signals(number).name}")
