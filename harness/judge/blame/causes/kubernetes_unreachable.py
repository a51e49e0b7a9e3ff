"""Focus Server could not make anything in the cluster: the API server did not answer, or its account lost its rights."""

import numpy as np

from harness.history.events import Outcome
from harness.judge.blame.cause import Cause, Claim, Claims, strongest, where
from harness.judge.blame.creates import POLL_NS, REUSE_NS, Creates
from harness.judge.blame.evidence import of_dependencies
from harness.judge.blame.lives import Life, S
from harness.judge.blame.logs import log_claims
from harness.judge.sightings import DOWN

RIGHTS, SILENT = 1, 2
REASONS = ("", "its service account may not do what it needs", "the API server did not answer")
CUT = 3
"""So many watches that are cut off at once mean that the API server went."""
LINES = r"forbidden|Unauthorized|kubernetes|apiserver|:6443|ApiStatus|Max retries exceeded"


def of_creates(creates: Creates) -> Claims:
    """Claim refusals while the API server was silent or Focus Server's account lacked a right."""
    felt = creates.by_dependency
    claims = strongest(_silent(creates), creates.unanswered("server_rights"), log_claims(creates, LINES))
    return np.where(felt, claims, np.int8(Claim.NO)).astype(np.int8)


def _silent(creates: Creates) -> Claims:
    """Claim that the API server did not answer; when it goes, the watches that it keeps notice first."""
    seen = creates.world.dependencies["kubernetes_api"].steps
    going = (seen.at(creates.sent_ns) != DOWN) & creates.ever(seen, DOWN, 0, POLL_NS)
    cut = creates.world.watches_cut.lowest(creates.sent_ns - REUSE_NS, creates.done_ns) >= CUT
    return strongest(creates.unanswered("kubernetes_api"), where(cut & going, Claim.LIKELY))


def of_window(life: Life) -> Claim:
    """Claim a window that never started while the API server was silent."""
    if life.outcome is not Outcome.PENDING_NO_START or life.ran:
        return Claim.NO
    return Claim.LIKELY if life.down("kubernetes_api", 0, S) else Claim.NO


def behind(creates: Creates) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """Tell lost rights from a silent API server."""
    rights = creates.unanswered("server_rights") >= Claim.NEAR
    return np.where(rights, RIGHTS, SILENT).astype(np.int8)


CAUSE = Cause(
    name="kubernetes_unreachable",
    heading="Focus Server could not use the Kubernetes API",
    sentence="Without it no job can be created.",
    remedy="restore the API server or the role binding of Focus Server's account, then restart Focus Server",
    needs=frozenset({"kubernetes_api", "server_rights"}),
    creates=of_creates,
    window=of_window,
    evidence=of_dependencies("kubernetes_api", "server_rights"),
    behind=behind,
    reasons=REASONS,
)
