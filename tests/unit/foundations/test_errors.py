"""Exit codes are public: one table, one order of gravity, drawn once in the docstring and nowhere else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import errors
from harness.errors import Exit, FileProblems, HarnessError, Problem, gravest


def subclasses(of: type[HarnessError]) -> list[type[HarnessError]]:
    return [of, *(found for child in of.__subclasses__() for found in subclasses(child))]


def test_the_drawn_tree_is_the_real_tree() -> None:
    drawn = dict(re.findall(r"(\w+)\s{2,}(\d+)  ", errors.__doc__ or ""))
    assert drawn == {
        cls.__name__: str(int(cls.code))
        for cls in subclasses(HarnessError)
        if cls.__module__ == "harness.errors"
    }


def test_no_ending_uses_the_code_that_any_program_may_print() -> None:
    assert 1 not in {int(code) for code in Exit}


def test_every_ending_has_its_place_in_the_order() -> None:
    assert sorted(errors.PRECEDENCE) == sorted(Exit)


@given(st.lists(st.sampled_from(list(Exit))))
def test_the_gravest_of_several_endings_does_not_depend_on_their_order(endings: list[Exit]) -> None:
    assert (
        gravest(endings)
        == gravest(reversed(endings))
        == (min(endings, key=errors.PRECEDENCE.index) if endings else Exit.OK)
    )


@pytest.mark.parametrize(
    ("endings", "named"), [({Exit.FAILED, Exit.BROKEN}, 5), ({Exit.UNJUDGED, Exit.STOPPED}, 8), (set(), 0)]
)
def test_something_still_broken_outweighs_everything(endings: set[Exit], named: int) -> None:
    assert gravest(endings) == named


def test_problems_of_a_file_are_listed_in_the_order_of_its_lines() -> None:
    text = str(FileProblems([Problem("c.yaml", 9, "late"), Problem("c.yaml", 2, "early")]))
    assert text.splitlines() == ["c.yaml:2: early", "c.yaml:9: late"]
