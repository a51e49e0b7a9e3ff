"""Our own fault: the load's process stood still, was late, or ran out of something on its machine."""

from harness.history.events import Outcome
from harness.judge.blame.bodies import LOCAL
from harness.judge.blame.cause import Cause, Claim, Claims, strongest, where
from harness.judge.blame.creates import Creates
from harness.judge.blame.lives import Life, S
from harness.judge.steps import ints

LATE_NS = S
"""Lateness of the load's loop from which it can be the reason of a missing answer."""
NO_ANSWER = (Outcome.READ_TIMEOUT, Outcome.CONNECT_TIMEOUT, Outcome.CONNECT_FAILED, Outcome.UNKNOWN)


def of_creates(creates: Creates) -> Claims:
    """Claim creates without an answer whose loop was late for a good part of the wait, and errors of our own machine."""
    lag_ns = creates.world.engine_lag.highest(creates.sent_ns, creates.done_ns)
    late = creates.ended(*NO_ANSWER) & (lag_ns >= LATE_NS) & (4 * lag_ns >= creates.took_ns)
    return strongest(where(creates.writers == LOCAL, Claim.CERTAIN), where(late, Claim.LIKELY))


def of_window(life: Life) -> Claim:
    """Claim a window that was given up while the load's loop was late for a good part of the wait, or could open no connection."""
    start_ns, end_ns = life.suffered_ns
    lag_ns = int(life.world.engine_lag.highest(ints([start_ns]), ints([end_ns]))[0])
    late = lag_ns >= 2 * LATE_NS and 4 * lag_ns >= end_ns - start_ns
    without = life.outcome is Outcome.PENDING_NO_START and life.cluster.ran_out(start_ns, end_ns)
    return Claim.LIKELY if late or without else Claim.NO


CAUSE = Cause(
    name="generator",
    heading="Our own load was too slow",
    sentence="The load's process stood still, was late or ran out of something while it waited.",
    remedy="give the load more processor time, or fewer windows per engine",
    creates=of_creates,
    window=of_window,
)
