"""The statistics of the score, its plan and its page: counted by hand on a few cases."""

from collections import Counter

import numpy as np
import pytest

from harness.sandbox.settings import Settings
from tests.score.__main__ import BOUNDS, TRUE_CAUSES, summary
from tests.score.figures import EDGE_NS, MOST_PER_WINDOW, Case, Share, counted, figures
from tests.score.labels import Label
from tests.score.plan import ACTS, MILD, PAIR, SINGLE, TRIPLE, plan, together
from tests.score.play import campaign
from tests.score.ranges import RANGES, drawn
from tests.score.tables import BEGIN, END, between_marks, page

S = 1_000_000_000


def case(
    truth: str, blamed: str, *also: str, blind: bool = False, without_logs: str = "", kind: str = SINGLE
) -> Case:
    label = Label(truth, frozenset({truth, *also}))
    return Case(kind, "c", 1, label, blamed, without_logs or blamed, blind, near_an_edge=False)


def test_a_cause_that_held_is_right_but_strictly_only_the_one_refused_for() -> None:
    found = figures(
        [case("a", "a"), case("a", "b", "b"), case("a", "c"), case("a", "unexplained"), case("a", "unknown")]
    )
    assert (found.strict.good, found.held.good, found.held.of) == (1, 2, 5)
    assert (found.recall["a"].good, found.recall["a"].of) == (2, 5)
    assert (found.precision["b"].good, found.precision["c"].good) == (1, 0)
    assert "unknown" not in found.precision
    assert (found.unexplained.good, found.unknown.good) == (1, 1)
    assert found.confusion == Counter({("a", name): 1 for name in ("a", "b", "c", "unexplained", "unknown")})


def test_an_unexplainable_failure_is_right_when_it_is_called_so() -> None:
    found = figures([case("unexplained", "unexplained")])
    assert (found.held.good, found.unexplained.of) == (1, 0)


def test_without_logs_is_counted_for_itself() -> None:
    found = figures([case("a", "a", without_logs="b")])
    assert (found.held.good, found.held_without_logs.good) == (1, 0)


def test_only_what_is_named_and_wrong_inside_a_blind_spot_is_confidently_wrong() -> None:
    found = figures(
        [
            case("a", "b"),
            case("a", "b", blind=True),
            case("a", "a", blind=True),
            case("a", "unknown", blind=True),
        ]
    )
    assert (found.confidently_wrong, found.inside_blind_spots) == (1, 3)


def test_the_interval_is_wilsons() -> None:
    low, high = Share(9, 10).interval()
    assert (low, high) == pytest.approx((0.59585, 0.98212), abs=1e-4)
    assert Share(0, 0).interval() == (0, 1)
    assert Share(200, 200).interval()[1] == pytest.approx(1)


def test_at_most_so_many_of_a_window_a_third_of_them_near_an_edge() -> None:
    near = np.linspace(10 * S, 11 * S, 300).astype(np.int64)
    far = np.linspace(20 * S, 30 * S, 900).astype(np.int64)
    chosen, close = counted(np.concatenate([near, far]), np.array([10 * S]), seed=1)
    assert len(chosen) == len(set(chosen.tolist())) <= MOST_PER_WINDOW
    assert close.sum() == pytest.approx(MOST_PER_WINDOW / 3, abs=1)
    assert set(chosen[close] < 300) == {True}
    again, _ = counted(np.concatenate([near, far]), np.array([10 * S]), seed=1)
    other, _ = counted(np.concatenate([near, far]), np.array([10 * S]), seed=2)
    assert (chosen == again).all()
    assert len(other) != len(chosen) or (chosen != other).any()


def test_where_few_are_near_an_edge_few_others_are_counted() -> None:
    at_ns = np.concatenate([[10 * S], np.full(500, 10 * S + 2 * EDGE_NS)])
    chosen, close = counted(at_ns, np.array([10 * S]), seed=1)
    assert (close.sum(), len(chosen)) == (1, 3)
    chosen, close = counted(at_ns, np.array([10 * S]), seed=1, rare=True)
    assert (close.sum(), len(chosen)) == (1, MOST_PER_WINDOW)


def test_without_edges_all_are_far() -> None:
    chosen, close = counted(np.arange(500) * S, np.zeros(0, dtype=np.int64), seed=1)
    assert (len(chosen), close.sum()) == (MOST_PER_WINDOW, 0)


def good() -> list[Case]:
    cases = [case(cause, cause) for cause in TRUE_CAUSES for _ in range(BOUNDS["per cause"])]
    cases += [case("max_windows", "max_windows", kind=PAIR) for _ in range(BOUNDS["failures"])]
    return cases


def missed(cases: list[Case], trouble: dict[str, str] | None = None) -> set[str]:
    said = summary(cases, trouble or {}, 1, 0)
    assert page(said | {"unlabelled": 0})
    return {name for name, bound in said["bounds"].items() if not bound["holds"]}


def test_what_is_right_misses_no_bound() -> None:
    assert missed(good()) == set()


def test_each_bound_is_missed_by_what_it_is_for() -> None:
    singles = len(TRUE_CAUSES) * BOUNDS["per cause"]
    assert missed([c for c in good() if c.label.primary != "foreign_load"]) == {"per cause"}
    assert missed(good(), {"pair-1": "harness run ended with 4"}) == {"not played"}
    assert missed(good()[:singles]) == {"failures", "overlaps"}
    assert missed([*good(), case("max_windows", "path", blind=True)]) == {"confidently wrong"}
    assert missed([*good(), *[case("max_windows", "unexplained", kind=PAIR)] * 20]) == {
        "unexplained", "worst cause",
    }  # fmt: skip
    assert missed([*good(), *[case("max_windows", "path", kind=PAIR)] * 300]) == {"overlaps", "worst cause"}
    assert missed([*good(), *[case("path", "path", without_logs="generator")] * 50]) == {"single"}


def test_forty_pairs_and_twenty_triples_none_of_which_touch_the_same_thing() -> None:
    windows = [window for run in plan(1) for window in run.windows if not run.trick]
    pairs = {w.faults for w in windows if w.kind == PAIR}
    triples = {w.faults for w in windows if w.kind == TRIPLE}
    assert (len(pairs), len(triples)) == (40, 20)
    assert all(together(ACTS, faults) for faults in pairs | triples)
    used = Counter(fault for faults in pairs for fault in faults)
    assert set(used) == set(ACTS) - set(MILD)
    assert {w.faults for w in windows if w.kind == SINGLE} == {(name,) for name in ACTS}


def test_every_experiment_is_in_the_plan() -> None:
    from tests.score.play import ROOT

    assert {file.stem for file in (ROOT / "experiments").glob("*.yaml")} == set(ACTS)


def test_a_plan_and_its_parameters_come_from_the_seed() -> None:
    assert plan(1) == plan(1)
    assert plan(1) != plan(2)
    assert drawn(5, "seed") == drawn(5, "seed") != drawn(6, "seed")


@pytest.mark.parametrize("mode", ["seed", "field"])
def test_what_is_drawn_is_what_a_sandbox_takes(mode: str) -> None:
    for seed in range(30):
        values = drawn(seed, mode)
        sets = tuple(f"{key}={value}" for key, value in values.items() if key != "mode")
        Settings.make(mode=mode, profile="fast", sets=sets)
        for name, bounds in RANGES.items():
            if not bounds.among and (mode, name) != ("field", "mongodb_timeout_s"):
                assert bounds.low * 0.99 <= float(values[name]) <= bounds.high * 1.01


def test_what_takes_the_api_away_comes_last_and_goes_first() -> None:
    for run in plan(1):
        for window in run.windows:
            steps = [
                step
                for step in campaign(run)["timeline"]
                if window.at_s <= int(step["at"][:-1]) < window.over_s
            ]
            api = [step for step in steps if ACTS[step["experiment"]].last]
            if api and len(steps) > 1:
                assert steps[-1] is api[0]
                ends = [int(step["at"][:-1]) + int(step["hold"][:-1]) for step in steps]
                assert ends[-1] <= min(ends)


def test_figures_go_between_the_marks_and_nowhere_else() -> None:
    text = f"head\n{BEGIN}old\n{END}tail\n"
    assert between_marks(text, "new") == f"head\n{BEGIN}\nnew\n{END}tail\n"
    assert between_marks(between_marks(text, "new"), "newer").count("new") == 1
    with pytest.raises(ValueError, match="no marks"):
        between_marks("head\n", "new")
