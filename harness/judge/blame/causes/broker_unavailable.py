"""The message broker did not answer: queues cannot be made, live windows get no data."""

import numpy as np

from harness.history.events import Outcome
from harness.judge.blame.cause import Cause, Claim, Claims, strongest
from harness.judge.blame.creates import Creates
from harness.judge.blame.evidence import of_dependencies
from harness.judge.blame.lives import Life, S
from harness.judge.blame.logs import log_claims

LINES = r"AMQP|amqp|:5672|broker|BrokerError|rabbit"


def of_creates(creates: Creates) -> Claims:
    """Claim failures while the broker did not answer or had no ready pod."""
    felt = creates.by_dependency
    claims = strongest(creates.down("broker"), log_claims(creates, LINES))
    return np.where(felt, claims, np.int8(Claim.NO)).astype(np.int8)


def of_window(life: Life) -> Claim:
    """Claim a live window that got no frame, or ran dry and was ended, while the broker was away."""
    if life.outcome is Outcome.STREAM_NO_FRAME or life.ran_dry:
        return Claim.LIKELY if life.down("broker", 6 * S, 2 * S) else Claim.NO
    return Claim.NO


CAUSE = Cause(
    name="broker_unavailable",
    heading="The message broker did not answer",
    sentence="Without it no queue can be made, and live windows get no data.",
    remedy="restart the broker's pod; look at its disk and memory alarms",
    needs=frozenset({"broker", "pods"}),
    creates=of_creates,
    window=of_window,
    evidence=of_dependencies("broker"),
)
