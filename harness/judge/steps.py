"""A number that changes at known instants, and questions about whole arrays of instants and intervals at once.

The judge's one data structure for everything that holds *from an instant on*: open windows, free shares, a dependency's
state. Pure numpy; a question about 100,000 intervals takes milliseconds.
"""

from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def ints(values: Iterable[int]) -> Ints:
    """Return whole numbers as an array."""
    return np.fromiter(values, dtype=np.int64)


class Steps:
    """A step function of time: `before` until the first instant, then each value from its instant on."""

    def __init__(self, at_ns: Ints, values: Ints, before: int) -> None:
        order = np.argsort(at_ns, kind="stable")
        at_ns, values = at_ns[order], values[order]
        last = np.append(at_ns[1:] != at_ns[:-1], True) if len(at_ns) else np.empty(0, dtype=bool)
        self.at_ns = at_ns[last]
        """The instants, strictly rising."""
        self.order = order[last]
        """Which of the given changes each instant's value comes from."""
        self.values: Ints = np.concatenate([[before], values[last]]).astype(np.int64)
        """One more than there are instants: the first holds before all of them."""

    @classmethod
    def of(cls, changes: Iterable[tuple[int, int]], before: int) -> "Steps":
        """Make a step function of (instant, value from then on) pairs."""
        pairs = list(changes)
        return cls(ints(at for at, _ in pairs), ints(value for _, value in pairs), before)

    @classmethod
    def counting(cls, starts_ns: Ints, ends_ns: Ints) -> "Steps":
        """Count how many of the intervals [start, end) are open; empty intervals count nowhere."""
        real = ends_ns > starts_ns
        at_ns = np.concatenate([starts_ns[real], ends_ns[real]])
        deltas = np.concatenate([np.ones(real.sum(), np.int64), -np.ones(real.sum(), np.int64)])
        order = np.argsort(at_ns, kind="stable")
        return cls(at_ns[order], np.cumsum(deltas[order]), 0)

    def at(self, at_ns: Ints) -> Ints:
        """Return the value at each instant."""
        found: Ints = self.values[self.index(at_ns)]
        return found

    def index(self, at_ns: Ints) -> Ints:
        """Return which value holds at each instant, as an index into `values` (0 is the one before all changes)."""
        found: Ints = np.searchsorted(self.at_ns, at_ns, side="right").astype(np.int64)
        return found

    def lowest(self, from_ns: Ints, to_ns: Ints) -> Ints:
        """Return the lowest value within each [from, to], both included."""
        return -self._highest(self._least, from_ns, to_ns)

    def highest(self, from_ns: Ints, to_ns: Ints) -> Ints:
        """Return the highest value within each [from, to], both included."""
        return self._highest(self._most, from_ns, to_ns)

    def equal(self, value: int) -> "Steps":
        """Return the step function that is 1 where this one is `value`, and 0 elsewhere."""
        same = (self.values == value).astype(np.int64)
        return Steps(self.at_ns, same[1:], int(same[0]))

    def changes(self) -> "Steps":
        """Return the same function without instants at which its value stays what it was."""
        changed = self.values[1:] != self.values[:-1]
        return Steps(self.at_ns[changed], self.values[1:][changed], int(self.values[0]))

    @cached_property
    def _most(self) -> list[Ints]:
        return _table(self.values)

    @cached_property
    def _least(self) -> list[Ints]:
        return _table(-self.values)

    def _highest(self, table: list[Ints], from_ns: Ints, to_ns: Ints) -> Ints:
        first = self.index(from_ns)
        last = np.maximum(self.index(to_ns), first)
        level = np.frexp((last - first + 1).astype(np.float64))[1] - 1
        found = np.empty(len(first), dtype=np.int64)
        for power in np.unique(level):
            chosen = level == power
            row = table[int(power)]
            found[chosen] = np.maximum(row[first[chosen]], row[last[chosen] - (1 << int(power)) + 1])
        return found


def _table(values: Ints) -> list[Ints]:
    """Return the maxima of every run of 1, 2, 4, ... values: any interval is covered by two of them."""
    table = [values]
    while (width := 1 << len(table)) <= len(values):
        half = width // 2
        row = table[-1]
        table.append(np.maximum(row[: len(values) - width + 1], row[half : half + len(values) - width + 1]))
    return table
