"""Watchers against a real API server process: what changes is seen, what may not be seen is said, silence is blindness."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from harness.clock import SECOND_NS, SystemClock
from harness.cluster import Cluster, connect
from harness.cluster.kinds import KINDS
from harness.history.events import (
    AnyEvent,
    ClusterEventSeen,
    DependencySeen,
    JobSeen,
    NodeSeen,
    PodSeen,
    ServiceSeen,
    SharesSeen,
    SlotsSeen,
    WatcherState,
)
from harness.history.reader import read_history
from harness.history.writer import HistoryWriter
from harness.observe import Watchers, start
from harness.target import Target
from tests.lone_plane import LonePlane

Seen = TypeVar("Seen", bound=AnyEvent)
KINDS_WATCHED = {"nodes", "pods", "jobs", "services", "events", "kubernetes_api"}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LonePlane]:
    plane = LonePlane(tmp_path_factory.mktemp("plane"))
    yield plane
    plane.stop()


class Watched:
    """Running watchers and what they have written so far."""

    def __init__(self, target: Target, cluster: Cluster, folder: Path) -> None:
        self.folder = folder
        self.clock = SystemClock.start()
        self.watchers: Watchers = start(target, cluster, HistoryWriter(folder, "watchers"), self.clock)

    def all(self, kind: type[Seen]) -> list[Seen]:
        return [record.event for record in read_history(self.folder).events if isinstance(record.event, kind)]

    def until(self, true: Callable[[], bool], seconds: float = 15.0) -> None:
        end_ns = self.clock.now() + round(seconds * SECOND_NS)
        while not true():
            assert self.clock.now() < end_ns, self.watchers.health()
            time.sleep(0.05)

    def sees(self, names: set[str]) -> bool:
        health = self.watchers.health()
        return all(name in health and health[name].seeing for name in names)

    def blind(self, names: set[str]) -> bool:
        health = self.watchers.health()
        return all(name in health and not health[name].seeing for name in names)


@pytest.fixture
def watched(plane: LonePlane, tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(plane.target, plane.cluster, tmp_path)
    watched.until(lambda: watched.sees(KINDS_WATCHED))
    yield watched
    watched.watchers.stop()


def stream_pod(name: str, gpu: int = 1) -> dict[str, Any]:
    limits = {"limits": {"nvidia.com/gpu.shared": str(gpu)}}
    return {
        "metadata": {"name": name},
        "spec": {
            "nodeName": "worker-node",
            "containers": [{"name": "c", "image": "pause", "resources": limits}],
        },
    }


def test_a_window_in_the_cluster_is_seen_from_its_service_to_its_end(
    plane: LonePlane, watched: Watched
) -> None:
    cluster = plane.cluster
    service = {"metadata": {"name": "grpc-service-3-41"}, "spec": {"ports": [{"port": 12303}]}}
    template = {
        "metadata": {"labels": {"app": "x"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "pause"}]},
    }
    cluster.create("services", service)
    cluster.create("jobs", {"metadata": {"name": "grpc-job-3-41"}, "spec": {"template": template}})
    cluster.create("pods", stream_pod("grpc-job-3-41-abcde"))
    plane.status("pods", "grpc-job-3-41-abcde", {"phase": "Running"})
    watched.until(
        lambda: any(slots.running_pods == 1 and slots.slots == 1 for slots in watched.all(SlotsSeen))
    )
    watched.until(lambda: any(shares.used == 1 and shares.free == 39 for shares in watched.all(SharesSeen)))
    cluster.delete("services", "grpc-service-3-41")
    cluster.delete("jobs", "grpc-job-3-41", propagation="Background")
    cluster.delete("pods", "grpc-job-3-41-abcde", grace_s=0)
    watched.until(lambda: watched.all(SharesSeen)[-1].used == 0)
    watched.until(lambda: [job.exists for job in watched.all(JobSeen)] == [True, False])
    assert [(seen.job_id, seen.exists) for seen in watched.all(ServiceSeen)] == [
        ("3-41", True),
        ("3-41", False),
    ]
    pods = [pod for pod in watched.all(PodSeen) if pod.role == "stream"]
    assert pods[0].exists
    assert not pods[-1].exists
    assert {pod.job_id for pod in pods} == {"3-41"}


def test_a_cordoned_worker_keeps_its_shares_but_none_can_be_had(plane: LonePlane, watched: Watched) -> None:
    plane.cluster.patch("nodes", "worker-node", {"spec": {"unschedulable": True}})
    try:
        watched.until(lambda: any(node.unschedulable for node in watched.all(NodeSeen)))
        watched.until(lambda: watched.all(SharesSeen)[-1].free_schedulable == 20)
        assert watched.all(SharesSeen)[-1].free == 40
    finally:
        plane.cluster.patch("nodes", "worker-node", {"spec": {"unschedulable": None}})
    watched.until(lambda: watched.all(SharesSeen)[-1].free_schedulable == 40)


def test_a_warning_is_kept_and_old_events_are_not(plane: LonePlane, watched: Watched) -> None:
    about = {"kind": "Pod", "name": "grpc-job-9-9-abcde", "namespace": "panda"}
    event = {"type": "Warning", "reason": "FailedScheduling", "message": "0/3 nodes", "involvedObject": about}
    plane.cluster.create("events", {"metadata": {"name": "one"}, **event})
    watched.until(lambda: [seen.reason for seen in watched.all(ClusterEventSeen)] == ["FailedScheduling"])
    later = Watched(plane.target, plane.cluster, watched.folder / "later")
    later.until(lambda: later.sees(KINDS_WATCHED))
    later.watchers.stop()
    assert later.all(ClusterEventSeen) == []


def test_what_the_identity_may_not_watch_is_said_to_be_unseen(plane: LonePlane, tmp_path: Path) -> None:
    cluster = plane.cluster
    rules = [{"apiGroups": ["", "batch"], "resources": ["pods", "jobs"], "verbs": ["list", "watch"]}]
    cluster.create("serviceaccounts", {"metadata": {"name": "half"}})
    cluster.create("roles", {"metadata": {"name": "half"}, "rules": rules})
    group = "rbac.authorization.k8s.io"
    role = {"apiGroup": group, "kind": "Role", "name": "half"}
    subject = {"kind": "ServiceAccount", "name": "half", "namespace": "panda"}
    cluster.create("rolebindings", {"metadata": {"name": "half"}, "roleRef": role, "subjects": [subject]})
    path = KINDS["serviceaccounts"].path("panda", "half", "token")
    token = cluster._json("POST", path, body={"spec": {}})["status"]["token"]
    assert plane.target.kubernetes != "none"
    config = yaml.safe_load(Path(plane.target.kubernetes.kubeconfig or "").read_text())
    config["users"][0]["user"] = {"token": token}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    kubernetes = plane.target.kubernetes.model_copy(update={"kubeconfig": str(tmp_path / "kubeconfig")})
    target = plane.target.model_copy(update={"kubernetes": kubernetes})
    viewer = connect(target, check_identity=False)
    watched = Watched(target, viewer, tmp_path / "history")
    watched.until(lambda: watched.sees({"pods", "jobs"}) and watched.blind({"nodes", "services", "events"}))
    watched.watchers.stop()
    viewer.close()
    why = {state.watcher: state.detail for state in watched.all(WatcherState) if not state.seeing}
    assert "403" in why["services"]
    assert not watched.all(SharesSeen)  # without nodes nobody can say how many there are


def test_a_silent_api_server_is_down_at_once_and_seen_again_when_it_speaks(
    plane: LonePlane, watched: Watched
) -> None:
    watched.until(lambda: any(seen.dependency == "kubernetes_api" for seen in watched.all(DependencySeen)))
    os.kill(plane._process.pid, signal.SIGSTOP)
    try:
        watched.until(lambda: not _api(watched)[-1].up)
    finally:
        os.kill(plane._process.pid, signal.SIGCONT)
    watched.until(lambda: _api(watched)[-1].up)
    watched.until(lambda: watched.sees(KINDS_WATCHED))
    assert [seen.up for seen in _api(watched)] == [True, False, True]


def _api(watched: Watched) -> list[DependencySeen]:
    return [seen for seen in watched.all(DependencySeen) if seen.dependency == "kubernetes_api"]


def test_a_dead_api_server_makes_every_watch_blind(tmp_path: Path) -> None:
    plane = LonePlane(tmp_path)
    watched = Watched(plane.target, plane.cluster, tmp_path / "history")
    watched.until(lambda: watched.sees(KINDS_WATCHED))
    plane.stop()
    watched.until(lambda: watched.blind(KINDS_WATCHED - {"kubernetes_api"}))
    watched.until(lambda: not _api(watched)[-1].up)
    watched.watchers.stop()
