"""Focus Server has just started: it answers, and does not know the cluster yet."""

import numpy as np

from harness.history.events import WindowAccepted
from harness.judge.blame.bodies import SERVER
from harness.judge.blame.cause import Cause, Claim, Claims, strongest, where
from harness.judge.blame.creates import WATCH_NS, Creates, Flags
from harness.judge.blame.evidence import of_role
from harness.judge.blame.lives import S
from harness.judge.steps import Steps, ints

STARTING_NS = 5 * S
"""How long after it became ready a server may still be finding its feet."""
ASKED = ("kubernetes_api", "server_rights", "fibre")


def of_creates(creates: Creates) -> Claims:
    """Claim what a server refused within moments of becoming ready, until it opened its first window.

    Likely where it spoke itself, had room, and nothing else was seen.
    """
    began = creates.world.became_ready("focus_server")
    fresh = began.highest(creates.sent_ns - STARTING_NS, creates.done_ns) > 0
    fresh &= ~_has_opened(creates, began)
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


def _has_opened(creates: Creates, began: Steps) -> Flags:
    """Return before which of the answers a server had opened a window since it became ready: it knows the cluster then."""
    ready_ns = began.at_ns[began.values[1:] == 1]
    accepted_ns = ints(sorted(event.at_ns for _, event in creates.world.of(WindowAccepted)))
    since_ns = np.append(ready_ns, creates.world.end_ns)[
        np.searchsorted(ready_ns, creates.done_ns, "right") - 1
    ]
    opened: Flags = np.searchsorted(accepted_ns, creates.done_ns) > np.searchsorted(accepted_ns, since_ns)
    return opened


CAUSE = Cause(
    name="server_starting",
    heading="Focus Server had just started",
    sentence="Its pod was ready for a moment only; it had not read the cluster yet.",
    remedy="wait a few seconds",
    needs=frozenset({"pods"}),
    creates=of_creates,
    evidence=of_role("focus_server"),
)
