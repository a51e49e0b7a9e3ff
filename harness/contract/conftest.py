"""The target and the faults that pytest was asked to try, each tried once however its promises are ordered."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.chaos.faults import FAULTS, Fault, fault_named, faults_outside
from harness.contract.bench import Bench, bench
from harness.contract.results import write_results
from harness.contract.trial import Trial
from harness.errors import HarnessError
from harness.target import Target, find_target, load_target

TARGET = pytest.StashKey[Target]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make every promise one of every fault."""
    if "fault" in metafunc.fixturenames:
        faults = _faults(metafunc.config)
        metafunc.parametrize("fault", faults, ids=[fault.kind for fault in faults], scope="session")


def _faults(config: pytest.Config) -> list[Fault[Any, Any]]:
    try:
        target = _target(config)
        wanted = config.getoption("--fault") or [fault.kind for fault in FAULTS] + list(target.faults)
        return [
            faults_outside([name])[0] if ":" in name else fault_named(name, target.faults) for name in wanted
        ]
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error


def _target(config: pytest.Config) -> Target:
    """Return the target, with the faults from outside named in it: whoever undoes has to find them."""
    if TARGET not in config.stash:
        target = load_target(find_target(config.getoption("--target")))
        outside = [name for name in config.getoption("--fault") if ":" in name]
        named = tuple(dict.fromkeys((*target.faults, *outside)))
        config.stash[TARGET] = target.model_copy(update={"faults": named})
    return config.stash[TARGET]


@pytest.fixture(scope="session")
def trials(pytestconfig: pytest.Config) -> Iterator["Trials"]:
    """Everything that is tried in this session; what was seen ends in `reports/contract.json`."""
    target = _target(pytestconfig)
    run = Path("reports") / f"contract-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    with bench(target, run, windows=pytestconfig.getoption("--windows")) as place:
        trials = Trials(place)
        yield trials
    write_results(Path("reports") / "contract.json", target.name, trials.done.values())


class Trials:
    """Each fault's trial, once."""

    def __init__(self, place: Bench) -> None:
        self._bench = place
        self.done: dict[str, Trial] = {}

    def of(self, fault: Fault[Any, Any]) -> Trial:
        """Return a fault's trial; the first who asks has it tried."""
        if fault.kind not in self.done:
            self.done[fault.kind] = self._bench.try_out(fault)
        return self.done[fault.kind]


@pytest.fixture
def trial(trials: Trials, fault: Fault[Any, Any]) -> Trial:
    """What was seen of the fault; skips, with the reason, where this target cannot take it."""
    seen = trials.of(fault)
    if seen.skipped:
        pytest.skip(f"{fault.kind}: {seen.skipped}")
    return seen
