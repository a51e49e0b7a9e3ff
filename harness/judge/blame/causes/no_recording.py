"""A historic window for a time of which there is no recording."""

from harness.history.events import Outcome
from harness.judge.blame.cause import Cause, Claim, Claims, where
from harness.judge.blame.creates import Creates


def of_creates(creates: Creates) -> Claims:
    """Claim what was answered with `No recording found`."""
    return where(creates.ended(Outcome.NO_RECORDING_404), Claim.CERTAIN)


CAUSE = Cause(
    name="no_recording",
    heading="There is no recording of that time",
    sentence="A historic window was asked for where nothing is recorded, or where the server does not look.",
    remedy="choose another time; compare the server's storage path with base_paths in MongoDB",
    creates=of_creates,
)
