"""The contract of faults on a real sandbox: those that are made by the target's commands."""

from collections.abc import Iterator

import pytest

from harness.chaos.faults import FAULTS
from harness.chaos.faults.handmade import HandFault
from harness.contract.promises import broken
from tests.contract.fault_bench import World, world

KINDS = [fault.kind for fault in FAULTS if isinstance(fault, HandFault)]
GIVEN = {
    "api-server-slow": {"delay": "600ms"},
    "slow-network": {"nodes": "worker-node"},
    "drop-network": {"nodes": "worker-node"},
}
"""What is quick: each command is a process, and a slow API slows the trial."""
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("contract"), "hands-contract", broker="off") as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_made_by_commands_keeps_the_contract(here: World, kind: str) -> None:
    trial = here.tried(kind, **GIVEN.get(kind, {}))
    assert not trial.skipped
    assert not broken(trial)


def test_nothing_of_the_commands_is_left(here: World) -> None:
    for kind in KINDS:
        here.tried(kind, **GIVEN.get(kind, {}))
    status = here.status()
    assert status["ready"]
    assert status["timers"] == []
    assert [
        process for process in status["processes"] if process["state"] != "running" or process["impairment"]
    ] == []
    assert here.written_elsewhere() == []
