"""A fast sandbox of its own for the contract of faults, and a second cluster that nobody names."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.chaos.faults import fault_named
from harness.cluster.kinds import KINDS
from harness.contract.bench import Bench, bench
from harness.contract.trial import Trial
from harness.target import find_target, load_target
from tests.lone_plane import ROOT, LonePlane

HARNESS = [sys.executable, "-m", "harness"]
QUICK = {
    "gpu_shares": 6,
    "max_windows": 8,
    "pod_ips": 24,
    "node_heartbeat_s": 1,
    "node_grace_s": 6,
    "restart_delay_s": 1,
    "restart_delay_max_s": 2,
}
NOT_LISTED = {kind for kind in KINDS if kind.endswith("reviews")} | {"horizontalpodautoscalers"}


class World:
    """The sandbox, the bench on it, what was tried there, and the cluster beside it."""

    def __init__(self, name: str, place: Bench, other: LonePlane) -> None:
        self.name = name
        self.bench = place
        self.other = other
        self._before = self._others()
        self._tried: dict[str, Trial] = {}

    def tried(self, kind: str, **given: Any) -> Trial:
        """Return a fault's trial; the first who asks has it tried."""
        if kind not in self._tried:
            os.environ["KUBECONFIG"] = str(self.other.folder / "plane" / "kubeconfig")
            self._tried[kind] = self.bench.try_out(fault_named(kind), given)
        return self._tried[kind]

    def written_elsewhere(self) -> list[str]:
        """Return what was changed in the cluster that no target names."""
        now = self._others()
        return sorted(
            f"{key}" for key in now.keys() | self._before.keys() if now.get(key) != self._before.get(key)
        )

    def status(self) -> dict[str, Any]:
        """Return what the sandbox says of itself."""
        done = harness("sandbox", "status", "--name", self.name, "--format", "json")
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def _others(self) -> dict[tuple[str, str, str], str]:
        return {
            (kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]): obj["metadata"][
                "resourceVersion"
            ]
            for kind in KINDS.keys() - NOT_LISTED
            for obj in self.other.cluster.objects(kind, "*" if KINDS[kind].namespaced else None)
        }


def harness(*arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Run the command as a user of this environment would."""
    return subprocess.run([*HARNESS, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


@contextmanager
def world(folder: Path, name: str, **settings: object) -> Iterator[World]:
    """Start a sandbox that ends with this process, and let faults be tried on it."""
    name = f"{name}-{os.getpid()}"
    up = ["sandbox", "up", "--name", name, "--profile", "fast", "--bound-to", str(os.getpid())]
    for key, value in {**QUICK, **settings}.items():
        up += ["--set", f"{key}={value}"]
    with pytest.MonkeyPatch.context() as patch:
        for key in [key for key in os.environ if key.startswith("HARNESS_")]:
            patch.delenv(key)
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        other = LonePlane(folder)
        patch.setenv("KUBECONFIG", str(other.folder / "plane" / "kubeconfig"))
        started = harness(*up)
        try:
            assert started.returncode == 0, started.stdout + started.stderr
            patch.setenv("HARNESS_SANDBOX", name)
            target = load_target(find_target("sandbox"))
            with bench(target, folder / "contract") as place:
                yield World(name, place, other)
        finally:
            ended = harness("sandbox", "down", "--name", name, "--purge")
            other.stop()
        assert ended.returncode == 0, ended.stdout + ended.stderr
