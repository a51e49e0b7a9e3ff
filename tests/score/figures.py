"""From labels and blames to figures: which failures are counted, the confusion matrix, precision and recall with their intervals. Pure."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.score.labels import Label

MOST_PER_WINDOW = 200
EDGE_NS = 2_000_000_000
UNEXPLAINED, UNKNOWN = "unexplained", "unknown"


@dataclass(frozen=True)
class Case:
    """One failure that is counted: what it was, what it was blamed on, and where."""

    kind: str
    combination: str
    seed: int
    label: Label
    blamed: str
    without_logs: str
    blind: bool
    near_an_edge: bool


def counted(
    at_ns: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    edges_ns: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    seed: int,
    *,
    rare: bool = False,
) -> tuple["np.ndarray[tuple[int], np.dtype[np.int64]]", "np.ndarray[tuple[int], np.dtype[np.bool_]]"]:
    """Choose at most 200 of one window's failures, a third of them within 2 s of an edge; of `rare` ones all that there are.

    Returns their indices in order, and for each whether it lies near an edge.
    """
    place = np.searchsorted(edges_ns, at_ns)
    before = np.abs(at_ns - edges_ns[np.maximum(place - 1, 0)]) if len(edges_ns) else at_ns * 0 + EDGE_NS + 1
    after = np.abs(edges_ns[np.minimum(place, len(edges_ns) - 1)] - at_ns) if len(edges_ns) else before
    near = np.minimum(before, after) <= EDGE_NS
    chance = np.random.default_rng(seed)
    close, far = np.flatnonzero(near), np.flatnonzero(~near)
    of_close = min(len(close), max(MOST_PER_WINDOW // 3, MOST_PER_WINDOW - len(far)))
    of_far = min(len(far), MOST_PER_WINDOW - of_close)
    if of_close and not rare:
        of_far = min(of_far, 2 * of_close)
    chosen = np.concatenate(
        [chance.choice(close, of_close, replace=False), chance.choice(far, of_far, replace=False)]
    )
    ordered = np.sort(chosen).astype(np.int64)
    return ordered, near[ordered]


@dataclass
class Share:
    """So many of so many, with the 95 % interval of Wilson."""

    good: int = 0
    of: int = 0

    def add(self, good: bool) -> None:
        """Count one more."""
        self.good += good
        self.of += 1

    @property
    def value(self) -> float | None:
        """Return the share; None of nothing."""
        return self.good / self.of if self.of else None

    def interval(self) -> tuple[float, float]:
        """Return the 95 % confidence interval."""
        if not self.of:
            return 0.0, 1.0
        z, n = 1.959964, self.of
        p = self.good / n
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(0.0, middle - half), min(1.0, middle + half)

    def told(self) -> dict[str, Any]:
        """Return it as data."""
        low, high = self.interval()
        return {"share": self.value, "of": self.of, "low": round(low, 5), "high": round(high, 5)}


@dataclass
class Figures:
    """Everything that is said about a set of cases."""

    strict: Share = field(default_factory=Share)
    held: Share = field(default_factory=Share)
    held_without_logs: Share = field(default_factory=Share)
    unexplained: Share = field(default_factory=Share)
    """Of those with a known cause: how many were called unexplained."""
    unknown: Share = field(default_factory=Share)
    confidently_wrong: int = 0
    """Inside blind spots: blamed on something definite that did not hold."""
    inside_blind_spots: int = 0
    near_an_edge: int = 0
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    """True primary cause, and what was blamed."""
    recall: dict[str, Share] = field(default_factory=lambda: defaultdict(Share))
    precision: dict[str, Share] = field(default_factory=lambda: defaultdict(Share))


def figures(cases: Iterable[Case]) -> Figures:
    """Count cases. Recall of a cause is over failures whose primary cause it was, precision over failures blamed on it.

    Both count as right what truly held: where several held, nothing that can be seen tells which the server looked at first.
    """
    found = Figures()
    for case in cases:
        right = case.blamed in case.label.held
        found.strict.add(case.blamed == case.label.primary)
        found.held.add(right)
        found.held_without_logs.add(case.without_logs in case.label.held)
        found.confusion[case.label.primary, case.blamed] += 1
        found.near_an_edge += case.near_an_edge
        found.recall[case.label.primary].add(right)
        if case.blamed != UNKNOWN:
            found.precision[case.blamed].add(right)
        if case.label.primary != UNEXPLAINED:
            found.unexplained.add(case.blamed == UNEXPLAINED)
        found.unknown.add(case.blamed == UNKNOWN)
        if case.blind:
            found.inside_blind_spots += 1
            found.confidently_wrong += not right and case.blamed != UNKNOWN
    return found
