"""Somebody else's windows: they held slots, or their frames came where ours were due."""

from harness.history.events import Outcome
from harness.judge.blame.cause import Cause, Claim, Claims, nothing, strongest, where
from harness.judge.blame.creates import Creates
from harness.judge.blame.evidence import of_slots
from harness.judge.blame.lives import Life


def of_creates(creates: Creates) -> Claims:
    """Claim refusals at the limit that would not have been one without the windows of others."""
    limit = creates.max_windows
    if limit is None:
        return nothing(len(creates))
    slots, others = creates.world.slots, creates.world.windows.others_open
    foreign = others.highest(creates.sent_ns, creates.done_ns)
    lowest, highest = (look(creates.sent_ns, creates.done_ns) for look in (slots.lowest, slots.highest))
    needed = creates.by_server & (foreign > 0) & (highest - foreign < limit) & ~creates.slots_unseen
    return strongest(
        where(needed & (lowest >= limit), Claim.LIKELY),
        where(needed & (highest >= limit), Claim.NEAR),
    )


def of_window(life: Life) -> Claim:
    """Claim a window whose stream carried another job's frames."""
    return Claim.CERTAIN if life.outcome is Outcome.FOREIGN_STREAM else Claim.NO


CAUSE = Cause(
    name="foreign_load",
    heading="Windows of others were in the way",
    sentence="They held slots, or their frames came on a port that was given to us.",
    remedy="agree on who may use the system while a campaign runs",
    needs=frozenset({"services"}),
    creates=of_creates,
    window=of_window,
    evidence=of_slots,
)
