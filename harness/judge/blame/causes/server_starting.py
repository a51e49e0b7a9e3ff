"""Focus Server has just started: it answers, and does not know the cluster yet."""

from harness.judge.blame.bodies import SERVER
from harness.judge.blame.cause import Cause, Claim, Claims, strongest, where
from harness.judge.blame.creates import Creates
from harness.judge.blame.evidence import of_role
from harness.judge.blame.lives import S

STARTING_NS = 5 * S
"""How long after it became ready a server may still be finding its feet."""


def of_creates(creates: Creates) -> Claims:
    """Claim what a server refused within moments of becoming ready; anything that was seen to hold goes before it."""
    began = creates.world.became_ready("focus_server")
    fresh = began.highest(creates.sent_ns - STARTING_NS, creates.done_ns) > 0
    return strongest(
        where(fresh & creates.refused & (creates.writers == SERVER), Claim.NEAR),
        where(fresh & (creates.by_server | creates.broke), Claim.POSSIBLE),
    )


CAUSE = Cause(
    name="server_starting",
    heading="Focus Server had just started",
    sentence="Its pod was ready for a moment only; it had not read the cluster yet.",
    remedy="wait a few seconds",
    needs=frozenset({"pods"}),
    creates=of_creates,
    evidence=of_role("focus_server"),
)
