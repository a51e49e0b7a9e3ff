"""The doctor on a sandbox: each cause of the seed made real, found on top, healed by its remedy, and healthy again."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.cluster import Cluster, Lease, connect, is_ready
from harness.doctor.examine import look_at
from harness.doctor.remedies import BY_NAME
from harness.focus import FocusServerAPI
from harness.focus.outcomes import CallFailed
from harness.focus.request import ConfigureRequest
from harness.target import Target, load_target
from tests.campaigns.conftest import ROOT, Rehearsal, kept

GPU = "nvidia.com/gpu.shared"


@contextmanager
def surroundings(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def target(rehearsal: Rehearsal) -> Target:
    with surroundings(rehearsal.environment):
        return load_target(ROOT / "targets" / "sandbox.yaml")


@pytest.fixture(scope="module")
def cluster(target: Target) -> Iterator[Cluster]:
    here = connect(target)
    yield here
    here.close()


def until(holds: Callable[[], object], within_s: float = 40.0) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it does not become true"
        time.sleep(0.2)


def examined(rehearsal: Rehearsal, *more: str) -> dict[str, Any]:
    done = rehearsal.run("doctor", "--format", "json", "--older-than", "1s", *more)
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["exit_code"] == done.returncode
    return answer


def mended(rehearsal: Rehearsal, remedy: str, reports: Path) -> dict[str, Any]:
    done = rehearsal.run(
        "doctor",
        "--fix",
        remedy,
        "--yes",
        "--older-than",
        "1s",
        "--format",
        "json",
        "--reports",
        str(reports),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    lines = [json.loads(line) for line in Path(answer["fix"]["journal"]).read_text().splitlines()]
    assert lines[0]["event"] == "began"
    assert lines[-1]["event"] == "ended"
    return answer


def amiss(answer: dict[str, Any]) -> list[str]:
    return [f"{one['check']}: {one['summary']}" for one in answer["checks"] if one["result"] != "ok"]


def focus_at_0(cluster: Cluster, rehearsal: Rehearsal) -> None:
    cluster.scale("deployments", "focus-server", 0)
    until(lambda: not cluster.pods("app=focus-server"))


def rights_lost(cluster: Cluster, rehearsal: Rehearsal) -> None:
    cluster.patch("rolebindings", "focus-server", {"subjects": []})
    cluster.delete("clusterrolebindings", "focus-server")


def shares_taken(cluster: Cluster, rehearsal: Rehearsal) -> None:
    """Twenty windows on each worker that nobody reads and no cleanup watches."""
    box = {"name": "x", "image": "pause", "resources": {"limits": {GPU: "1"}}}
    for slot in range(1, 41):
        name = f"grpc-job-{slot}-{8000 + slot}"
        pod = {"metadata": {"labels": {"app": name}}, "spec": {"restartPolicy": "Never", "containers": [box]}}
        cluster.create("jobs", {"metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": pod}})

    def held() -> bool:
        pods = [pod for pod in cluster.pods() if pod["metadata"]["name"].startswith("grpc-job-")]
        return sum(pod.get("status", {}).get("phase") == "Running" for pod in pods) == 40

    until(held)
    time.sleep(3.0)  # the kubelets measure every 2 s


def slots_taken(cluster: Cluster, rehearsal: Rehearsal) -> None:
    """Thirty Services whose windows are gone."""
    until(lambda: not [one for one in cluster.services() if one["metadata"]["name"].startswith("grpc-")])
    for slot in range(1, 31):
        ports = [{"port": 12300 + slot, "targetPort": 5000, "nodePort": 30000 + slot}]
        name = f"{slot}-{9000 + slot}"
        spec = {"type": "NodePort", "selector": {"app": f"grpc-job-{name}"}, "ports": ports}
        cluster.create("services", {"metadata": {"name": f"grpc-service-{name}"}, "spec": spec})
    time.sleep(1.5)


def workers_cordoned(cluster: Cluster, rehearsal: Rehearsal) -> None:
    for node in cluster.workers():
        cluster.patch("nodes", node["metadata"]["name"], {"spec": {"unschedulable": True}})


def workers_silent(cluster: Cluster, rehearsal: Rehearsal) -> None:
    for node in cluster.workers():
        rehearsal.run("sandbox", "node", node["metadata"]["name"], "freeze")
    until(lambda: not any(is_ready(node) for node in cluster.workers()))


def mongodb_at_0(cluster: Cluster, rehearsal: Rehearsal) -> None:
    cluster.scale("deployments", "mongodb-panda", 0)
    until(lambda: not cluster.pods("app=mongodb"))


CAUSES = (
    ("focus_server_down", focus_at_0, "rescale-focus-server"),
    pytest.param("kubernetes_unreachable", rights_lost, "restore-binding", marks=pytest.mark.long),
    ("max_windows", slots_taken, "delete-orphan-services"),
    pytest.param("worker_unavailable", workers_cordoned, "uncordon", marks=pytest.mark.long),
    pytest.param("mongodb_unavailable", mongodb_at_0, "restart-mongodb", marks=pytest.mark.long),
    pytest.param("gpu_exhausted", shares_taken, "delete-stale-jobs", marks=pytest.mark.long),
    pytest.param("worker_unavailable", workers_silent, "restart-kubelet", marks=pytest.mark.long),
)


@pytest.mark.parametrize(("cause", "break_it", "remedy"), CAUSES)
def test_each_cause_of_the_seed_is_found_healed_and_gone(
    rehearsal: Rehearsal,
    target: Target,
    cluster: Cluster,
    tmp_path: Path,
    cause: str,
    break_it: Callable[[Cluster, Rehearsal], None],
    remedy: str,
) -> None:
    break_it(cluster, rehearsal)
    with FocusServerAPI.at(target.url) as api, pytest.raises(CallFailed) as refused:
        api.configure_streaming_job(ConfigureRequest(channel_min=1, channel_max=50))
    assert refused.value.status == 503
    seen = examined(rehearsal)
    assert seen["cause"] == cause, amiss(seen)
    assert remedy in {one["remedy"] for one in seen["remedies"] if one["lines"]}
    mended(rehearsal, remedy, tmp_path)
    after = examined(rehearsal)
    assert (after["exit_code"], amiss(after)) == (0, [])


def test_a_live_window_is_left_alone_and_a_busy_target_is_not_touched(
    rehearsal: Rehearsal, target: Target, cluster: Cluster, tmp_path: Path
) -> None:
    sight = look_at(target, 0.0)
    with FocusServerAPI.at(target.url) as api:  # nobody reads it, so cleanup takes it back soon: look at once
        window = api.configure_streaming_job(ConfigureRequest(channel_min=1, channel_max=50))
    for remedy, of in (
        ("delete-stale-jobs", "job grpc-job"),
        ("delete-orphan-services", "service grpc-service"),
    ):
        plan = BY_NAME[remedy].plan(sight.again())
        assert not plan.touches
        assert f"{of}-{window.job_id}" in {refusal.what for refusal in plan.refused}
    workers_cordoned(cluster, rehearsal)
    with kept(Lease.acquire(cluster, "somebodys-run")):
        busy = rehearsal.run("doctor", "--fix", "uncordon", "--yes", "--reports", str(tmp_path))
    assert busy.returncode == 9, busy.stdout + busy.stderr
    assert "somebodys-run" in busy.stderr
    mended(rehearsal, "uncordon", tmp_path / "again")


def test_a_cluster_that_is_another_one_is_refused(rehearsal: Rehearsal, tmp_path: Path) -> None:
    text = (ROOT / "targets" / "sandbox.yaml").read_text().replace("${KUBE_SYSTEM_UID}", "another-one")
    (tmp_path / "other.yaml").write_text(text)
    done = rehearsal.run("doctor", "--target", str(tmp_path / "other.yaml"))
    assert done.returncode == 3
    assert "another-one" in done.stderr
