"""The plan of arrivals: instants that follow the rates, the same for the same seed."""

import numpy as np
import pytest

from harness.errors import InputError
from harness.focus.arrivals import Arrivals, Stretch, holds_s, instants_ns

RAMP = (Stretch(0, 10, 0, 40), Stretch(10, 20, 40, 40), Stretch(25, 30, 40, 0))


def counted(arrivals: Arrivals, begin_s: float, end_s: float) -> int:
    at_ns = instants_ns(arrivals)
    return int(((at_ns >= begin_s * 1e9) & (at_ns < end_s * 1e9)).sum())


def test_constant_arrivals_keep_their_distance_and_their_number() -> None:
    at_ns = instants_ns(Arrivals(process="constant", stretches=(Stretch(1, 11, 4, 4),)))
    assert len(at_ns) == 40
    assert set(np.diff(at_ns)) == {250_000_000}
    assert (at_ns[0], at_ns[-1]) == (1_125_000_000, 10_875_000_000)


def test_a_ramp_has_as_many_as_the_area_below_it() -> None:
    arrivals = Arrivals(process="constant", stretches=RAMP)
    spans = ((0, 5), (5, 10), (10, 20), (20, 25), (25, 30))
    assert [counted(arrivals, *span) for span in spans] == [50, 150, 400, 0, 100]
    assert (np.diff(instants_ns(arrivals)) > 0).all()


def test_poisson_arrivals_have_the_rate_and_the_scatter_of_their_process() -> None:
    """Counts per second of a Poisson process vary by their mean, distances by their square."""
    at_ns = instants_ns(Arrivals(stretches=(Stretch(0, 2000, 10, 10),), seed=7))
    per_second = np.bincount(at_ns // 1_000_000_000, minlength=2000)
    assert abs(len(at_ns) - 20_000) < 5 * 20_000**0.5
    assert per_second.var() / per_second.mean() == pytest.approx(1.0, abs=0.15)
    gaps = np.diff(at_ns) / 1e9
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.05)


def test_the_same_seed_gives_the_same_plan_and_another_another() -> None:
    one, same, other = (instants_ns(Arrivals(stretches=RAMP, seed=seed)) for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_holds_lie_between_least_and_most() -> None:
    arrivals = Arrivals(stretches=RAMP, seed=3)
    holds = holds_s(arrivals, 500, (2.0, 5.0))
    assert (holds.min() >= 2.0, holds.max() <= 5.0) == (True, True)
    assert np.array_equal(holds[:100], holds_s(arrivals, 100, (2.0, 5.0)))


@pytest.mark.parametrize(
    ("stretches", "word"),
    [
        ((), "no stretch has a rate"),
        ((Stretch(0, 10, 0, 0),), "no stretch has a rate"),
        ((Stretch(5, 5, 1, 1),), "has no length"),
        ((Stretch(-1, 5, 1, 1),), "has no length"),
        ((Stretch(0, float("inf"), 1, 1),), "has no length"),
        ((Stretch(0, 10, 1, 1), Stretch(9, 12, 1, 1)), "overlap"),
        ((Stretch(0, 10, -1, 1),), "no number of arrivals"),
        ((Stretch(0, 10, float("nan"), 1),), "no number of arrivals"),
        ((Stretch(0, 100_000, 1000, 1000),), "more than 10000000"),
    ],
)
def test_what_makes_no_sense_is_refused(stretches: tuple[Stretch, ...], word: str) -> None:
    with pytest.raises(InputError, match=word):
        Arrivals(stretches=stretches)
