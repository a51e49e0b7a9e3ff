"""Search for what a target sustains: which level to try next, from what is known of those tried. Pure.

A search climbs from its start, doubling, until a level is not held, or goes at once to where a hint says the edge is; then it closes in on
it, led by what the failed level achieved all the same, and stops when one level is shown to be held and the next is shown not to be.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Literal, get_args

from pydantic import Field

from harness.documents import Document

Sought = Literal["windows", "creates", "rate"]
"""Windows open at once; creates in flight at once; arrivals per second."""
SOUGHT: tuple[Sought, ...] = get_args(Sought)
Share = Annotated[float, Field(gt=0.5, lt=1, allow_inf_nan=False)]


class Objectives(Document):
    """What it means that a level is held, and how sure that has to be."""

    success: Share = 0.99
    """Share of creates that are answered 200 and yield a frame of their own."""
    ready_within_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    """From sending the create to a ready stream, for a share of `success`."""
    unstalled: Share = 0.99
    """Share of windows none of whose streams stalls."""
    confidence: Share = 0.95
    """Each level's decision is right with this probability."""
    precision: float = Field(default=0.03, ge=0.002, le=0.5)
    """A rate is found when the lowest that is not held is at most this much above the highest that is."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one level."""

    sustained: bool | None
    """None: not decided."""
    leaning: bool
    """Whether what was seen looks more like held than not."""
    tries: int
    achieved: float | None = None
    """Where it was not held: how much there was all the same."""
    served: float | None = None
    """The part of a rate that was served."""


LED = 3
"""So many levels that are not held, above the highest that is, lead the search; after that it halves what is left."""


class Effort(IntEnum):
    """How long a level of a rate is tried; a trial of a whole number is always whole."""

    CLIMB = 25
    """On the way up: so many flawless windows show that it is not far too much."""
    NARROW = 80
    """On the way to the edge: so many show three times in four that it is not 2 % too much."""
    DECIDE = 0
    """Until it is decided."""


@dataclass(frozen=True, slots=True)
class Next:
    """A level to try."""

    level: float
    effort: Effort


@dataclass(frozen=True, slots=True)
class Search:
    """One search: from `start`, never above `most`, in whole numbers or to a precision."""

    start: float
    most: float
    precision: float = 0.0
    """0: whole numbers."""

    def next(self, known: Mapping[float, Known], hint: float | None = None) -> Next | None:
        """Return the level to try next; None when nothing more can be found out. `hint` is where the edge of a rate is expected."""
        held = [level for level, seen in known.items() if _held(seen)]
        bad = [level for level, seen in known.items() if not _held(seen)]
        high = min(bad, default=None)
        low = max((level for level in held if high is None or level < high), default=0.0)
        if high is None:
            return self._climb(low, known, hint)
        if not self._adjacent(low, high):
            led = sum(level > low for level in bad) <= LED
            return Next(self._between(low, high, known[high], hint, led=led), Effort.NARROW)
        for level in (low, high):
            if level and known[level].sustained is None:
                return Next(level, Effort.DECIDE)
        return None

    def found(self, known: Mapping[float, Known]) -> tuple[float, float | None, bool]:
        """Return the highest level shown to be held, the lowest above it shown not to be, and whether they are neighbours.

        The second is None where `most` itself is held: nothing above may be tried, and nothing more can be found.
        """
        high = min((level for level, seen in known.items() if seen.sustained is False), default=None)
        low = max(
            (level for level, seen in known.items() if seen.sustained and (high is None or level < high)),
            default=0.0,
        )
        done = self._adjacent(low, high) if high is not None else low >= self.most
        return low, high, done

    def _climb(self, low: float, known: Mapping[float, Known], hint: float | None) -> Next | None:
        if low >= self.most:
            return None if known[low].sustained else Next(low, Effort.DECIDE)
        if not low:
            return Next(self.start, Effort.CLIMB)
        if hint is not None:  # just below it, then just above, then ever further away
            step = 1 + self.precision
            level = max(hint / math.sqrt(step), low * step, min(low * 2, low * low / hint))
            return Next(min(self.most, level), Effort.NARROW)
        return Next(min(self.most, low * 2), Effort.CLIMB)

    def _between(self, low: float, high: float, failed: Known, hint: float | None, *, led: bool) -> float:
        """Return a level within, led by the hint or by what the failed level achieved: first just below that, then just above; else by what it served."""
        achieved = failed.achieved if hint is None else hint
        if not self.precision:
            guess = int(achieved) if achieved is not None else 0
            if low < guess < high:
                return float(guess)
            return low + 1 if guess == low else float((int(low) + int(high)) // 2)
        step = 1 + self.precision
        least, most = low * math.sqrt(step), high / math.sqrt(step)
        middle = math.sqrt(low * high) if low else high / 2
        if led and achieved is not None:
            if least < achieved / math.sqrt(step) <= most:
                return achieved / math.sqrt(step)
            if low / step < achieved < low * step:
                return min(low * step, middle)
        if led and failed.served is not None and failed.served < most:
            return max(failed.served, middle)
        return middle

    def _adjacent(self, low: float, high: float) -> bool:
        return high <= (low * (1 + self.precision) * (1 + 1e-9) if self.precision else low + 1)


def _held(seen: Known) -> bool:
    return seen.leaning if seen.sustained is None else seen.sustained
