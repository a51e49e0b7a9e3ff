"""Too many creates at once: the server failed, or did not answer in time."""

import numpy as np

from harness.judge.blame.cause import Cause, Claim, Claims, strongest, where
from harness.judge.blame.creates import Creates

MANY = 4
"""So many other creates in flight were seen to make a server fail (about five at once in the field)."""
SLOW_NS = 2_000_000_000
"""An error that took this long, with others in flight, may be a queue's."""


def of_creates(creates: Creates) -> Claims:
    """Claim server errors and missing answers while many creates of ours were in flight."""
    others = creates.others_in_flight
    return strongest(
        where(creates.broke & (others >= MANY), Claim.LIKELY),
        where(creates.broke & (others >= 1) & (creates.took_ns >= SLOW_NS), Claim.POSSIBLE),
    )


def behind(creates: Creates) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """Tell how many creates were in flight, roughly."""
    return np.where(creates.others_in_flight >= MANY, 1, 0).astype(np.int8)


CAUSE = Cause(
    name="server_overload",
    heading="Focus Server was overloaded",
    sentence="Creates failed or got no answer while others were in flight.",
    remedy="send fewer creates at once (`creates_in_flight`)",
    creates=of_creates,
    behind=behind,
    reasons=("", "at least five creates were in flight at once"),
)
