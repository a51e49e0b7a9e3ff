"""No GPU share was free on any registered worker."""

import numpy as np

from harness.judge.blame.cause import Cause, Claim, Claims
from harness.judge.blame.creates import WATCH_NS, Creates
from harness.judge.blame.evidence import of_shares
from harness.judge.blame.lives import Life

HOGS, WINDOWS = 1, 2
REASONS = ("", "pods of others held shares", "windows held all of them")


def of_creates(creates: Creates) -> Claims:
    """Claim refusals while every share of every registered worker was taken."""
    felt = creates.by_server
    return np.where(felt, creates.short_of(creates.world.spare_shares), np.int8(Claim.NO)).astype(np.int8)


def of_window(life: Life) -> Claim:
    """Claim a window whose pod was put nowhere while no share was free anywhere."""
    if life.made_ns is None or not life.waited_for_a_place:
        return Claim.NO
    return life.without(life.world.spare_shares)


def behind(creates: Creates) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """Tell who held the shares."""
    hogs = creates.world.shares_of_hogs.highest(creates.sent_ns - WATCH_NS, creates.done_ns + WATCH_NS) > 0
    return np.where(hogs, HOGS, WINDOWS).astype(np.int8)


CAUSE = Cause(
    name="gpu_exhausted",
    heading="No GPU share was free",
    sentence="Every share of every registered worker was taken.",
    remedy="delete pending and old grpc jobs, or what else holds shares",
    needs=frozenset({"pods", "nodes", "jobs"}),
    creates=of_creates,
    window=of_window,
    evidence=of_shares,
    behind=behind,
    reasons=REASONS,
)
