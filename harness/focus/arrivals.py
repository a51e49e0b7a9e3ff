"""Open arrivals: when windows are asked for, whatever became of those before. A seeded plan of absolute instants, computed ahead. Pure.

Users who wait for an answer before they ask again send less while a server stalls, and so hide the stall (coordinated omission).
Arrivals do not wait: each has an instant at which it is intended, and is late if it is sent later.
"""

import itertools
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError

MOST = 10_000_000
"""More arrivals than this are no plan: their instants would take hundreds of megabytes."""


class Stretch(msgspec.Struct, frozen=True):
    """From `begin_s` to `end_s` (seconds of the run) the rate goes evenly from `rate_from` to `rate_to` (arrivals per second)."""

    begin_s: float
    end_s: float
    rate_from: float
    rate_to: float

    @property
    def expected(self) -> float:
        """How many arrivals it has on average."""
        return (self.end_s - self.begin_s) * (self.rate_from + self.rate_to) / 2


class Arrivals(msgspec.Struct, frozen=True, kw_only=True):
    """What is planned: stretches in order, and whether arrivals keep an even distance or come by chance (a Poisson process)."""

    process: Literal["constant", "poisson"] = "poisson"
    stretches: tuple[Stretch, ...]
    seed: int = 0
    late_after_s: float = 0.01
    """One that is sent later than this after its instant is late."""
    in_flight: int = 1000
    """So many creates may be unanswered; an arrival beyond is not offered, since nothing may grow without end."""
    part: int = 0
    parts: int = 1
    """Several engines share a plan: this one has every `parts`-th arrival from `part` on. Rates are those of all."""

    def __post_init__(self) -> None:
        problems = [text for wrong, text in self._checks() if wrong]
        if problems:
            raise InputError("these arrivals cannot be played: " + "; ".join(problems))

    def _checks(self) -> tuple[tuple[bool, str], ...]:
        ends = [(one.begin_s, one.end_s) for one in self.stretches]
        rates = [rate for one in self.stretches for rate in (one.rate_from, one.rate_to)]
        return (
            (not all(0 <= begin < end < float("inf") for begin, end in ends), "a stretch has no length"),
            (
                any(later[0] < earlier[1] for earlier, later in itertools.pairwise(ends)),
                "stretches overlap, or are not in order",
            ),
            (
                not all(0 <= rate < float("inf") for rate in rates),
                "a rate is no number of arrivals per second",
            ),
            (not any(rates), "no stretch has a rate above 0"),
            (
                not self.expected <= MOST,
                f"{self.expected:.0f} arrivals are more than {MOST}: a lower rate, or a shorter run",
            ),
            (not 0 <= self.late_after_s < float("inf"), "late_after is no time"),
            (not 0 <= self.part < self.parts, f"there is no part {self.part} of {self.parts}"),
            (self.in_flight < 1, f"in_flight {self.in_flight} is below 1"),
        )

    @property
    def expected(self) -> float:
        """How many arrivals there are on average; exactly so many, rounded, where they keep an even distance."""
        return sum(one.expected for one in self.stretches)

    def after(self, begin_s: float) -> "Arrivals":
        """Return the same arrivals, later by `begin_s`."""
        moved = (
            msgspec.structs.replace(one, begin_s=one.begin_s + begin_s, end_s=one.end_s + begin_s)
            for one in self.stretches
        )
        return msgspec.structs.replace(self, stretches=tuple(moved))

    @property
    def busiest(self) -> float:
        """How many arrivals are expected within the busiest second: the highest rate, unless it lasts less than that."""
        edges = [edge for one in self.stretches for edge in (one.begin_s, one.end_s)]
        return max(
            self._expected_until(start + 1.0) - self._expected_until(start)
            for edge in edges
            for start in (edge, edge - 1.0)
        )

    def _expected_until(self, at_s: float) -> float:
        total = 0.0
        for one in self.stretches:
            length_s = one.end_s - one.begin_s
            share = min(max((at_s - one.begin_s) / length_s, 0.0), 1.0)
            total += length_s * share * (one.rate_from + (one.rate_to - one.rate_from) * share / 2)
        return total


def instants_ns(arrivals: Arrivals) -> NDArray[np.int64]:
    """Return the instants of the arrivals (of one part of them) in nanoseconds of the run, in order: the same for equal `arrivals`.

    Both processes are one with rate 1, put through the inverse of the expected number of arrivals so far: even steps of 1 (the first at
    a half), or steps drawn from the exponential distribution.
    """
    chance = np.random.Generator(np.random.PCG64(arrivals.seed))
    total = arrivals.expected
    if arrivals.process == "constant":
        counts = np.arange(0.5, total, 1.0)
    else:
        counts = np.empty(0)
        while not len(counts) or counts[-1] < total:
            missing = total - (counts[-1] if len(counts) else 0.0)
            steps = -np.log1p(-chance.random(int(missing + 6 * missing**0.5) + 16))
            counts = np.concatenate([counts, (counts[-1] if len(counts) else 0.0) + np.cumsum(steps)])
        counts = counts[counts < total]
    return _inverse(arrivals.stretches, counts)[arrivals.part :: arrivals.parts]


def holds_s(arrivals: Arrivals, count: int, hold_s: tuple[float, float]) -> NDArray[np.float64]:
    """Return how long each of `count` windows is held, drawn evenly between least and most."""
    chance = np.random.Generator(np.random.PCG64([arrivals.seed, 1]))
    return chance.uniform(*hold_s, count * arrivals.parts)[arrivals.part :: arrivals.parts]


def _inverse(stretches: tuple[Stretch, ...], counts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return when the expected number of arrivals reaches each of `counts`."""
    before = np.concatenate([[0.0], np.cumsum([one.expected for one in stretches])])
    found = np.empty(len(counts), dtype=np.int64)
    for number, one in enumerate(stretches):
        first, last = np.searchsorted(counts, before[number : number + 2])
        within = counts[first:last] - before[number]
        slope = (one.rate_to - one.rate_from) / (one.end_s - one.begin_s)
        # rate_from t + slope t²/2 = within, solved in the form that loses no digits where the slope is small.
        root = np.sqrt(np.maximum(one.rate_from**2 + 2 * slope * within, 0.0))
        after_s = np.divide(2 * within, one.rate_from + root, out=np.zeros_like(within), where=within > 0)
        found[first:last] = np.rint((one.begin_s + np.minimum(after_s, one.end_s - one.begin_s)) * 1e9)
    return found
