"""Faults that need a scheduler and controllers, on a real control plane whose nodes nobody stands behind."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.chaos.faults import fault_named
from harness.chaos.faults.killing import KillArguments
from harness.chaos.faults.saturate_gpu import HOG_LABEL, SaturateArguments
from harness.chaos.journal import Journal, new_header
from harness.chaos.play import Play
from harness.chaos.world import Site, freeze
from harness.clock import SystemClock
from harness.cluster import gpu_request, name_of
from harness.history.writer import HistoryWriter
from tests.lone_plane import LonePlane


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LonePlane]:
    plane = LonePlane(tmp_path_factory.mktemp("plane"), controllers=True)
    yield plane
    plane.stop()


@pytest.fixture
def play(plane: LonePlane, tmp_path: Path, state_home: Path) -> Iterator[Play]:
    clock = SystemClock.start()
    header = new_header("run", "chaos-1", freeze(plane.target), clock.start_ns)
    journal = Journal.create(tmp_path / "undo" / "chaos-1.jsonl", header)
    history = HistoryWriter(tmp_path / "history", "chaos-1")
    yield Play(Site(plane.cluster, plane.target), header, journal, history, clock, "test")
    history.close()


def hogs(plane: LonePlane) -> list[str]:
    return [name_of(pod) for pod in plane.cluster.pods(HOG_LABEL, "focus-harness")]


def until_ready(plane: LonePlane, app: str) -> str:
    """Play the kubelet for the one pod of `app`: say that it runs; return its name."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for pod in plane.cluster.pods(f"app={app}"):
            ready = [{"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}]
            plane.status("pods", name_of(pod), {"phase": "Running", "conditions": ready})
            found = plane.cluster.get("deployments", app)
            if found.get("status", {}).get("readyReplicas") == 1:
                return name_of(pod)
        time.sleep(0.1)
    raise AssertionError(plane.cluster.pods(f"app={app}"))


def test_hogs_hold_every_free_share_but_those_to_be_left(plane: LonePlane, play: Play) -> None:
    fault = fault_named("saturate-gpu")
    held = play.begin(fault, SaturateArguments(leave=30), 30)
    pods = plane.cluster.pods(HOG_LABEL, "focus-harness")
    assert len(pods) == held.case.before.hogs == 10
    assert {gpu_request(pod, "nvidia.com/gpu.shared") for pod in pods} == {1}
    assert {pod["spec"]["nodeName"] for pod in pods} <= {"worker-node", "worker-node-2"}
    assert [ending.verified for ending in play.undo()] == [True]
    assert hogs(plane) == []


def test_removing_the_entry_from_the_cluster_removes_the_hogs_with_it(plane: LonePlane, play: Play) -> None:
    held = play.begin(fault_named("saturate-gpu"), SaturateArguments(fill="10%"), 30)
    assert len(hogs(plane)) == 4
    plane.cluster.delete("configmaps", f"undo-{held.entry.id}", "focus-harness", propagation="Background")
    deadline = time.monotonic() + 20
    while hogs(plane):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    play.undo()


def test_a_killed_pod_comes_back_as_another_and_only_then_is_it_verified(
    plane: LonePlane, play: Play
) -> None:
    killed = until_ready(plane, "mongodb")
    held = play.begin(fault_named("kill-mongo"), KillArguments(repeat=True), 30)
    for _ in range(3):
        held.fault.sustain(play.site, held.case)
        time.sleep(0.1)
    assert killed not in [name_of(pod) for pod in plane.cluster.pods("app=mongodb")]
    reading = held.fault.reading(play.site, held.case)
    assert reading.differences == ("mongodb: 0 ready of 1, 1 before",)
    assert until_ready(plane, "mongodb") != killed
    assert [ending.verified for ending in play.undo()] == [True]


def test_what_somebody_scaled_meanwhile_is_said_and_left(plane: LonePlane, play: Play) -> None:
    until_ready(plane, "focus-server")
    held = play.begin(fault_named("focus-server-outage"), fault_named("focus-server-outage").arguments(), 30)
    assert plane.cluster.get("deployments", "focus-server")["spec"]["replicas"] == 0
    plane.cluster.scale("deployments", "focus-server", 1)
    plane.cluster.patch("deployments", "focus-server", {"metadata": {"labels": {"somebody": "was-here"}}})
    until_ready(plane, "focus-server")
    assert held.fault.is_active(play.site, held.case) is False
    (ending,) = play.undo()
    assert ending.verified
    assert plane.cluster.get("deployments", "focus-server")["spec"]["replicas"] == 1
