"""One sandbox for all campaign tests of a worker; it ends with the worker, whatever happens to it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cluster import Lease

ROOT = Path(__file__).resolve().parents[2]
HARNESS = [sys.executable, "-m", "harness"]
BUSY = {"load_silent": 60, "canary_silent": 60}
"""Bounds of validity for runs that share two cores with other tests: somebody stands still for some seconds now and then."""


@dataclass(frozen=True)
class Rehearsal:
    """A running sandbox, and the harness played on it."""

    name: str
    environment: dict[str, str]

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*HARNESS, *arguments],
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, timeout_s: float = 110) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*HARNESS, *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def variables(self) -> dict[str, str]:
        printed: dict[str, str] = json.loads(self.run("sandbox", "env", "--format", "json").stdout)
        return printed


@contextmanager
def kept(lease: Lease) -> Iterator[threading.Event]:
    """Renew a lock as its holder would, until the block ends or the event is set; then release it."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(0.5):
            lease.renew()
        lease.release()

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield over
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    name = f"campaigns-{os.getpid()}"
    state = tmp_path_factory.mktemp("state")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HARNESS_")}
    environment |= {"XDG_STATE_HOME": str(state), "HARNESS_SANDBOX": name, "NO_COLOR": "1"}
    here = Rehearsal(name, environment)
    up = here.run("sandbox", "up", "--name", name, "--profile", "fast", "--bound-to", str(os.getpid()))
    assert up.returncode == 0, up.stdout + up.stderr
    yield here
    down = here.run("sandbox", "down", "--name", name)
    assert down.returncode == 0, down.stdout + down.stderr
