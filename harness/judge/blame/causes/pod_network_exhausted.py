"""The node had no address left for the window's pod."""

from harness.history.events import Outcome
from harness.judge.blame.cause import Cause, Claim
from harness.judge.blame.lives import Life

TEXTS = (
    "no IP addresses available",
    "failed to allocate for range",
    "IP address exhausted",
    "no available IP",
)


def of_window(life: Life) -> Claim:
    """Claim a window whose pod was placed and got no address, as an Event says."""
    if life.outcome is not Outcome.PENDING_NO_START or life.was_up_for_half:
        return Claim.NO
    if life.said(*TEXTS):
        return Claim.CERTAIN
    return Claim.LIKELY if life.neighbour_said(*TEXTS) else Claim.NO


CAUSE = Cause(
    name="pod_network_exhausted",
    heading="The node had no pod address left",
    sentence="The window's pod was placed on a node whose pod network had no free address.",
    remedy="delete pods that are over, or restart the network plugin of the node",
    needs=frozenset({"events", "pods"}),
    window=of_window,
)
