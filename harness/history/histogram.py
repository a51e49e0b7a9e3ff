"""Histograms of times that can be put together without loss: quantiles to 0.05 %, whatever the range.

Buckets are those of HDR histograms: each power of two is cut into 1,024 equal parts, so that a bucket is at most 0.1 % wide. A
bucket's number is the upper bits of the value as a 64-bit float. Only buckets that hold something are kept.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

KEPT_BITS = 10
SHIFT = np.uint64(52 - KEPT_BITS)

Counts = Mapping[int, int]
"""How many values fell into each bucket, by the bucket's number."""


def counted(values: NDArray[np.int64] | NDArray[np.float64]) -> dict[int, int]:
    """Return the histogram of values that are not negative; smaller ones count as 0."""
    bits = np.maximum(np.asarray(values, dtype=np.float64), 0.0).view(np.uint64) >> SHIFT
    numbers, counts = np.unique(bits, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def merged(histograms: Iterable[Counts]) -> dict[int, int]:
    """Return the histogram of all values together."""
    total: dict[int, int] = {}
    for one in histograms:
        for number, count in one.items():
            total[number] = total.get(number, 0) + count
    return total


def quantile(counts: Counts, q: float) -> float | None:
    """Return the smallest value that a share `q` of all values does not exceed, within 0.05 %; None without values."""
    if not counts:
        return None
    numbers = np.array(sorted(counts), dtype=np.uint64)
    reached = np.cumsum([counts[int(number)] for number in numbers])
    found = numbers[np.searchsorted(reached, max(1.0, np.ceil(q * reached[-1] - 1e-9)))]
    low, high = (np.array([found, found + np.uint64(1)], dtype=np.uint64) << SHIFT).view(np.float64)
    return 0.0 if low == 0 else float(low + high) / 2
