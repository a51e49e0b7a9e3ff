"""The fibre as a state, and rights that are lost and come back, on a running sandbox: what happens and how it heals."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from focus_server_world import NAMESPACE, Running, running, until

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("sandbox-heals")]

RBAC = "rbac.authorization.k8s.io"
RECORDED = {"start_time": 1765119503, "end_time": 1765119503 + 600}
REFUSED = (503, {"detail": "Service Unavailable"})


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = ("broker=off", "restart_delay_s=1", "cleanup_period_s=1", "cleanup_low_readings=3")
    with running("heals", tmp_path_factory.mktemp("state"), *options) as sandbox:
        until(sandbox.can_create)
        until(sandbox.no_windows)
        yield sandbox


def parts(box: Running) -> dict[str, bool]:
    command = [sys.executable, "-m", "harness", "sandbox", "status", "--name", box.sandbox.name]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False)
    return {name: part["ready"] for name, part in json.loads(done.stdout)["parts"].items()}


def live_metadata(box: Running) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(box.ask("GET", "/focus-server/live_metadata")[1])
    return found


def restart_focus_server(box: Running) -> None:
    """Have a new Focus Server, and wait until it answers."""
    (old,) = [name for name in box.names("pods") if name.startswith("focus-server-")]
    since_ns = time.monotonic_ns()
    box.do(lambda api: api.delete("pods", old, NAMESPACE, grace_s=0))
    until(lambda: box.truth(since_ns, kind="focus_server_started"))
    until(lambda: box.ask("GET", "/focus-server/ack")[0] == 200)


def seconds_until(holds: Callable[[], bool], within_s: float) -> float:
    began = time.monotonic()
    until(holds, within_s)
    return time.monotonic() - began


def test_a_server_that_knows_the_fibre_keeps_it_and_a_new_one_waits_for_the_player(box: Running) -> None:
    assert parts(box)["fibre"]
    box.scale("panda-panda-player", 0)
    try:
        until(lambda: not [name for name in box.names("pods") if name.startswith("panda-panda-player")])
        assert box.can_create()
        assert live_metadata(box)["prr"] == 2000.0
        restart_focus_server(box)
        assert live_metadata(box)["prr"] == 0.0
        assert live_metadata(box)["sw_version"] == "waiting for fiber"
        assert box.configure("no-fibre") == REFUSED
        assert box.refusal("no-fibre")["causes"] == ["waiting_for_fibre"]
        status, answer = box.configure(**RECORDED)
        assert status == 200
        box.drop(answer["job_id"])
        assert not parts(box)["fibre"]
        (pod,) = [name for name in box.names("pods") if name.startswith("focus-server-")]
        log = box.do(lambda api: api.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/log"))
        assert "missing required fiber metadata fields: prr" in log["message"]
    finally:
        box.scale("panda-panda-player", 1)
    assert seconds_until(box.can_create, 10) < 5
    assert live_metadata(box)["prr"] == 2000.0
    assert [fact["known"] for fact in box.truth(kind="fibre")][-2:] == [False, True]
    box.drop_all()


def test_a_restart_while_the_player_is_there_never_waits_for_the_fibre(box: Running) -> None:
    since_ns = time.monotonic_ns()
    restart_focus_server(box)
    assert live_metadata(box)["prr"] == 2000.0
    until(box.can_create)
    started, known = (
        box.truth(since_ns, kind="focus_server_started")[0],
        box.truth(since_ns, kind="fibre", known=True)[0],
    )
    assert known["at_ns"] < started["at_ns"]
    box.drop_all()


def test_a_sandbox_that_shall_wait_for_the_fibre_is_ready_without_it(tmp_path: Path) -> None:
    with running("fibreless", tmp_path, "broker=off", "waiting_for_fiber=true") as waiting:
        assert "fibre" not in parts(waiting)
        assert live_metadata(waiting)["prr"] == 0.0
        assert waiting.configure("never") == REFUSED
        assert waiting.refusal("never")["causes"] == ["waiting_for_fibre"]


@contextmanager
def without_subject(box: Running, resource: str, name: str) -> Iterator[None]:
    """Take the subjects from a binding while the block runs."""
    namespace = NAMESPACE if resource == "rolebindings" else None
    kind = f"{resource}.{RBAC}"
    subjects = box.do(lambda api: api.get(kind, name, namespace))["subjects"]
    box.do(lambda api: api.patch(kind, name, {"subjects": []}, namespace))
    try:
        yield
    finally:
        box.do(lambda api: api.patch(kind, name, {"subjects": subjects}, namespace))


@pytest.mark.parametrize("resource", ["rolebindings", "clusterrolebindings"])
def test_a_focus_server_without_rights_refuses_within_a_second_and_heals_within_another(
    box: Running, resource: str
) -> None:
    with without_subject(box, resource, "focus-server"):
        assert seconds_until(lambda: box.configure("no-rights")[0] == 503, 5) < 1.5
        assert {fact["primary"] for fact in box.truth(kind="refusal", request_id="no-rights")} == {
            "kubernetes_unreachable"
        }
        time.sleep(1)
        assert box.configure() == REFUSED
    assert seconds_until(box.can_create, 5) < 1.5
    box.drop_all()


def cleanup_runs(box: Running, job_id: str) -> bool:
    items, _ = box.do(lambda api: api.list("pods", NAMESPACE, labels=f"app=cleanup-job-{job_id}"))
    return any(pod["status"]["phase"] == "Running" for pod in items)


def test_a_cleanup_that_loses_its_rights_lives_on_and_cleans_when_it_has_them_again(box: Running) -> None:
    status, answer = box.configure()
    assert status == 200
    job_id = answer["job_id"]
    until(lambda: cleanup_runs(box, job_id))
    with without_subject(box, "rolebindings", "cleanup"):
        time.sleep(6)  # twice what an idle window lives
        assert cleanup_runs(box, job_id)
        assert f"grpc-job-{job_id}" in box.names("jobs.batch")
    assert seconds_until(box.no_windows, 15) < 10


def test_a_cleanup_that_may_look_but_not_delete_goes_on_until_it_may(box: Running) -> None:
    role = box.do(lambda api: api.get(f"roles.{RBAC}", "cleanup", NAMESPACE))
    rules = [
        {**rule, "verbs": [verb for verb in rule["verbs"] if verb != "delete"]} for rule in role["rules"]
    ]
    status, answer = box.configure()
    assert status == 200
    job_id = answer["job_id"]
    box.do(lambda api: api.patch(f"roles.{RBAC}", "cleanup", {"rules": rules}, NAMESPACE))
    try:
        until(lambda: box.truth(kind="window_cleaned", job_id=job_id), 15)
        time.sleep(2)
        assert cleanup_runs(box, job_id)
        assert f"grpc-service-{job_id}" in box.names("services")
    finally:
        box.do(lambda api: api.patch(f"roles.{RBAC}", "cleanup", {"rules": role["rules"]}, NAMESPACE))
    assert seconds_until(box.no_windows, 10) < 5
