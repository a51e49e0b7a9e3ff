"""Shares were free, but no worker with a free one was Ready, schedulable and without a taint that forbids it."""

import numpy as np

from harness.judge.blame.cause import Cause, Claim, Claims
from harness.judge.blame.creates import WATCH_NS, Creates
from harness.judge.blame.evidence import of_shares
from harness.judge.blame.lives import NODE_GRACE_NS, TOGETHER_NS, Life

CORDONED, NOT_READY, TAINTED, FULL = 1, 2, 3, 4
REASONS = (
    "",
    "a worker with free shares was cordoned",
    "a worker with free shares was not Ready",
    "a worker with free shares was tainted",
    "the workers that could be used had no free share",
)


def of_creates(creates: Creates) -> Claims:
    """Claim refusals while no share was free on a worker that can be used, but some elsewhere."""
    felt = creates.by_server
    nowhere = creates.short_of(creates.world.spare_schedulable)
    everywhere = creates.short_of(creates.world.spare_shares)
    claims = np.where(nowhere > everywhere, nowhere, np.int8(Claim.NO))
    return np.where(felt, claims, np.int8(Claim.NO)).astype(np.int8)


def of_window(life: Life) -> Claim:
    """Claim a window that no worker could take, or whose node went away."""
    start_ns, _ = life.suffered_ns
    grace_ns = 0 if life.lost_by(life.at_ns + TOGETHER_NS // 3) else NODE_GRACE_NS
    if life.node_was_away(start_ns - TOGETHER_NS // 2, life.at_ns + grace_ns):
        return Claim.LIKELY
    if not life.waited_for_a_place:
        return Claim.NO
    nowhere, everywhere = life.without(life.world.spare_schedulable), life.without(life.world.spare_shares)
    return nowhere if nowhere > everywhere else Claim.NO


def behind(creates: Creates) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """Tell why the workers could not be used."""
    world = creates.world
    from_ns, to_ns = creates.sent_ns - WATCH_NS, creates.done_ns + WATCH_NS
    cordoned, unready, tainted = (steps.highest(from_ns, to_ns) > 0 for steps in world.unusable_workers)
    return np.where(
        cordoned, CORDONED, np.where(unready, NOT_READY, np.where(tainted, TAINTED, FULL))
    ).astype(np.int8)


CAUSE = Cause(
    name="worker_unavailable",
    heading="No worker could take a pod",
    sentence="GPU shares were free, but none on a worker that was Ready and schedulable.",
    remedy="uncordon the worker, or restart the kubelet on it",
    needs=frozenset({"pods", "nodes", "jobs"}),
    creates=of_creates,
    window=of_window,
    evidence=of_shares,
    behind=behind,
    reasons=REASONS,
)
