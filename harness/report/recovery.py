"""A fault's recovery on the page: its instants on one line, to scale from the injection. Called by `page`; pure."""

from dataclasses import dataclass

from harness.clock import SECOND_NS
from harness.judge.findings import Instant, RecoveryFinding


@dataclass(frozen=True, slots=True)
class Mark:
    """One instant on the line: where it lies, in per cent, and what it says."""

    name: str
    left: float
    since_s: float


def marks(recovery: RecoveryFinding) -> tuple[Mark, ...]:
    """Return the instants that came, on a line from the injection to the last of them."""
    came = _came(recovery)
    span = max(since for _, since in came) if came else 1
    return tuple(
        Mark(name, round(100 * max(0, since) / (span or 1), 2), since / SECOND_NS) for name, since in came
    )


def held(recovery: RecoveryFinding) -> float:
    """Return how much of that line the fault was in, in per cent; all of it if it was never undone."""
    return next((mark.left for mark in marks(recovery) if mark.name == "undone"), 100.0)


def _came(recovery: RecoveryFinding) -> list[tuple[str, int]]:
    came = [
        (one.name, one.at_ns - recovery.injected_ns) for one in recovery.instants if one.at_ns is not None
    ]
    return sorted(came, key=lambda pair: pair[1])


def when(one: Instant, recovery: RecoveryFinding) -> str:
    """Return an instant as seconds since the injection, `never`, or that nothing was to be expected."""
    if one.at_ns is not None:
        return f"{(one.at_ns - recovery.injected_ns) / SECOND_NS:.1f} s"
    return (
        f"not within {(recovery.until_ns - recovery.injected_ns) / SECOND_NS:.0f} s"
        if one.due
        else "\N{EN DASH}"
    )
