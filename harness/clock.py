"""The run's one clock: nanoseconds since the run's start on the monotonic clock.

The conductor writes the start instant; its children get it (`HARNESS_CLOCK_START_NS`) and subtract it, which is sound on
one host because `time.monotonic_ns` reads the same clock in every process there. The wall clock is read
once per host, to say when a run was; no duration is ever taken from it. Nothing here sleeps for others.
"""

import os
import time
from dataclasses import dataclass
from typing import NewType, Protocol

Instant = NewType("Instant", int)
"""Nanoseconds since the run's start."""

SECOND_NS = 1_000_000_000
START_VARIABLE = "HARNESS_CLOCK_START_NS"


class Clock(Protocol):
    """Something that says which instant it is, and can wait for one."""

    def now(self) -> Instant:
        """Return the present instant."""
        ...

    def sleep_until(self, instant: Instant) -> None:
        """Return at `instant`, or at once if it has passed."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The monotonic clock of this host, counted from `start_ns` (a `time.monotonic_ns` reading)."""

    start_ns: int

    @classmethod
    def start(cls) -> "SystemClock":
        """Start a clock now; the conductor (or an entrance used alone) does this once per run."""
        return cls(time.monotonic_ns())

    @classmethod
    def inherited(cls) -> "SystemClock":
        """Continue the clock of the run this process belongs to, or start one if it belongs to none."""
        value = os.environ.get(START_VARIABLE)
        return cls(int(value)) if value else cls.start()

    def environment(self) -> dict[str, str]:
        """Return what a child's environment needs to continue this clock."""
        return {START_VARIABLE: str(self.start_ns)}

    def now(self) -> Instant:
        """Return nanoseconds since the run's start."""
        return Instant(time.monotonic_ns() - self.start_ns)

    def sleep_until(self, instant: Instant) -> None:
        """Sleep until `instant`; a signal handler that raises ends the sleep."""
        while (left_ns := instant - self.now()) > 0:
            time.sleep(left_ns / SECOND_NS)


class ManualClock:
    """A clock a test holds in its hand: it moves only when told to, and never back."""

    def __init__(self, at_ns: int = 0) -> None:
        self._at_ns = at_ns

    def now(self) -> Instant:
        """Return the instant the clock was last set to."""
        return Instant(self._at_ns)

    def advance(self, by_ns: int) -> None:
        """Move forward by `by_ns` nanoseconds (not negative)."""
        if by_ns < 0:
            raise ValueError(f"a clock does not go back ({by_ns} ns)")
        self._at_ns += by_ns

    def sleep_until(self, instant: Instant) -> None:
        """Jump to `instant` if it lies ahead."""
        self._at_ns = max(self._at_ns, instant)


def seconds(instant_or_span_ns: int) -> float:
    """Convert nanoseconds to seconds, for people."""
    return instant_or_span_ns / SECOND_NS


def nanoseconds(span_s: float) -> int:
    """Convert seconds to whole nanoseconds."""
    return round(span_s * SECOND_NS)


def boot_seconds() -> float:
    """Return seconds of a clock that goes on while the machine sleeps, where there is one (the monotonic clock elsewhere)."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)
