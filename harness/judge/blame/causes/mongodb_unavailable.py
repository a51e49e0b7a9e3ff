"""MongoDB did not answer: tasks cannot be stored, recordings cannot be looked up."""

import numpy as np

from harness.judge.blame.cause import Cause, Claim, Claims, strongest
from harness.judge.blame.creates import Creates
from harness.judge.blame.evidence import of_dependencies
from harness.judge.blame.logs import log_claims

NO_POD, SILENT = 1, 2
REASONS = ("", "none of its pods was ready", "its pod was ready and did not answer")
LINES = r"ServerSelectionTimeout|AutoReconnect|NetworkTimeout|pymongo|:27017|mongodb"


def of_creates(creates: Creates) -> Claims:
    """Claim failures while MongoDB did not answer, answered slowly, or had no ready pod."""
    felt = creates.by_dependency
    claims = strongest(creates.down("mongodb"), log_claims(creates, LINES))
    return np.where(felt, claims, np.int8(Claim.NO)).astype(np.int8)


def behind(creates: Creates) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """Tell a MongoDB without a ready pod from one that is silent."""
    podless = creates.podless("mongodb") >= Claim.NEAR
    return np.where(podless, NO_POD, SILENT).astype(np.int8)


CAUSE = Cause(
    name="mongodb_unavailable",
    heading="MongoDB did not answer",
    sentence="Without it no task can be stored and no recording looked up.",
    remedy="delete MongoDB's pod (it is restarted), and check the connection and its credentials",
    needs=frozenset({"mongodb", "pods"}),
    creates=of_creates,
    evidence=of_dependencies("mongodb"),
    behind=behind,
    reasons=REASONS,
)
