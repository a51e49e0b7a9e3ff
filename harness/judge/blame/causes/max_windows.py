"""The admission limit: as many windows were open as MaxWindows allows."""

import numpy as np

from harness.judge.blame.cause import Cause, Claim, Claims, nothing, strongest, where
from harness.judge.blame.creates import Creates
from harness.judge.blame.evidence import of_slots

LEAKED, FOREIGN = 1, 2
REASONS = (
    "",
    "slots were still held by windows that were long over",
    "windows of others held slots",
)


def of_creates(creates: Creates) -> Claims:
    """Claim refusals while as many windows were open, certainly or as slots were seen held, as are allowed."""
    limit = creates.max_windows
    if limit is None:
        return nothing(len(creates))
    slots, then = creates.world.slots, creates.counting
    full = (slots.lowest(then.sent_ns, then.done_ns) >= limit) & ~then.slots_unseen
    most = creates.most_slots
    filling = most + np.maximum(creates.others_in_flight, 0) >= limit
    felt = creates.by_server
    claims = strongest(
        where(then.certain >= limit, Claim.CERTAIN),
        where(full, Claim.LIKELY),
        where((most >= limit) & ~creates.slots_unseen, Claim.NEAR),
        where(filling | (creates.possible >= limit), Claim.POSSIBLE),
    )
    return np.where(felt, claims, np.int8(Claim.NO)).astype(np.int8)


def behind(creates: Creates) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """Tell whether slots were held by windows that were over, or by other people's."""
    windows = creates.world.windows
    leaked = windows.overdue.highest(creates.sent_ns, creates.done_ns) > 0
    foreign = windows.others_open.highest(creates.sent_ns, creates.done_ns) > 0
    return np.where(leaked, LEAKED, np.where(foreign, FOREIGN, 0)).astype(np.int8)


CAUSE = Cause(
    name="max_windows",
    heading="The limit was reached",
    sentence="As many windows were open as MaxWindows allows.",
    remedy="wait until windows end, or delete those that are over",
    needs=frozenset({"services", "jobs"}),
    creates=of_creates,
    evidence=of_slots,
    behind=behind,
    reasons=REASONS,
    usual=True,
)
