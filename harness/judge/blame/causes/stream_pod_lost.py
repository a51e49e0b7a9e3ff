"""The pod that served the window was killed, deleted, evicted, or went with its node."""

from harness.history.events import Outcome
from harness.judge.blame.cause import Cause, Claim
from harness.judge.blame.lives import TOGETHER_NS, Life


def of_window(life: Life) -> Claim:
    """Claim a window whose pod was seen to be over when its stream ended, and which had not been taken for idle."""
    if life.outcome is Outcome.FOREIGN_STREAM or (life.ran_dry and not life.job_outlived_pod):
        return Claim.NO
    if life.was_removed or (life.outcome is Outcome.PENDING_NO_START and not life.ran):
        return Claim.NO
    return Claim.LIKELY if life.lost_by(life.at_ns + TOGETHER_NS // 2) else Claim.NO


CAUSE = Cause(
    name="stream_pod_lost",
    heading="The window's pod was lost",
    sentence="The pod that served it was killed, deleted or evicted while it was read.",
    remedy="look at the pod's Events: who deleted it, and why",
    needs=frozenset({"pods"}),
    window=of_window,
)
