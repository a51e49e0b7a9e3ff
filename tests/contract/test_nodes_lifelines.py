"""Whoever kills a part of a sandbox the hard way finds nothing of it left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.sandbox.node.containers import containers_of
from harness.sandbox.processes import Found, end_all, processes_of
from harness.sandbox.settings import Settings
from harness.sandbox.state import read_sandbox

ROOT = Path(__file__).resolve().parents[2]


class Starting:
    """A sandbox's supervisor, started as `up` does but not awaited."""

    def __init__(self, home: Path, bound_to: int = 0) -> None:
        self.root = home / "focus-harness" / "sandboxes" / "hard"
        self.root.mkdir(parents=True)
        env = {**os.environ, "HARNESS_SANDBOX_ROOT": str(self.root), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.sandbox.supervisor", str(self.root), str(bound_to)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=env,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        settings = Settings.make("seed", "fast", ("broker=off",))
        self.process.stdin.write(json.dumps(settings.to_json()).encode())
        self.process.stdin.close()

    def await_pods(self) -> None:
        """Wait until a pod runs on the master node."""
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            known = (self.root / "sandbox.json").exists()
            if known and containers_of(read_sandbox("hard"), "master-node"):
                return
            time.sleep(0.05)
        pytest.fail("no pod came up")

    def left_after(self, seconds: float, doomed: set[int] | None = None) -> list[Found]:
        """Return what still lives of the doomed (by default: of everything), waiting no longer than needed."""
        deadline = time.monotonic() + seconds
        while True:
            left = [one for one in processes_of(self.root) if doomed is None or one.pid in doomed]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.05)


@pytest.fixture
def starting(state_home: Path) -> Iterator[Starting]:
    made = Starting(state_home)
    yield made
    made.process.kill()
    made.process.wait()
    end_all(made.root)


def test_a_killed_supervisor_leaves_no_process_not_even_a_frozen_one(starting: Starting) -> None:
    starting.await_pods()
    kubelet = next(one for one in processes_of(starting.root) if one.name == "kubelet/worker-")
    os.kill(kubelet.pid, signal.SIGSTOP)
    starting.process.kill()
    starting.process.wait()
    assert starting.left_after(5) == []


def test_a_killed_kubelet_leaves_neither_spawner_nor_pod(starting: Starting) -> None:
    starting.await_pods()
    pods = containers_of(read_sandbox("hard"), "master-node")
    kubelet = next(one for one in processes_of(starting.root) if one.name == "kubelet/master-")
    spawners = {one.pid for one in processes_of(starting.root) if one.name == "spawner/master-"}
    doomed = spawners | {pod.pid for pod in pods}
    assert spawners
    os.kill(kubelet.pid, signal.SIGKILL)
    assert starting.left_after(5, doomed) == []
    found = processes_of(starting.root)
    names = {one.name for one in found}
    assert "kubelet/worker-" in names


def test_a_bound_sandbox_ends_with_the_process_it_is_bound_to(state_home: Path) -> None:
    owner = subprocess.Popen(["sleep", "60"])
    bound = Starting(state_home, owner.pid)
    try:
        deadline = time.monotonic() + 20
        while not processes_of(bound.root) and time.monotonic() < deadline:
            time.sleep(0.05)
        owner.kill()
        owner.wait()
        bound.process.wait(20)
        assert bound.left_after(5) == []
    finally:
        owner.kill()
        bound.process.kill()
        end_all(bound.root)
