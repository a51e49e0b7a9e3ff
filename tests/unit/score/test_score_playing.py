"""What ended a run is tried once more; what fails twice was not played, and the rest is played all the same."""

from collections.abc import Callable
from pathlib import Path

import pytest

import tests.score.__main__ as score
from tests.score.plan import LOW, OTHER, Run, Window, rest_of

FAULTS = ("cordon-worker", "kill-mongo", "saturate-gpu")


def run_of(*faults: str) -> Run:
    windows = tuple(Window(20 + 30 * number, (fault,), OTHER) for number, fault in enumerate(faults))
    return Run("r", "seed", LOW, 1, windows)


Play = Callable[[list[int]], tuple[list[list[str]], dict[str, str]]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Play:
    """Play three faults; the nth try ends at the window of the given number, 0 for none."""

    def playing(ends: list[int]) -> tuple[list[list[str]], dict[str, str]]:
        tries: list[list[str]] = []

        def once(run: Run, _folder: Path) -> str:
            tries.append([fault for window in run.windows for fault in window.faults])
            return "ended" if ends[len(tries) - 1] else ""

        monkeypatch.setattr(score, "play", once)
        monkeypatch.setattr(score, "windows_begun", lambda _folder, _run: ends[len(tries) - 1])
        return tries, score._play([run_of(*FAULTS)], tmp_path, 1)

    return playing


def test_a_run_that_ends_well_is_played_once(play: Play) -> None:
    assert play([0]) == ([[*FAULTS]], {})


def test_what_ended_a_run_is_tried_again_at_the_head_of_the_rest(play: Play) -> None:
    assert play([2, 0]) == ([[*FAULTS], [*FAULTS[1:]]], {})


def test_what_ends_a_run_twice_was_not_played_and_the_rest_is(play: Play) -> None:
    assert play([2, 1, 0]) == ([[*FAULTS], [*FAULTS[1:]], [FAULTS[2]]], {"r-rest": f"{FAULTS[1]}: ended"})


def test_the_rest_begins_where_a_run_begins() -> None:
    rest = rest_of(run_of(*FAULTS), 1)
    assert rest is not None
    assert [window.at_s for window in rest.windows] == [14, 44]
    assert rest_of(run_of(FAULTS[0]), 1) is None
