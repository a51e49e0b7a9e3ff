"""No Focus Server pod was ready, or none answered: what stands in front of it has nobody to ask."""

import numpy as np

from harness.history.events import Outcome
from harness.judge.blame.bodies import FRONT, SERVER
from harness.judge.blame.cause import Cause, Claim, Claims, strongest, where
from harness.judge.blame.creates import BACK_NS, WATCH_NS, Creates
from harness.judge.blame.evidence import of_role
from harness.judge.sightings import DOWN

NO_PODS, NOT_READY, SILENT = 1, 2, 3
REASONS = (
    "",
    "it had no pod",
    "its pod was there and not ready",
    "its pod was ready and nobody answered through the ingress",
)


def of_creates(creates: Creates) -> Claims:
    """Claim failures while no pod of it was ready, or while what stands before it had nobody to ask."""
    felt = creates.refused | creates.broke | creates.ended(Outcome.CONNECT_FAILED, Outcome.CONNECT_TIMEOUT)
    podless = creates.podless("focus_server")
    front = (creates.writers == FRONT) & creates.refused
    gateway = creates.ended(Outcome.INGRESS_502_504, Outcome.READ_TIMEOUT)
    # Whoever held our connection went; a front outlives the server behind it.
    cut = creates.ended(Outcome.UNKNOWN)
    asked = creates.unanswered("focus_server") >= Claim.NEAR
    # A front that has nobody to ask says so at once; the pods' readiness comes a little later, and goes a little earlier.
    ready = creates.world.ready_pods["focus_server"].steps
    near = creates.ever(ready, DOWN, BACK_NS, BACK_NS)
    found = strongest(
        podless,
        where(front & (near | asked), Claim.LIKELY),
        where(gateway & (near | asked) | cut & near, Claim.LIKELY),
        where(front | gateway | cut, Claim.POSSIBLE),
    )
    answered = creates.writers == SERVER  # the server itself has spoken: at most it was just coming or going
    found = np.where(answered & (creates.status > 0), np.minimum(found, Claim.POSSIBLE), found)
    return np.where(felt, found, np.int8(Claim.NO)).astype(np.int8)


def behind(creates: Creates) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """Tell whether it had no pod, one that was not ready, or one that nobody reached."""
    world = creates.world
    none = creates.ever(world.existing_pods["focus_server"].steps, 0, WATCH_NS, WATCH_NS)
    unready = creates.ever(world.ready_pods["focus_server"].steps, DOWN, WATCH_NS, WATCH_NS)
    return np.where(none, NO_PODS, np.where(unready, NOT_READY, SILENT)).astype(np.int8)


CAUSE = Cause(
    name="focus_server_down",
    heading="Focus Server was down",
    sentence="No Focus Server pod was ready to answer.",
    remedy="delete its pod, or scale it to 0 and back to 1; look at its log first",
    needs=frozenset({"pods", "focus_server"}),
    creates=of_creates,
    evidence=of_role("focus_server"),
    behind=behind,
    reasons=REASONS,
)
