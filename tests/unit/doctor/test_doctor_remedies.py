"""Remedies: what they touch, what they refuse and why, and that what was reused meanwhile is left alone."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from fake_cluster import NOW, FakeCluster, ago

from harness.cluster import Lease
from harness.doctor import mend
from harness.doctor.checks import CHECKS, Check
from harness.doctor.examine import examine
from harness.doctor.journal import Journal
from harness.doctor.mend import Mending, Outcome
from harness.doctor.remedies import BY_NAME, Plan
from harness.doctor.result import fine
from harness.doctor.sight import Sight
from harness.errors import Exit, RecordUnusable, Stopped, TargetBusy


class HeldLease:
    def release(self) -> None:
        pass

    def renew(self, **_: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lease, "acquire", lambda *_, **__: HeldLease())
    monkeypatch.setattr(Sight, "again", lambda self: Sight(self.target, self.world, self.asking, now=NOW))
    monkeypatch.setattr(mend, "LOOK_AGAIN_S", 0.0)


def planned(cluster: FakeCluster, name: str, **changes: Any) -> Plan:
    return BY_NAME[name].plan(cluster.sight(**changes))


def done(
    cluster: FakeCluster, name: str, folder: Path, plan: Plan | None = None
) -> tuple[Outcome, list[dict[str, Any]]]:
    sight = cluster.sight()
    remedy = dataclasses.replace(BY_NAME[name], within_s=0.0)
    journal = Journal(folder / "doctor-1")
    try:
        outcome = Mending(sight, remedy, journal, "doctor-1", lambda _: None).run(plan or remedy.plan(sight))
    finally:
        journal.close()
    return outcome, [json.loads(line) for line in journal.path.read_text().splitlines()]


def touched(plan: Plan) -> list[str]:
    return [f"{touch.kind}/{touch.name}" for touch in plan.touches]


def whys(plan: Plan) -> dict[str, str]:
    return {refusal.what: refusal.why for refusal in plan.refused}


def test_a_service_is_an_orphan_only_if_old_and_without_job_and_pod(cluster: FakeCluster) -> None:
    cluster.window("1-1", job=False, cleanup=False)
    cluster.window("2-2", job=False, cleanup=False, age_s=5)
    cluster.window("3-3")
    cluster.window("4-4", job=False, cleanup=False)
    cluster.put("pods", "grpc-job-4-4-abcde", spec={}, status={"phase": "Running"})
    plan = planned(cluster, "delete-orphan-services")
    assert touched(plan) == ["services/grpc-service-1-1"]
    why = whys(plan)
    assert "younger" in why["service grpc-service-2-2"]
    assert "its Job exists" in why["service grpc-service-3-3"]
    assert "a pod of its window exists" in why["service grpc-service-4-4"]
    assert plan.touches[0].line == "kubectl --context panda-cluster -n panda delete service grpc-service-1-1"


def test_jobs_are_stale_only_if_that_can_be_proven(cluster: FakeCluster) -> None:
    cluster.window("1-1", cleanup=False, cpu="0")  # runs for nobody, and nothing will remove it
    cluster.window("2-2", cleanup=False, cpu="9m")  # somebody reads it
    cluster.window("3-3", cleanup=False, cpu="")  # nobody knows
    cluster.window("4-4", cpu="0")  # its cleanup is at work
    cluster.window("5-5", phase="Pending", age_s=600)
    cluster.window("6-6", phase="Pending", age_s=90)
    cluster.window("7-7", phase="Pending", age_s=5)
    cluster.window("8-8", job=False, service=False)
    over = [{"type": "Complete", "status": "True", "lastTransitionTime": ago(500)}]
    cluster.put("jobs", "grpc-job-9-9", spec={"ttlSecondsAfterFinished": 120}, status={"conditions": over})
    plan = planned(cluster, "delete-stale-jobs")
    assert touched(plan) == [
        f"jobs/{name}" for name in ("grpc-job-1-1", "grpc-job-5-5", "cleanup-job-8-8", "grpc-job-9-9")
    ]
    why = whys(plan)
    assert "somebody may read it" in why["job grpc-job-2-2"]
    assert "nobody measures" in why["job grpc-job-3-3"]
    assert "live window" in why["job grpc-job-4-4"]
    assert "may still start" in why["job grpc-job-6-6"]
    assert "younger" in why["job grpc-job-7-7"]


def test_what_a_fault_of_ours_made_is_left_to_undo(cluster: FakeCluster) -> None:
    cluster.window("1-1", job=False, cleanup=False)
    cluster.kept["services", "grpc-service-1-1"]["metadata"]["labels"]["focus-harness/entry"] = "e"
    cluster.kept["nodes", "worker-1"]["spec"]["unschedulable"] = True
    cluster.kept["nodes", "worker-1"]["metadata"]["labels"]["focus-harness/entry"] = "e"
    for name in ("delete-orphan-services", "uncordon"):
        plan = planned(cluster, name)
        assert not plan.touches
        assert "harness undo" in plan.refused[0].why


def test_no_more_pods_are_ended_than_the_target_allows(cluster: FakeCluster) -> None:
    for slot in (1, 2, 3):
        cluster.window(f"{slot}-{slot}", phase="Pending")
    plan = planned(cluster, "delete-stale-jobs", limits={"max_pods": 2})
    assert len(plan.touches) == 2
    assert "limits.max_pods" in whys(plan)["job grpc-job-3-3"]


def test_a_ready_database_is_restarted_only_where_its_loss_is_accepted(cluster: FakeCluster) -> None:
    refused = planned(cluster, "restart-mongodb")
    assert not refused.touches
    assert "accept: [mongodb-pod]" in refused.refused[0].why
    assert touched(planned(cluster, "restart-mongodb", accept=["mongodb-pod"])) == ["pods/mongodb-0"]


def test_a_kubelet_without_a_hand_is_told_how_to_mend_by_hand(cluster: FakeCluster) -> None:
    cluster.kept["nodes", "worker-1"]["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
    assert [touch.line for touch in planned(cluster, "restart-kubelet").touches] == [
        "reach worker-1 thaw",
        "reach worker-1 start",
    ]
    assert "systemctl restart kubelet" in planned(cluster, "restart-kubelet", hands={}).refused[0].why


def test_lost_bindings_are_patched_or_made_anew(cluster: FakeCluster) -> None:
    cluster.kept["rolebindings", "focus-server"]["subjects"] = []
    del cluster.kept["clusterrolebindings", "focus-server"]
    plan = planned(cluster, "restore-binding")
    assert [(touch.does, touch.kind) for touch in plan.touches] == [
        ("patch", "rolebindings"),
        ("create", "clusterrolebindings"),
    ]
    assert "--serviceaccount=panda:focus-server" in plan.touches[1].line


def test_the_expected_wait_comes_from_cleanups_readings(cluster: FakeCluster) -> None:
    cluster.window("1-1", cpu="0")
    box = {"env": [{"name": "MAX_CPU_USAGE_COUNT", "value": "3"}]}
    cluster.kept["jobs", "cleanup-job-1-1"]["spec"] = {"template": {"spec": {"containers": [box]}}}
    assert planned(cluster, "wait").wait_s == 30


def test_a_fix_is_on_disk_before_it_is_done_and_looked_at_afterwards(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    for slot in (1, 2, 3):
        cluster.window(f"{slot}-{slot}", job=False, cleanup=False)
    outcome, lines = done(cluster, "delete-orphan-services", tmp_path)
    assert cluster.writes == [f"delete services grpc-service-{slot}-{slot}" for slot in (1, 2, 3)]
    assert [line["event"] for line in lines] == ["intended", "done"] * 3 + ["verified"] * 2
    assert all(line["uid"] for line in lines if line["event"] == "intended")
    assert outcome.code == Exit.OK


def test_what_was_reused_meanwhile_is_left_alone(cluster: FakeCluster, tmp_path: Path) -> None:
    for slot in (1, 2, 3):
        cluster.window(f"{slot}-{slot}", job=False, cleanup=False)
    plan = planned(cluster, "delete-orphan-services")
    cluster.put("services", "grpc-service-1-1", age_s=600)  # the same name, another object
    cluster.put("jobs", "grpc-job-2-2", age_s=1, spec={}, status={"active": 1})  # its Job came late
    outcome, lines = done(cluster, "delete-orphan-services", tmp_path, plan)
    assert cluster.writes == ["delete services grpc-service-3-3"]
    assert [line["why"] for line in lines if line["event"] == "skipped"] == [
        "its name was reused meanwhile by another object",
        "it has changed meanwhile: the remedy would not do that to it any more",
    ]
    assert len(outcome.skipped) == 2


def test_nothing_is_done_while_somebody_holds_the_target(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any, **__: Any) -> None:
        raise TargetBusy("in use")

    monkeypatch.setattr(Lease, "acquire", busy)
    cluster.window("1-1", job=False, cleanup=False)
    with pytest.raises(TargetBusy):
        done(cluster, "delete-orphan-services", tmp_path)
    assert not cluster.writes


def test_nothing_is_done_that_cannot_be_journalled(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordUnusable):
        Journal(tmp_path / "file" / "doctor-1")


def test_a_check_that_fails_or_hangs_keeps_no_other_from_answering(cluster: FakeCluster) -> None:
    import threading

    def hang(_: Sight) -> Any:
        threading.Event().wait(5)

    def fail(_: Sight) -> Any:
        raise KeyError("surprise")

    checks = [Check("a", "", hang), Check("b", "", fail), Check("c", "", lambda _: fine("c", "well"))]
    seen = examine(cluster.sight(), checks, within_s=0.2)
    assert [one.result.value for one in seen] == ["unknown", "unknown", "ok"]
    assert len(CHECKS) == 15


def test_who_is_stopped_after_scaling_down_still_scales_up(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halted(self: HeldLease, **_: Any) -> None:
        if cluster.writes:
            raise Stopped("halted")

    monkeypatch.setattr(HeldLease, "renew", halted)
    with pytest.raises(Stopped):
        done(cluster, "rescale-focus-server", tmp_path)
    assert cluster.kept["deployments", "focus-server"]["spec"]["replicas"] == 1
    assert len(cluster.writes) == 2
