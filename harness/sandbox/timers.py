"""Timers by name: what shall be done when its time has come, unless it is replaced or forgotten before.

The supervisor keeps them, so that an action comes whether or not the one who asked for it still lives. Times are seconds of
any clock that only goes forward, given by the caller. It does nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.sandbox.hands import Request


@dataclass(frozen=True)
class Timer:
    """One armed timer."""

    name: str
    due_s: float
    then: Request
    words: str


class Timers:
    """The armed timers of one sandbox."""

    def __init__(self) -> None:
        self._armed: dict[str, Timer] = {}

    def arm(self, timer: Timer) -> bool:
        """Arm a timer; say whether it replaced one of its name."""
        replaced = timer.name in self._armed
        self._armed[timer.name] = timer
        return replaced

    def forget(self, name: str) -> bool:
        """Forget a timer; say whether there was one."""
        return self._armed.pop(name, None) is not None

    def pending(self) -> list[Timer]:
        """Return what is armed, the next one first."""
        return sorted(self._armed.values(), key=lambda timer: timer.due_s)

    def next_in_s(self, now_s: float) -> float | None:
        """Return how long nothing is due; None when nothing is armed."""
        return max(0.0, self.pending()[0].due_s - now_s) if self._armed else None

    def take_due(self, now_s: float) -> list[Timer]:
        """Remove and return what is due, the oldest first."""
        due = [timer for timer in self.pending() if timer.due_s <= now_s]
        for timer in due:
            del self._armed[timer.name]
        return due
