"""The contract of faults on a real sandbox: those that are made by calls of the API."""

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


def suite(folder: Path, here: World, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the suite as somebody would who writes a fault, in a folder of their own."""
    environment = {**os.environ, "HARNESS_SANDBOX": here.name}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:locust",
        "--pyargs",
        "harness.contract",
    ]
    return subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


FORGETFUL = '''
from harness.chaos.faults.cordon_worker import CordonWorker


class Forgetful(CordonWorker):
    """Takes its mark off a node, and leaves it cordoned."""

    kind = "forgetful"

    def undo(self, site, case):
        from harness.chaos.faults.fault import unmark

        for change in case.before.changes:
            unmark(site, case, change.ref, {})


class Careful(CordonWorker):
    kind = "careful"
'''


def test_a_fault_from_outside_whose_undo_forgets_something_fails_the_suite(
    here: World, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(FORGETFUL)
    done = suite(tmp_path, here, "--fault", "mine:Careful", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        done = suite(tmp_path, here, "--fault", "mine:Forgetful", "-q", "-rf")
    finally:
        here.bench.cluster.patch("nodes", "worker-node", {"spec": {"unschedulable": None}})
    assert done.returncode == 1, done.stdout + done.stderr
    assert "undo_brings_the_declared_state_back" in done.stdout
    assert "Node worker-node: unschedulable: false before, true now" in done.stdout
    assert '"effective_s"' in (tmp_path / "reports" / "contract.json").read_text()


DRY = """
import sys
from chaostoolkit.cli import cli
for file in sys.argv[1:]:
    for command in (["validate"], ["run", "--dry", "actions"]):
        cli.main(["--no-version-check", "--log-file", "chaos.log", *command, file], standalone_mode=False)
"""


def test_every_experiment_is_valid_and_its_probes_pass_when_its_actions_are_left_out(
    here: World, tmp_path: Path
) -> None:
    files = sorted(str(file) for file in (ROOT / "experiments").glob("*.yaml"))
    assert len(files) >= len(FAULTS)
    environment = {**os.environ, "HARNESS_SANDBOX": here.name}
    done = subprocess.run(
        [sys.executable, "-c", DRY, *files],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
