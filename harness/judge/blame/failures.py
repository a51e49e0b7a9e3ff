"""Which failures of a run want a cause: creates that were refused or failed, and accepted windows that were not served to their end.

Called by `blame`. What the run itself broke off (`cancelled`) is no failure.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.history.events import Outcome, WindowAccepted, WindowClosed
from harness.history.samples import ACCEPTED, Rows
from harness.judge.record import RunRecord
from harness.judge.steps import Ints, ints
from harness.measures.catalogue import BROKEN, UNSERVED

NOT_SERVED: tuple[Outcome, ...] = (*UNSERVED, *BROKEN)


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures of a run in parallel arrays: creates by the instant their outcome was known, then windows by that of their end."""

    window: Ints
    sent_ns: Ints
    """When the create was sent; of a window, when it was accepted."""
    at_ns: Ints
    """When the failure was known."""
    outcome: Ints
    """Index into `texts`."""
    request_id: NDArray[np.uint64]
    """Low 64 bits of the create's X-Request-ID; 0 where it is not in the record."""
    is_window: NDArray[np.bool_]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.window)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Return each failure's outcome as a word."""
        return tuple(self.texts[number] for number in self.outcome.tolist())


def failed_creates(record: RunRecord) -> Rows:
    """Return the creates that opened no window we know of, by the instant their outcome was known."""
    number = record.attempts.number
    good = (number(ACCEPTED), number(Outcome.CANCELLED))
    failed: Rows = record.creates[~np.isin(record.creates["outcome"], good)]
    return failed


def failed_windows(record: RunRecord) -> list[WindowClosed]:
    """Return the ends of accepted windows that were never served, or not to their planned end."""
    return [closed for closed in record.of(WindowClosed) if closed.outcome in NOT_SERVED]


def failures_of(record: RunRecord) -> Failures:
    """Return every failure of a run."""
    creates, windows = failed_creates(record), failed_windows(record)
    accepted_ns = {event.window: event.at_ns for event in record.of(WindowAccepted)}
    asked = dict(zip(record.creates["window"].tolist(), record.creates["request_id"].tolist(), strict=True))
    texts = list(record.attempts.texts)
    numbers = {text: index for index, text in enumerate(texts)}
    for closed in windows:
        if closed.outcome not in numbers:
            numbers[closed.outcome] = len(texts)
            texts.append(closed.outcome)
    ids = [asked.get(closed.window, 0) for closed in windows]
    return Failures(
        window=np.concatenate([creates["window"], ints(closed.window for closed in windows)]),
        sent_ns=np.concatenate(
            [creates["sent_ns"], ints(accepted_ns.get(closed.window, closed.at_ns) for closed in windows)]
        ),
        at_ns=np.concatenate([creates["done_ns"], ints(closed.at_ns for closed in windows)]),
        outcome=np.concatenate(
            [creates["outcome"].astype(np.int64), ints(numbers[closed.outcome] for closed in windows)]
        ),
        request_id=np.concatenate([creates["request_id"], np.array(ids, dtype=np.uint64)]),
        is_window=np.concatenate([np.zeros(len(creates), dtype=bool), np.ones(len(windows), dtype=bool)]),
        texts=tuple(texts),
    )
