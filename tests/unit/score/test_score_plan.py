"""What is played together can be played: everything goes in below the limit, beyond it what needs no room."""

import pytest

from tests.score.plan import ACTS, HIGH, PAIR, TRIPLE, plan


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
