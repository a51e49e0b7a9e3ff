"""Whoever is killed, whenever: the guard undoes what was in. Measured times go to reports/crash-smoke.json."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lone_plane import ROOT, LonePlane, events

HEALED_WITHIN_S = 15.0
ARMED = re.compile(r"guard (\d+)")
measured: dict[str, float] = {}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LonePlane]:
    plane = LonePlane(tmp_path_factory.mktemp("plane"))
    yield plane
    plane.stop()
    file = ROOT / "reports" / "crash-smoke.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"seconds_to_heal": measured, "bound_s": HEALED_WITHIN_S}, indent=1) + "\n")


class LoneRun:
    """`chaos run experiments/cordon-worker.yaml` on both workers, held for long."""

    def __init__(self, plane: LonePlane, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "terminal.log"
        self._out = self.log.open("w")
        command = [sys.executable, "-m", "chaostoolkit", "--no-version-check", "run"]
        self.process = subprocess.Popen(
            [*command, str(ROOT / "experiments" / "cordon-worker.yaml")],
            env=plane.environment(HARNESS_NODES="all", HARNESS_HOLD_S="60"),
            cwd=folder,
            stdout=self._out,
            stderr=self._out,
            start_new_session=True,
        )
        until(lambda: len(plane.cordoned()) == 2 and self._effective(), 40, self.log.read_text)

    def _effective(self) -> bool:
        return any(event.get("step") == "effective" for event in events(self.run))

    @property
    def run(self) -> Path:
        return next((self.folder / "reports").iterdir())

    @property
    def guard(self) -> int:
        match = ARMED.search(self.log.read_text())
        assert match, self.log.read_text()
        return int(match[1])

    def end(self) -> int:
        code = self.process.wait(timeout=30)
        self._out.close()
        return code


def until(true: Callable[[], bool], within_s: float, why: Callable[[], str]) -> float:
    """Wait for something to become true; return after how many seconds it was."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < within_s, why()
        time.sleep(0.05)
    return time.monotonic() - start


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_killed_while_cordoned_the_guard_uncordons(plane: LonePlane, tmp_path: Path) -> None:
    lone = LoneRun(plane, tmp_path)
    guard = lone.guard
    lone.process.kill()
    lone.end()
    healed_s = until(lambda: not plane.cordoned(), HEALED_WITHIN_S, lone.log.read_text)
    measured["kill -9 of the chaos process"] = round(healed_s, 2)
    until(lambda: is_gone(guard), HEALED_WITHIN_S, lambda: "the guard did not end")
    last = [event for event in events(lone.run) if event["kind"] == "fault_changed"][-1]
    assert (last["step"], last["by"]) == ("verified", "guard")
    assert not plane.cluster.objects(
        "configmaps", "focus-harness", "app.kubernetes.io/managed-by=focus-harness"
    )


def test_ctrl_c_of_the_whole_group_and_then_kill_heals(plane: LonePlane, tmp_path: Path) -> None:
    """The pattern of a CI job that is cancelled: SIGINT, and soon after SIGKILL to everything that is left."""
    lone = LoneRun(plane, tmp_path)
    guard = lone.guard
    os.killpg(lone.process.pid, signal.SIGINT)
    time.sleep(0.1)
    os.killpg(lone.process.pid, signal.SIGKILL)
    lone.end()
    healed_s = until(lambda: not plane.cordoned(), HEALED_WITHIN_S, lone.log.read_text)
    measured["SIGINT to the group, SIGKILL 0.1 s later"] = round(healed_s, 2)
    until(lambda: is_gone(guard), HEALED_WITHIN_S, lambda: "the guard did not end")


def test_sigterm_walks_the_way_back_before_the_process_ends(plane: LonePlane, tmp_path: Path) -> None:
    lone = LoneRun(plane, tmp_path)
    start = time.monotonic()
    lone.process.terminate()
    assert lone.end() != 0
    measured["SIGTERM to the chaos process, until it has ended"] = round(time.monotonic() - start, 2)
    assert not plane.cordoned()
    steps = [(e["step"], e.get("by", "chaos")) for e in events(lone.run) if e["kind"] == "fault_changed"]
    assert steps[-2:] == [("undone", "chaos"), ("verified", "chaos")]
    assert plane.cluster.get("leases", "focus-harness", "focus-harness")["spec"].get("holderIdentity") is None


def test_guard_and_chaos_process_killed_together_harness_undo_heals(plane: LonePlane, tmp_path: Path) -> None:
    lone = LoneRun(plane, tmp_path)
    os.kill(lone.guard, signal.SIGKILL)
    lone.process.kill()
    lone.end()
    time.sleep(0.5)
    assert len(plane.cordoned()) == 2
    code = "import sys; from harness.chaos import undo_command; sys.exit(undo_command())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env=plane.environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "cordon-worker on worker-node, worker-node-2: undone and verified" in done.stdout
    assert not plane.cordoned()
