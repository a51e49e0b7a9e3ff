"""Cleanup took the window for idle and removed it while somebody was reading."""

from harness.history.events import Outcome
from harness.judge.blame.cause import Cause, Claim
from harness.judge.blame.lives import TOGETHER_NS, Life


def of_window(life: Life) -> Claim:
    """Claim a window that had run dry and was then removed, or that was removed, Job and all, while it was read or waited for."""
    if life.outcome is Outcome.PENDING_NO_START:
        return Claim.POSSIBLE if life.ran and life.was_removed else Claim.NO
    taken = life.job_gone_ns is not None or life.lost_by(life.at_ns + TOGETHER_NS // 2)
    dry = life.ran_dry and taken and not life.job_outlived_pod
    return Claim.LIKELY if dry or life.was_removed else Claim.NO


CAUSE = Cause(
    name="idle_cleanup",
    heading="Cleanup took the window for idle",
    sentence="No frame had come for a while, so cleanup removed a window that was being read.",
    remedy="find out why no data came; lengthen cleanup's patience",
    needs=frozenset({"pods", "jobs"}),
    window=of_window,
)
