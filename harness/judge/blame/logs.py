"""What Focus Server's log says around a failed create; a hint that brings a cause near, never one that is needed.

Called by the rules in `causes/`. A target whose log may not be read is blamed without.
"""

import re
from typing import TYPE_CHECKING

import numpy as np

from harness.history.events import LogLineSeen
from harness.judge.blame.cause import Claim, Claims, nothing, where
from harness.judge.steps import ints

if TYPE_CHECKING:
    from harness.judge.blame.creates import Creates

BEFORE_NS = 300_000_000
AFTER_NS = 1_500_000_000
"""A line about a create comes this much before or after its answer at most: logs are read with a lag."""


def log_claims(creates: "Creates", pattern: str) -> Claims:
    """Claim as near what a line of the log, at the time of the create, speaks of."""
    if not creates.logs:
        return nothing(len(creates))
    said = re.compile(pattern)
    at_ns = np.sort(
        ints(event.at_ns for _, event in creates.world.of(LogLineSeen) if said.search(event.text))
    )
    first = np.searchsorted(at_ns, creates.sent_ns - BEFORE_NS)
    last = np.searchsorted(at_ns, creates.done_ns + AFTER_NS)
    return where(last > first, Claim.NEAR)
