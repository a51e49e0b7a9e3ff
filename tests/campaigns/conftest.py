"""One sandbox for all campaign tests of a worker; it ends with the worker, whatever happens to it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HARNESS = [sys.executable, "-m", "harness"]


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
