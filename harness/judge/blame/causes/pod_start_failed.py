"""The window's pod was placed and did not come up: image, crash, admission, or a port that never opened."""

from harness.history.events import Outcome
from harness.judge.blame.cause import Cause, Claim
from harness.judge.blame.lives import Life

FAILED = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "CrashLoopBackOff",
        "BackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "StartError",
        "ContainerCannotRun",
        "OOMKilled",
        "UnexpectedAdmissionError",
        "FailedMount",
    }
)


def of_window(life: Life) -> Claim:
    """Claim a window whose pod failed before it was ready, or ran and never opened its port."""
    if life.outcome is not Outcome.PENDING_NO_START:
        return Claim.NO
    reasons = life.reasons()
    if reasons & FAILED or any(reason.startswith("OutOf") for reason in reasons):
        return Claim.CERTAIN
    if life.failed_before_ready:
        return Claim.LIKELY
    return Claim.POSSIBLE if life.placed_ns is not None else Claim.NO


CAUSE = Cause(
    name="pod_start_failed",
    heading="The window's pod did not start",
    sentence="Its pod was placed on a node and failed, or ran and never opened its port.",
    remedy="describe the pod and read its log; delete the Job",
    needs=frozenset({"pods", "events"}),
    window=of_window,
)
