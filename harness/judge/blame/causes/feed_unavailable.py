"""Live data stopped coming: no player was there to feed it."""

from harness.history.events import Outcome
from harness.judge.blame.cause import Cause, Claim
from harness.judge.blame.lives import Life, S


def of_window(life: Life) -> Claim:
    """Claim a window that got no frame, or ran dry and was ended, while no player was ready."""
    if life.outcome is Outcome.STREAM_NO_FRAME or life.ran_dry:
        return Claim.LIKELY if life.down("player", 6 * S, 2 * S) else Claim.NO
    return Claim.NO


CAUSE = Cause(
    name="feed_unavailable",
    heading="Live data stopped coming",
    sentence="No player was ready, so live windows had nothing to show.",
    remedy="scale the player back, and look why it went",
    needs=frozenset({"pods"}),
    window=of_window,
)
