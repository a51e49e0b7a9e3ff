"""Every fault keeps every promise."""

import pytest

from harness.contract.promises import PROMISES, Promise, it_can_be_tried
from harness.contract.trial import Trial


@pytest.mark.parametrize("promise", PROMISES, ids=[promise.__name__ for promise in PROMISES])
def test_a_fault_keeps_its_promise(trial: Trial, promise: Promise) -> None:
    """Hold what was seen of a fault against one promise."""
    if trial.error and promise is not it_can_be_tried:
        pytest.skip(f"{trial.fault.kind} could not be tried; see it_can_be_tried")
    broken = list(promise(trial))
    assert not broken, "\n".join([f"{promise.__doc__} But:", *broken])
