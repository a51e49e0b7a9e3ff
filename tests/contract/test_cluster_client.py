"""The cluster client against a real API server process: who is let in, what is refused, who may go on."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from harness.cluster import (
    Cluster,
    Conflict,
    Lease,
    Right,
    connect,
    holder_of_this_process,
    is_dead_here,
    missing_rights,
    name_of,
    version_of,
)
from harness.cluster.client import PAGE
from harness.cluster.kinds import KINDS, Object
from harness.cluster.watch import Change
from harness.errors import AccessDenied, IdentityMismatch, TargetBusy, TargetError, Unreachable
from harness.target import Target
from tests.lone_plane import LonePlane


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LonePlane]:
    plane = LonePlane(tmp_path_factory.mktemp("plane"))
    yield plane
    plane.stop()


@pytest.fixture
def cluster(plane: LonePlane) -> Cluster:
    return plane.cluster


def with_kube(target: Target, **changes: object) -> Target:
    assert target.kubernetes != "none"
    return target.model_copy(update={"kubernetes": target.kubernetes.model_copy(update=changes)})


def with_token(plane: LonePlane, folder: Path, token: str) -> Target:
    assert plane.target.kubernetes != "none"
    config = yaml.safe_load(Path(plane.target.kubernetes.kubeconfig or "").read_text())
    config["users"][0]["user"] = {"token": token}
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return with_kube(plane.target, kubeconfig=str(file))


def test_another_cluster_than_the_target_names_is_refused(plane: LonePlane) -> None:
    with pytest.raises(IdentityMismatch, match="names the cluster another, but the context reaches"):
        connect(with_kube(plane.target, identity="another"))


def test_refused_credentials_are_said(plane: LonePlane, tmp_path: Path) -> None:
    with pytest.raises(AccessDenied, match="401"):
        connect(with_token(plane, tmp_path, "wrong"))


def test_a_context_that_is_not_there_is_said(plane: LonePlane) -> None:
    with pytest.raises(TargetError, match="check `kubeconfig` and `context`"):
        connect(with_kube(plane.target, context="elsewhere"))


def test_a_target_without_kubeconfig_and_context_is_no_consent(plane: LonePlane) -> None:
    with pytest.raises(TargetError, match="a default context is not consent"):
        connect(with_kube(plane.target, kubeconfig=None))


def test_a_target_without_cluster_names_what_needs_one(plane: LonePlane) -> None:
    with pytest.raises(TargetError, match="faults and cluster watchers need a cluster"):
        connect(plane.target.model_copy(update={"kubernetes": "none"}))


def test_no_answer_is_unreachable(plane: LonePlane, tmp_path: Path) -> None:
    target = with_token(plane, tmp_path, "t")
    file = tmp_path / "kubeconfig"
    config = yaml.safe_load(file.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.251.9.9:1"
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(Unreachable, match="no answer"):
        connect(target)


def test_missing_rights_are_listed_and_only_they(plane: LonePlane, tmp_path: Path) -> None:
    cluster = plane.cluster
    cluster.create("serviceaccounts", {"metadata": {"name": "viewer"}})
    cluster.create(
        "clusterroles",
        {
            "metadata": {"name": "see-nodes"},
            "rules": [
                {"apiGroups": [""], "resources": ["nodes", "namespaces"], "verbs": ["get", "list"]},
            ],
        },
    )
    cluster.create(
        "clusterrolebindings",
        {
            "metadata": {"name": "viewer"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "see-nodes"},
            "subjects": [{"kind": "ServiceAccount", "name": "viewer", "namespace": "panda"}],
        },
    )
    path = KINDS["serviceaccounts"].path("panda", "viewer", "token")
    token = cluster._json("POST", path, body={"spec": {}})["status"]["token"]
    viewer = connect(with_token(plane, tmp_path, token))
    wanted = [Right("list", "nodes"), Right("patch", "nodes"), Right("delete", "pods", "panda")]
    assert missing_rights(viewer, wanted) == (Right("delete", "pods", "panda"), Right("patch", "nodes"))
    assert missing_rights(cluster, wanted) == ()
    with pytest.raises(AccessDenied, match="403"):
        viewer.patch("nodes", "worker-node", {"spec": {"unschedulable": True}})
    viewer.close()


def test_a_late_write_conflicts(cluster: Cluster) -> None:
    node = cluster.get("nodes", "worker-node")
    cluster.patch("nodes", "worker-node", {"metadata": {"annotations": {"a": "1"}}})
    with pytest.raises(Conflict):
        cluster.patch(
            "nodes", "worker-node", {"spec": {"unschedulable": True}}, resource_version=version_of(node)
        )
    assert "unschedulable" not in cluster.get("nodes", "worker-node")["spec"]


def test_a_late_delete_conflicts_or_finds_nothing(cluster: Cluster) -> None:
    made = cluster.create("configmaps", {"metadata": {"name": "late"}})
    cluster.patch("configmaps", "late", {"data": {"a": "1"}})
    with pytest.raises(Conflict):
        cluster.delete("configmaps", "late", uid=made["metadata"]["uid"], resource_version=version_of(made))
    assert cluster.delete("configmaps", "late", uid="another") is False
    assert cluster.delete("configmaps", "late") is True
    assert cluster.delete("configmaps", "late") is False


def test_long_lists_come_whole(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert PAGE > 2
    monkeypatch.setattr("harness.cluster.client.PAGE", 2)
    assert [name_of(node) for node in cluster.nodes()] == ["master-node", "worker-node", "worker-node-2"]
    assert [name_of(node) for node in cluster.workers()] == ["worker-node", "worker-node-2"]


class Ear:
    """Hears a watch from a thread of its own."""

    def __init__(self, cluster: Cluster, kind: str) -> None:
        self.changes: list[tuple[str, str]] = []
        self.gaps: list[bool] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=cluster.watch, args=(kind, self._stop, self._change, self._gap), daemon=True
        )
        self._thread.start()

    def _change(self, change: Change) -> None:
        self.changes.append((change.what, name_of(change.obj) if change.obj else ""))

    def _gap(self, seeing: bool, _why: str) -> None:
        self.gaps.append(seeing)

    def until(self, true: Callable[[], bool], within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < deadline, (self.changes, self.gaps)
            time.sleep(0.02)

    def end(self) -> None:
        self._stop.set()
        self._thread.join(timeout=20)


def test_a_watch_lists_follows_says_when_it_is_blind_and_what_it_missed(tmp_path: Path) -> None:
    plane = LonePlane(tmp_path)
    made: Object = {"metadata": {"name": "seen"}}
    plane.cluster.create("configmaps", made)
    ear = Ear(plane.cluster, "configmaps")
    ear.until(lambda: ("SYNCED", "") in ear.changes)
    assert ("LISTED", "seen") in ear.changes
    plane.cluster.patch("configmaps", "seen", {"data": {"a": "1"}})
    plane.cluster.create("configmaps", {"metadata": {"name": "later"}})
    plane.cluster.delete("configmaps", "seen")
    ear.until(lambda: ear.changes[-1] == ("DELETED", "seen"))
    assert ear.changes[-3:] == [("MODIFIED", "seen"), ("ADDED", "later"), ("DELETED", "seen")]
    assert ear.gaps == [True]
    plane.stop()
    ear.until(lambda: ear.gaps == [True, False])
    ear.end()


def test_the_lock_is_held_once_and_says_by_whom(cluster: Cluster) -> None:
    lease = Lease.acquire(cluster, "run-1", holder="elsewhere/1/1")
    lease.renew()
    with pytest.raises(TargetBusy, match=r"in use by elsewhere/1/1 \(run run-1\)"):
        Lease.acquire(cluster, "run-2")
    lease.release()
    with Lease.acquire(cluster, "run-2") as second:
        with pytest.raises(TargetBusy, match="the lock was lost"):
            lease.renew()
        second.renew()


def test_a_machine_that_shares_our_hostname_is_another_one(cluster: Cluster) -> None:
    """Clones of one image: that their process ids are unknown here says nothing."""
    assert not is_dead_here(f"{socket.gethostname()}/999999999/1")
    here = holder_of_this_process().partition("/")[0]
    assert is_dead_here(f"{here}/999999999/1")
    assert not is_dead_here(holder_of_this_process())


def test_a_lock_of_a_dead_process_of_this_host_is_taken_over(cluster: Cluster) -> None:
    here = holder_of_this_process().partition("/")[0]
    Lease.acquire(cluster, "run-1", holder=f"{here}/999999999/1")
    with Lease.acquire(cluster, "run-2") as lease:
        assert lease.run_id == "run-2"
