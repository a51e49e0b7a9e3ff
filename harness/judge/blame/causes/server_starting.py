"""Focus Server has just started: it answers, and does not know the cluster yet."""

from harness.judge.blame.bodies import SERVER
from harness.judge.blame.cause import Cause, Claim, Claims, strongest, where
from harness.judge.blame.creates import WATCH_NS, Creates
from harness.judge.blame.evidence import of_role
from harness.judge.blame.lives import S

STARTING_NS = 5 * S
"""How long after it became ready a server may still be finding its feet."""
ASKED = ("kubernetes_api", "server_rights", "fibre")


def of_creates(creates: Creates) -> Claims:
    """Claim what a server refused within moments of becoming ready: likely where it spoke itself, had room, and nothing else was seen."""
    began = creates.world.became_ready("focus_server")
    fresh = began.highest(creates.sent_ns - STARTING_NS, creates.done_ns) > 0
    spoke = fresh & creates.refused & (creates.writers == SERVER)
    limit = creates.max_windows
    room = ~creates.slots_unseen & (limit is None or creates.most_slots < limit)
    elsewhere = strongest(*(creates.down(name) for name in ("mongodb", "broker")))
    elsewhere = strongest(elsewhere, *(creates.unanswered(name) for name in ASKED))
    seeing = ~creates.blind("pods", WATCH_NS) & ~creates.blind("kubernetes_api", WATCH_NS)
    return strongest(
        where(spoke & room & seeing & (elsewhere < Claim.NEAR), Claim.LIKELY),
        where(spoke, Claim.NEAR),
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
