"""The request itself: the server said that it cannot be understood or is not allowed."""

from harness.history.events import Outcome
from harness.judge.blame.cause import Cause, Claim, Claims, where
from harness.judge.blame.creates import Creates

NOT_THE_REQUEST = (404, 408, 429)
"""Statuses below 500 that tell of something else."""


def of_creates(creates: Creates) -> Claims:
    """Claim what was answered with a word about the request's form."""
    status = creates.status
    form = creates.ended(Outcome.VALIDATION_422, Outcome.PARSE_500)
    other = creates.ended(Outcome.OTHER_STATUS) & (status >= 400) & (status < 500)
    for code in NOT_THE_REQUEST:
        other &= status != code
    return where(form | other, Claim.CERTAIN)


CAUSE = Cause(
    name="invalid_request",
    heading="The request was not valid",
    sentence="Focus Server could not read what was asked for, or does not allow it.",
    remedy="correct the campaign's `request`",
    creates=of_creates,
)
