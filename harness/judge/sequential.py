"""Decide while looking: Wald's sequential probability ratio test between a good and a bad share of failures. Pure.

It may be looked at after every observation without losing its error rates, and needs the fewest observations of all tests that have them
(Wald and Wolfowitz 1948). A share between the two hypotheses may be decided either way; that it may take long is bounded by truncation
(Wald 1947, 3.8): after `WORTH` times what a flawless sample needs, the likelier hypothesis is taken.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

WORTH = 3
"""So many times the observations that a flawless sample needs are worth making."""


class Decision(StrEnum):
    """What is known of a level."""

    SUSTAINED = "sustained"
    REFUTED = "refuted"
    OPEN = "open"
    """Too little was seen to say."""


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """Between failing at most with share `good` and failing at least with share `bad`, wrong with probability 1 - `confidence` either way."""

    good: float
    bad: float
    confidence: float

    def __post_init__(self) -> None:
        if not 0 < self.good < self.bad < 1 or not 0.5 < self.confidence < 1:
            raise ValueError(f"no test: good {self.good}, bad {self.bad}, confidence {self.confidence}")

    def ratio(self, failures: int, seen: int) -> float:
        """Return the log likelihood ratio of bad to good; below 0 the observations rather look good."""
        good, bad = self.good, self.bad
        return failures * math.log(bad / good) + (seen - failures) * math.log((1 - bad) / (1 - good))

    def decide(self, failures: int, seen: int) -> Decision:
        """Return what so many failures of so many observations show."""
        edge = math.log(self.confidence / (1 - self.confidence)) if seen < WORTH * self.needed else 0.0
        ratio = self.ratio(failures, seen)
        if ratio >= edge:
            return Decision.REFUTED
        return Decision.SUSTAINED if ratio <= -edge else Decision.OPEN

    @property
    def needed(self) -> int:
        """How many observations without any failure show that it is good."""
        edge = math.log(self.confidence / (1 - self.confidence))
        return math.ceil(edge / math.log((1 - self.good) / (1 - self.bad)))
