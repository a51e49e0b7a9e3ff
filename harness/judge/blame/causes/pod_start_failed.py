"""The window's pod did not come up: image, crash, admission, a port that never opened, or a Job that made no pod in time."""

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
    """Claim a window whose pod failed before it was ready, ran and never opened its port, or was not even made in time."""
    if life.outcome is not Outcome.PENDING_NO_START:
        return Claim.NO
    reasons = life.reasons()
    if reasons & FAILED or any(reason.startswith("OutOf") for reason in reasons):
        return Claim.CERTAIN
    if life.failed_before_ready:
        return Claim.LIKELY
    if life.placed_ns is not None:
        return Claim.POSSIBLE
    return Claim.POSSIBLE if life.job_seen and life.made_ns is None and not life.blind("pods") else Claim.NO


CAUSE = Cause(
    name="pod_start_failed",
    heading="The window's pod did not start",
    sentence="Its pod failed, or ran and never opened its port, or its Job had made none in time.",
    remedy="describe the Job and its pod, and read the pod's log; delete the Job",
    needs=frozenset({"pods", "events"}),
    window=of_window,
)
