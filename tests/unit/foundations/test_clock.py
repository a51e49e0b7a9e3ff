"""One clock: it never goes back, children continue it, and waiting is for an instant, not for a while."""

import subprocess
import sys

import pytest

from harness.clock import SECOND_NS, Instant, ManualClock, SystemClock, nanoseconds, seconds


def test_a_child_process_continues_the_same_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock.start()
    monkeypatch.setenv(*next(iter(clock.environment().items())))
    before = clock.now()
    child = subprocess.run(
        [sys.executable, "-c", "from harness.clock import SystemClock; print(SystemClock.inherited().now())"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert before < int(child.stdout) < clock.now()


def test_without_a_run_a_process_starts_its_own_clock() -> None:
    assert 0 <= SystemClock.inherited().now() < SECOND_NS


def test_waiting_for_a_past_instant_returns_at_once() -> None:
    clock = SystemClock.start()
    clock.sleep_until(Instant(-5))
    assert clock.now() < SECOND_NS


def test_a_manual_clock_moves_only_forward() -> None:
    clock = ManualClock()
    clock.sleep_until(Instant(7))
    clock.sleep_until(Instant(3))
    assert clock.now() == 7
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


def test_seconds_and_nanoseconds_are_each_others_inverse() -> None:
    assert nanoseconds(seconds(1_500_000_000)) == 1_500_000_000
