"""The contract of faults on a real sandbox: those that are made by calls of the API."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.chaos.faults import FAULTS
from harness.chaos.faults.handmade import HandFault
from harness.contract.promises import broken
from tests.contract.fault_bench import World, world
from tests.lone_plane import ROOT

KINDS = [fault.kind for fault in FAULTS if not isinstance(fault, HandFault)]
NEED_BROKER = {"rabbitmq-outage", "starve-feed", "waiting-for-fibre"}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("contract"), "contract") as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_keeps_the_contract(here: World, kind: str) -> None:
    trial = here.tried(kind)
    if kind in NEED_BROKER and shutil.which("rabbitmq-server") is None:
        pytest.skip(f"no rabbitmq-server on PATH: {trial.skipped or trial.error}")
    assert not trial.skipped
    assert not broken(trial)


def test_nothing_is_written_to_a_cluster_that_no_target_names(here: World) -> None:
    for kind in KINDS:
        here.tried(kind)
    assert here.written_elsewhere() == []


FORGETFUL = '''
from harness.chaos.faults.cordon_worker import CordonWorker
from harness.chaos.faults.fault import take_back


class Careful(CordonWorker):
    kind = "careful"


class Forgetful(CordonWorker):
    """Takes its mark off a node, and leaves it cordoned."""

    kind = "forgetful"

    def undo(self, site, case):
        for change in case.before.changes:
            take_back(site, case, change.ref, lambda _found: {})
'''


def test_a_fault_from_outside_whose_undo_forgets_something_fails_the_suite(
    here: World, tmp_path: Path
) -> None:
    """As somebody plays it who writes a fault, in a folder of their own."""
    (tmp_path / "mine.py").write_text(FORGETFUL)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rf",
        "-p",
        "no:randomly",
        "--pyargs",
        "harness.contract",
    ]
    done = run(here, tmp_path, *command, "--fault", "mine:Careful", "--fault", "mine:Forgetful")
    here.bench.cluster.patch("nodes", "worker-node", {"spec": {"unschedulable": None}})
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Node worker-node: unschedulable: false before, true now" in done.stdout
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert any("forgetful-undo_brings_the_declared_state_back" in line for line in failed), failed
    assert not [line for line in failed if "careful" in line]
    measured = json.loads((tmp_path / "reports" / "contract.json").read_text())["faults"]
    assert measured["careful"]["broken"] == []
    assert 0 <= measured["careful"]["effective_s"] <= measured["careful"]["verified_s"]
    assert measured["forgetful"]["broken"]


DRY = """
import sys
from chaostoolkit.cli import cli
for file in sys.argv[1:]:
    arguments = ["--no-version-check", "--log-file", "chaos.log", "run", "--dry", "actions", file]
    ended = cli.main(arguments, standalone_mode=False)  # the journal, or an exit code
    if not isinstance(ended, dict) or ended["status"] != "completed":
        sys.exit(f"{file}: {ended}")
"""


def test_every_experiment_is_valid_and_its_probes_pass_when_its_actions_are_left_out(
    here: World, tmp_path: Path
) -> None:
    files = sorted(str(file) for file in (ROOT / "experiments").glob("*.yaml"))
    assert len(files) >= len(FAULTS)
    done = run(here, tmp_path, sys.executable, "-c", DRY, *files)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def run(here: World, folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "HARNESS_SANDBOX": here.name}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
