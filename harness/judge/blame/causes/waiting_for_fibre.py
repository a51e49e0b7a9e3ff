"""Focus Server does not know the fibre: live windows cannot be opened."""

import numpy as np

from harness.judge.blame.cause import Cause, Claim, Claims, strongest
from harness.judge.blame.creates import POLL_NS, Creates
from harness.judge.blame.evidence import of_dependencies
from harness.judge.blame.logs import log_claims

LINES = r"missing required fib(er|re) metadata"


def of_creates(creates: Creates) -> Claims:
    """Claim refusals while /live_metadata said that the fibre is waited for."""
    felt = creates.by_server
    claims = strongest(creates.unanswered("fibre"), log_claims(creates, LINES))
    began = (
        creates.world.became_ready("focus_server").highest(creates.sent_ns - 2 * POLL_NS, creates.done_ns) > 0
    )
    claims = np.where(
        began & (claims == Claim.NEAR), np.int8(Claim.LIKELY), claims
    )  # it has waited since it began
    claims = np.where(claims == Claim.POSSIBLE, np.int8(Claim.NO), claims)  # a slow answer is an answer
    return np.where(felt, claims, np.int8(Claim.NO)).astype(np.int8)


CAUSE = Cause(
    name="waiting_for_fibre",
    heading="Focus Server waited for the fibre",
    sentence="It had no metadata of the fibre, and opens no live window without.",
    remedy="connect the fibre or start the player; do not ask again and again meanwhile",
    needs=frozenset({"fibre"}),
    creates=of_creates,
    evidence=of_dependencies("fibre"),
)
