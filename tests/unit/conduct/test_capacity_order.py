"""What may be asked of `harness capacity`, and what is said when it makes no sense."""

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.conduct.capacity_order import CapacityOrder, capacity_order, requirement
from harness.errors import InputError
from harness.focus.arrivals import Arrivals, Stretch

PLAIN = {
    "sought": (),
    "requirements": (),
    "budget": 600.0,
    "success": 0.99,
    "ready_within": 30.0,
    "unstalled": 0.99,
    "confidence": 0.95,
    "precision": 0.02,
    "hold": 5.0,
    "reclaim": 200.0,
}


def order(**changed: object) -> CapacityOrder:
    return capacity_order(**{**PLAIN, **changed})  # type: ignore[arg-type]


def test_everything_is_sought_unless_something_is_named_or_required() -> None:
    assert order().sought == ("windows", "creates", "rate")
    assert order(sought=("rate", "windows")).sought == ("windows", "rate")
    assert order(requirements=("rate >= 2",)).sought == ("rate",)


def test_a_requirement_names_where_its_search_starts_and_is_a_gate_of_the_run() -> None:
    asked = order(requirements=("windows>=30",))
    assert asked.start("windows") == 30
    assert asked.start("rate") is None
    (gate,) = asked.campaign.gates
    assert (gate.measure, gate.of, gate.op, gate.limit, gate.title) == (
        "capacity",
        "windows",
        ">=",
        30,
        "windows >= 30",
    )
    assert asked.campaign.duration == 600


@pytest.mark.parametrize(
    "text", ["windows", "windows => 3", "frames >= 3", "windows >= many", "windows >= 3.0.1", ""]
)
def test_what_is_no_requirement_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="--require"):
        requirement(text)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"success": 1.0}, "--success"),
        ({"success": 0.2}, "--success"),
        ({"confidence": 1.5}, "--confidence"),
        ({"precision": 0.0}, "--precision"),
        ({"ready_within": 0.0}, "--ready-within"),
        ({"budget": 1.0}, "--budget"),
        ({"hold": 0.0}, "--hold"),
        ({"sought": ("rate",), "requirements": ("windows >= 3",)}, "is not among --find"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        order(**wrong)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InputError, match=r"--budget.*--hold.*--success"):
        order(budget=1.0, hold=0.0, success=2.0)


@pytest.mark.parametrize("wrong", [["--success", "most"], ["--budget", "10"], ["--find", "frames"]])
def test_the_command_line_refuses_what_it_cannot_read(wrong: list[str]) -> None:
    done = CliRunner().invoke(cli, ["capacity", *wrong])
    assert done.exit_code == 2
    assert wrong[0] in done.output


def test_a_burst_is_counted_by_its_second() -> None:
    burst = Arrivals(process="constant", stretches=(Stretch(0, 0.001, 16_000, 16_000),))
    assert burst.busiest == pytest.approx(16)
    mixed = Arrivals(stretches=(Stretch(0, 10, 0, 8), Stretch(10, 10.5, 20, 20), Stretch(10.5, 20, 3, 3)))
    assert mixed.busiest == pytest.approx(7.8 * 0.5 + 10)
    assert Arrivals(stretches=(Stretch(0, 10, 2, 8),)).busiest == pytest.approx(7.7)


def test_arrivals_moved_later_are_the_same_arrivals() -> None:
    moved = Arrivals(stretches=(Stretch(1, 2, 3, 4),), seed=5).after(10)
    assert moved == Arrivals(stretches=(Stretch(11, 12, 3, 4),), seed=5)
