"""One plan for several workers: together they are the plan, and nobody's part is another's."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engine.watermark import Watermarks
from harness.errors import InputError
from harness.focus.arrivals import Arrivals, Stretch, holds_s, instants_ns
from harness.focus.endpoint import Endpoint
from harness.focus.seam import Budget, Payload
from harness.load.plan import LoadPlan, pauses
from harness.load.shares import share


def plan(**more: object) -> LoadPlan:
    return LoadPlan(**{"endpoint": Endpoint(url="http://x"), "creates_in_flight": 9, **more})  # type: ignore[arg-type]


@given(
    st.integers(1, 6),
    st.sampled_from(["poisson", "constant"]),
    st.integers(0, 5),
    st.floats(0.5, 20),
    st.floats(0.5, 20),
)
def test_the_parts_of_a_plan_of_arrivals_are_the_plan(
    parts: int, process: str, seed: int, low: float, high: float
) -> None:
    whole = Arrivals(process=process, stretches=(Stretch(1, 20, low, high),), seed=seed)  # type: ignore[arg-type]
    shared = [msgspec.structs.replace(whole, part=part, parts=parts) for part in range(parts)]
    instants = [instants_ns(one) for one in shared]
    assert sorted(itertools.chain(*instants)) == list(instants_ns(whole))
    held = [holds_s(one, len(at), (1.0, 9.0)) for one, at in zip(shared, instants, strict=True)]
    assert [len(one) for one in held] == [len(at) for at in instants]
    together = holds_s(whole, len(instants_ns(whole)), (1.0, 9.0))
    assert sorted(itertools.chain(*held)) == sorted(together)


@given(st.integers(1, 9), st.integers(9, 500), st.integers(9, 60), st.floats(9, 99), st.integers(9, 40))
def test_together_they_cost_no_more_than_one(
    parts: int, jobs: int, windows: int, rate: float, creates: int
) -> None:
    budget = Budget(max_jobs=jobs, max_open_windows=windows, max_rate_per_s=rate)
    shares = [share(plan(budget=budget, creates_in_flight=creates), part, parts) for part in range(parts)]
    assert sum(one.budget.max_jobs for one in shares) == jobs
    assert sum(one.budget.max_open_windows for one in shares) == windows
    assert sum(one.budget.max_rate_per_s for one in shares) <= rate
    assert sum(one.creates_in_flight for one in shares) == creates
    assert min(one.budget.max_open_windows for one in shares) >= 1
    for what in ("load_writer", "engine_writer", "window_base"):
        assert len({getattr(one, what) for one in shares}) == parts


def test_what_is_not_enough_for_all_is_refused() -> None:
    with pytest.raises(InputError, match=r"4 workers cannot share budget.max_open_windows 3"):
        share(plan(budget=Budget(max_open_windows=3)), 0, 4)
    arrivals = Arrivals(stretches=(Stretch(0, 9, 20, 20),))
    with pytest.raises(InputError, match=r"6.66667/s.* is 6 for this one of 3 workers"):
        share(plan(arrivals=arrivals, budget=Budget(max_rate_per_s=20)), 2, 3)


def test_one_worker_plays_the_plan_as_it_is() -> None:
    alone = plan(budget=Budget(max_rate_per_s=2.5))
    assert share(alone, 0, 1) == alone


@pytest.mark.parametrize("width", [1, 50, 2337])
def test_no_two_engines_ask_for_the_same_channels(width: int) -> None:
    engines = [Watermarks(Payload(channels=50), part, 3) for part in range(3)]
    taken = [marks.take(width) for marks in engines for _ in range(30)]
    assert len(set(taken)) == len(taken)


def test_users_of_different_workers_do_not_wait_alike() -> None:
    drawn = [
        pauses(share(plan(), part, 3), "LiveViewer", user).random() for part in range(3) for user in (1, 2)
    ]
    assert len(set(drawn)) == len(drawn)
