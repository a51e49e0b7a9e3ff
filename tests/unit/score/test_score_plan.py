"""What is played together can be played: everything goes in below the limit, beyond it what needs no room."""

import pytest

from tests.score.plan import ACTS, HIGH, LOW, PAIR, TRIPLE, Run, Window, plan
from tests.score.play import campaign


@pytest.mark.parametrize("seed", [1, 22, 43])
def test_beyond_the_limit_only_faults_that_go_in_there(seed: int) -> None:
    together = [
        (run.load, window.faults)
        for run in plan(seed)
        for window in run.windows
        if window.kind in (PAIR, TRIPLE)
    ]
    assert (len(together), len(set(together))) == (60, 60)
    assert all(HIGH in ACTS[fault].loads for load, faults in together if load == HIGH for fault in faults)


def test_windows_are_filled_while_there_are_shares_and_the_api_goes_last() -> None:
    faults = ("api-server-down", "cordon-worker", "saturate-gpu", "fill-windows")
    timeline = campaign(Run("r", "seed", LOW, 1, (Window(20, faults, TRIPLE),)))["timeline"]
    order = ["fill-windows", "saturate-gpu", "cordon-worker", "api-server-down"]
    assert [step["experiment"] for step in timeline] == order
