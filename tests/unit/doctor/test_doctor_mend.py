"""Mending while the world goes on: what changed since it was shown, what ends half way, whose things they are, and commands that hang."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fake_cluster import FakeCluster
from test_doctor_remedies import HeldLease, done, lease, planned, touched, whys

from harness.cluster import Lease
from harness.doctor import mend
from harness.doctor.commands import run_command
from harness.doctor.journal import Journal
from harness.doctor.remedies import BY_NAME
from harness.errors import Exit, RecordUnusable, StillBroken, Unreachable

__all__ = ["lease"]
ALICE, BOB = ({"kind": "User", "name": name} for name in ("alice", "bob"))
DEPLOYMENT = ("deployments", "focus-server")


def replicas(cluster: FakeCluster) -> int:
    return int(cluster.kept[DEPLOYMENT]["spec"]["replicas"])


# --- changed since it was shown -------------------------------------------------------------------


def test_a_subject_that_was_added_meanwhile_stays(cluster: FakeCluster, tmp_path: Path) -> None:
    binding = cluster.kept["rolebindings", "focus-server"]
    binding["subjects"] = [ALICE]
    plan = planned(cluster, "restore-binding")
    binding["subjects"] = [ALICE, BOB]
    outcome, _ = done(cluster, "restore-binding", tmp_path, plan)
    assert outcome.skipped == [f"rolebinding focus-server: {mend.CHANGED}"]
    assert binding["subjects"] == [ALICE, BOB]


def test_who_scaled_meanwhile_is_not_scaled_back(cluster: FakeCluster, tmp_path: Path) -> None:
    plan = planned(cluster, "rescale-focus-server")
    cluster.kept[DEPLOYMENT]["spec"]["replicas"] = 2
    done(cluster, "rescale-focus-server", tmp_path, plan)
    assert not any("'replicas': 0" in write for write in cluster.writes)


def test_a_pod_that_got_ready_meanwhile_is_left_alone(cluster: FakeCluster, tmp_path: Path) -> None:
    pod = cluster.kept["pods", "focus-server-0"]
    ready, pod["status"] = pod["status"], {"phase": "Running", "conditions": []}
    plan = planned(cluster, "restart-focus-server")
    assert touched(plan) == ["pods/focus-server-0"]
    pod["status"] = ready
    done(cluster, "restart-focus-server", tmp_path, plan)
    assert not cluster.writes


def test_a_node_that_came_back_meanwhile_is_left_alone(cluster: FakeCluster, tmp_path: Path) -> None:
    node = cluster.kept["nodes", "worker-1"]
    node["status"]["conditions"][0]["status"] = "Unknown"
    plan = planned(cluster, "restart-kubelet")
    assert len(plan.touches) == 2
    node["status"]["conditions"][0]["status"] = "True"
    outcome, _ = done(cluster, "restart-kubelet", tmp_path, plan)
    assert len(outcome.skipped) == 2


# --- half way -------------------------------------------------------------------------------------


def test_an_answer_that_was_lost_on_the_way_down_does_not_leave_it_down(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch = cluster.patch

    def lost(kind: str, name: str, body: Any, *rest: Any, **more: Any) -> Any:
        told = patch(kind, name, body, *rest, **more)
        if body == {"spec": {"replicas": 0}}:
            raise Unreachable("the answer was lost")
        return told

    monkeypatch.setattr(cluster, "patch", lost)
    with pytest.raises(Unreachable):
        done(cluster, "rescale-focus-server", tmp_path)
    assert replicas(cluster) == 1


def test_a_full_disk_after_scaling_down_does_not_leave_it_down(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Journal.write

    def full(self: Journal, event: str, **fields: Any) -> None:
        if cluster.writes:
            raise RecordUnusable("no space left")
        write(self, event, **fields)

    monkeypatch.setattr(Journal, "write", full)
    with pytest.raises(RecordUnusable):
        done(cluster, "rescale-focus-server", tmp_path)
    assert replicas(cluster) == 1


def test_an_api_that_goes_after_scaling_down_ends_with_what_to_type(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch = cluster.patch

    def gone(kind: str, name: str, body: Any, *rest: Any, **more: Any) -> Any:
        if body != {"spec": {"replicas": 0}}:
            raise Unreachable("nobody there")
        return patch(kind, name, body, *rest, **more)

    def no_release(_: HeldLease) -> None:
        raise Unreachable("nobody there either")

    monkeypatch.setattr(cluster, "patch", gone)
    monkeypatch.setattr(HeldLease, "release", no_release)
    with pytest.raises(
        StillBroken, match=r"by hand: kubectl .*scale deployment/focus-server --replicas=1"
    ) as told:
        done(cluster, "rescale-focus-server", tmp_path)
    assert told.value.code == Exit.BROKEN


# --- whose it is ----------------------------------------------------------------------------------


def test_a_binding_of_another_installation_is_left_alone(cluster: FakeCluster) -> None:
    stranger = {"kind": "ServiceAccount", "name": "focus-server", "namespace": "panda-b"}
    role = {"kind": "ClusterRole", "name": "focus-server"}
    cluster.put("clusterrolebindings", "other-panda", roleRef=role, subjects=[stranger])
    assert not planned(cluster, "restore-binding").touches
    cluster.kept["clusterrolebindings", "focus-server"]["subjects"] = []
    plan = planned(cluster, "restore-binding")
    assert touched(plan) == ["clusterrolebindings/focus-server"]
    assert "panda-b/focus-server" in whys(plan)["clusterrolebinding other-panda"]


def test_pods_that_nobody_would_make_again_are_refused_and_corpses_do_not_count(cluster: FakeCluster) -> None:
    cluster.pod_of("focus-server", "focus-server-dead", status={"phase": "Failed", "conditions": []})
    assert touched(planned(cluster, "restart-focus-server")) == ["pods/focus-server-0"]
    cluster.kept["pods", "focus-server-0"]["metadata"]["ownerReferences"] = []
    plan = planned(cluster, "restart-focus-server")
    assert not plan.touches
    assert "nobody would make a new one" in whys(plan)["pod focus-server-0"]


def test_a_node_that_a_fault_is_on_is_left_to_undo(cluster: FakeCluster) -> None:
    node = cluster.kept["nodes", "worker-1"]
    node["status"]["conditions"][0]["status"] = "Unknown"
    node["metadata"]["labels"]["focus-harness/entry"] = "worker-not-ready-1"
    plan = planned(cluster, "restart-kubelet")
    assert not plan.touches
    assert "undo --sweep" in whys(plan)["node worker-1"]


def test_a_pod_that_is_starting_on_a_node_is_not_stale_by_waiting(cluster: FakeCluster) -> None:
    cluster.window("5-5", phase="Pending", age_s=600)
    pod = next(pod for (kind, name), pod in cluster.kept.items() if kind == "pods" and "grpc-job-5-5" in name)
    pod["spec"].pop("nodeName", None)
    assert "jobs/grpc-job-5-5" in touched(planned(cluster, "delete-stale-jobs"))
    pod["spec"]["nodeName"] = "worker-1"
    assert "jobs/grpc-job-5-5" not in touched(planned(cluster, "delete-stale-jobs"))


def test_ages_are_of_the_servers_clock_not_of_ours(cluster: FakeCluster) -> None:
    cluster.window("1-1", job=False, cleanup=False, age_s=121)  # 1 s old, and our clock is two minutes ahead
    assert touched(planned(cluster, "delete-orphan-services")) == ["services/grpc-service-1-1"]
    assert not planned(cluster, "delete-orphan-services", ahead_s=120.0).touches


# --- nothing to do, and commands ------------------------------------------------------------------


def test_nothing_to_wait_for_and_a_player_that_plays_are_nothing_to_do(cluster: FakeCluster) -> None:
    for name in ("wait", "start-player"):
        plan = planned(cluster, name)
        assert not plan.touches
        assert plan.notes


def test_waiting_needs_no_lock(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any, **__: Any) -> None:
        raise AssertionError("it asked for the lock")

    monkeypatch.setattr(Lease, "acquire", busy)
    cluster.window("1-1")
    outcome, _ = done(cluster, "wait", tmp_path)
    assert outcome.done == ["wait window of others"]


def test_the_sweep_is_of_the_file_that_was_given(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"focus-harness/entry": "mongo-outage-1"}
    cluster.put("configmaps", "undo-mongo-outage-1", labels)
    cluster.kept["deployments", "mongodb"]["metadata"]["labels"] = labels
    [touch] = planned(cluster, "undo-sweep", source="lab/with space.yaml").touches
    assert touch.line == "harness undo --sweep --target 'lab/with space.yaml'"
    ran: list[list[str]] = []
    monkeypatch.setattr(mend, "run_command", lambda argv, *_: ran.append(argv))
    journal = Journal(tmp_path / "j")
    fixing = mend.Mending(
        cluster.sight(source="lab/with space.yaml"),
        BY_NAME["undo-sweep"],
        journal,
        "r",
        print,
    )
    fixing._carry_out(touch)
    journal.close()
    assert ran[0][-4:] == ["undo", "--sweep", "--target", "lab/with space.yaml"]


def test_a_command_that_hangs_leaves_nothing_running(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    with pytest.raises(Unreachable, match="no end within"):
        run_command(["bash", "-c", f"sleep 97 & echo $! > {told}; wait; true"], 0.5, lambda: None)
    until = time.monotonic() + 3
    process = Path(f"/proc/{told.read_text().strip()}")
    while (
        process.exists() and "Z" not in (process / "stat").read_text().split()[2] and time.monotonic() < until
    ):
        time.sleep(0.05)
    assert not process.exists() or "Z" in (process / "stat").read_text().split()[2]


def test_a_command_that_leaves_a_child_behind_has_ended_all_the_same(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    began = time.monotonic()
    run_command(["bash", "-c", f"sleep 9 & echo $! > {told}; exit 0"], 5.0, lambda: None)
    assert time.monotonic() - began < 4
    with pytest.raises(Unreachable, match="ended with 3: said why"):
        run_command(["bash", "-c", "echo said why; exit 3"], 5.0, lambda: None)
    assert json.loads(told.read_text()) > 0
