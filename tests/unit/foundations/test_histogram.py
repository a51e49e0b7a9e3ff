"""Fine histograms: quantiles within 0.05 %, and nothing lost when they are put together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.history.histogram import counted, merged, quantile

times_ns = st.lists(st.integers(0, 10**14), min_size=1, max_size=200)


@given(times_ns, st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.9999, 1.0]))
def test_a_quantile_is_within_a_twentieth_of_a_percent_of_the_value_of_that_rank(
    values: list[int], q: float
) -> None:
    exact = float(np.quantile(values, q, method="inverted_cdf"))
    found = quantile(counted(np.array(values, dtype=np.int64)), q)
    assert found is not None
    assert abs(found - exact) <= exact * 0.0005 + 1e-9


@given(times_ns, times_ns)
def test_putting_together_loses_nothing(one: list[int], other: list[int]) -> None:
    apart = [counted(np.array(values, dtype=np.int64)) for values in (one, other)]
    assert merged(apart) == counted(np.array(one + other, dtype=np.int64))
    assert sum(merged(apart).values()) == len(one) + len(other)


def test_what_is_negative_counts_as_nothing_and_nothing_has_no_quantile() -> None:
    assert quantile(counted(np.array([-5, -1], dtype=np.int64)), 0.5) == 0.0
    assert quantile({}, 0.5) is None


def test_a_million_times_over_eight_decades_keep_their_tail() -> None:
    values = np.random.default_rng(1).lognormal(15, 3, 1_000_000)
    counts = counted(values)
    assert len(counts) < 45_000
    for q in (0.5, 0.99, 0.999, 0.9999):
        assert quantile(counts, q) == pytest.approx(np.quantile(values, q, method="inverted_cdf"), rel=0.0005)
