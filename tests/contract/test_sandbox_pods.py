"""Pods that run a program of the host or the harness itself, evictions, and addresses that run out, on a running sandbox."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from focus_server_world import NAMESPACE, Running, running, until
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from harness.sandbox.node.containers import containers_of
from harness.sandbox.processes import wait_gone

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("sandbox-pods")]

WORKERS = ("worker-node", "worker-node-2")
BUDGETS = "poddisruptionbudgets.policy"
POD_IPS = 12


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = ("broker=off", f"pod_ips={POD_IPS}", "restart_delay_s=1")
    with running("pods", tmp_path_factory.mktemp("state"), *options) as sandbox:
        until(sandbox.can_create)
        until(sandbox.no_windows)
        yield sandbox


def make(
    box: Running, name: str, image: str, node: str = WORKERS[0], policy: str = "Never", **container: Any
) -> None:
    spec = {
        "restartPolicy": policy,
        "nodeSelector": {"kubernetes.io/hostname": node},
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": image, **container}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    box.do(lambda api: api.create("pods", pod, "default"))


def drop(box: Running, *names: str) -> None:
    for name in names:
        box.do(lambda api, name=name: api.delete("pods", name, "default", grace_s=0))


def get(box: Running, name: str, namespace: str = "default") -> dict[str, Any]:
    return box.do(lambda api: api.get("pods", name, namespace))


def container(box: Running, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (get(box, name)["status"].get("containerStatuses") or [{}])[0]
    return found


def log(box: Running, name: str) -> str:
    path = f"/api/v1/namespaces/default/pods/{name}/log"
    return str(box.do(lambda api: api.request("GET", path)).get("message", ""))


def over(box: Running, name: str) -> bool:
    return get(box, name)["status"].get("phase") in ("Succeeded", "Failed")


def test_a_command_that_fails_at_once_makes_a_crash_loop(box: Running) -> None:
    make(box, "failing", "registry.sandbox/pause:1", policy="Always", command=["false"])

    def backs_off() -> bool:
        seen = container(box, "failing")
        waiting = seen.get("state", {}).get("waiting", {})
        return seen.get("restartCount", 0) >= 2 and waiting.get("reason") == "CrashLoopBackOff"

    until(backs_off)
    end = container(box, "failing")["lastState"]["terminated"]
    assert (end["exitCode"], end["reason"]) == (1, "Error")
    drop(box, "failing")


def test_a_command_of_the_host_runs_with_the_containers_environment_and_identity_and_its_words_are_kept(
    box: Running,
) -> None:
    script = 'echo "$WORD $(basename "$KUBECONFIG") $HOSTNAME"; grep -c token "$KUBECONFIG"; exit 3'
    words = {"command": ["sh", "-c"], "args": [script], "env": [{"name": "WORD", "value": "word"}]}
    make(box, "speaking", "registry.sandbox/hog:1", **words)
    until(lambda: over(box, "speaking"))
    assert log(box, "speaking").splitlines() == ["word kubeconfig-c speaking", "1"]
    assert container(box, "speaking")["state"]["terminated"]["exitCode"] == 3
    drop(box, "speaking")


def test_the_harness_image_runs_this_harness_with_its_arguments(box: Running) -> None:
    make(box, "helping", "ghcr.io/somebody/focus-harness:9", args=["sandbox", "--help"])
    until(lambda: over(box, "helping"))
    assert "The embedded reference world" in log(box, "helping")
    assert get(box, "helping")["status"]["phase"] == "Succeeded"
    drop(box, "helping")


def test_the_harness_image_acts_as_its_pods_account_and_dies_with_its_kubelet(box: Running) -> None:
    code = (
        "import os, time, kubernetes as k; k.config.load_kube_config()\n"
        "try: k.client.CoreV1Api().list_namespaced_pod(os.environ['POD_NAMESPACE'])\n"
        "except k.client.ApiException as refusal: print(refusal.body)\n"
        "print(os.environ['POD_NAME'], os.environ['POD_IP'], os.environ['NODE_NAME'], flush=True)\n"
        "time.sleep(60)"
    )
    make(box, "acting", "focus-harness", WORKERS[1], command=["python", "-c", code])
    until(lambda: "worker-node-2" in log_or_nothing(box, "acting"))
    said = log(box, "acting").splitlines()
    assert "system:serviceaccount:default:default" in said[0]
    assert said[1] == f"acting {get(box, 'acting')['status']['podIP']} worker-node-2"
    pids = [one.pid for one in containers_of(box.sandbox, WORKERS[1]) if one.role == "focus-harness"]
    assert pids
    command("node", box, WORKERS[1], "kill")
    assert wait_gone(pids, 1)
    command("node", box, WORKERS[1], "start")
    until(lambda: all(node_ready(box, node) for node in WORKERS))
    drop(box, "acting")


def log_or_nothing(box: Running, name: str) -> str:
    return log(box, name) if container(box, name).get("containerID") else ""


def command(word: str, box: Running, *words: str) -> None:
    line = [sys.executable, "-m", "harness", "sandbox", word, "--name", box.sandbox.name, *words]
    done = subprocess.run(line, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0


def node_ready(box: Running, name: str) -> bool:
    node = box.do(lambda api: api.get("nodes", name))
    return any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"]["conditions"])


@pytest.fixture
def guarded(box: Running) -> Iterator[str]:
    """A deployment of one pod on the first worker with a budget that lets none go; its pod's name."""
    labels = {"app": "guarded"}
    spec = {"containers": [{"name": "c", "image": "pause"}], "terminationGracePeriodSeconds": 1}
    template = {"metadata": {"labels": labels}, "spec": spec}
    meta = {"name": "guarded"}
    deployment = {
        "metadata": meta,
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }
    budget = {"metadata": meta, "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}}}
    box.do(lambda api: api.patch("nodes", WORKERS[1], {"spec": {"unschedulable": True}}))
    box.do(lambda api: api.create("deployments.apps", deployment, "default"))
    box.do(lambda api: api.create(BUDGETS, budget, "default"))

    def healthy() -> bool:
        found = box.do(lambda api: api.get(BUDGETS, "guarded", "default"))
        return bool(found.get("status", {}).get("currentHealthy") == 1)

    until(healthy)
    box.do(lambda api: api.patch("nodes", WORKERS[1], {"spec": {"unschedulable": None}}))
    items, _ = box.do(lambda api: api.list("pods", "default", labels="app=guarded"))
    yield str(items[0]["metadata"]["name"])
    box.do(lambda api: api.delete("deployments.apps", "guarded", "default"))
    if "guarded" in budgets(box):
        box.do(lambda api: api.delete(BUDGETS, "guarded", "default"))
    box.do(lambda api: api.patch("nodes", WORKERS[0], {"spec": {"unschedulable": None}}))


def budgets(box: Running) -> set[str]:
    items, _ = box.do(lambda api: api.list(BUDGETS, "default"))
    return {item["metadata"]["name"] for item in items}


def test_the_python_clients_eviction_is_refused_by_a_budget_and_goes_through_without(
    box: Running, guarded: str
) -> None:
    with client.ApiClient(loaded(box)) as line:
        core = client.CoreV1Api(line)
        eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=guarded, namespace="default"))
        with pytest.raises(ApiException) as refusal:
            core.create_namespaced_pod_eviction(guarded, "default", eviction)
        assert refusal.value.status == 429
        assert "disruption budget" in refusal.value.body
        assert "deletionTimestamp" not in get(box, guarded)["metadata"]
        box.do(lambda api: api.delete(BUDGETS, "guarded", "default"))
        core.create_namespaced_pod_eviction(guarded, "default", eviction)
    until(lambda: guarded not in pods(box), 10)


def loaded(box: Running) -> client.Configuration:
    made = client.Configuration()
    config.load_kube_config(str(box.sandbox.kubeconfig), client_configuration=made)
    return made


def pods(box: Running) -> set[str]:
    items, _ = box.do(lambda api: api.list("pods", "default"))
    return {item["metadata"]["name"] for item in items}


@pytest.mark.kubectl
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_drain_waits_for_a_budget_and_drains_the_node_when_it_is_gone(
    box: Running, guarded: str
) -> None:
    drain = [
        "kubectl",
        "--kubeconfig",
        str(box.sandbox.kubeconfig),
        "drain",
        WORKERS[0],
        "--ignore-daemonsets",
    ]
    blocked = subprocess.run(
        [*drain, "--timeout=7s"], capture_output=True, text=True, check=False, timeout=30
    )
    assert blocked.returncode != 0
    assert "Cannot evict pod as it would violate the pod's disruption budget" in blocked.stderr
    assert guarded in pods(box)
    box.do(lambda api: api.delete(BUDGETS, "guarded", "default"))
    done = subprocess.run([*drain, "--timeout=20s"], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    assert guarded not in pods(box)


def test_windows_without_a_pod_address_wait_and_start_by_themselves_when_one_is_free(box: Running) -> None:
    idle = [f"idle-{worker}-{number}" for worker in range(2) for number in range(POD_IPS)]
    for name in idle:
        make(box, name, "pause", WORKERS[int(name.split("-")[1])])
    until(lambda: all(get(box, name)["status"].get("podIP") for name in idle))
    # Shares and slots are there, so Focus Server sees no reason to refuse.
    status, answer = box.configure()
    assert status == 200
    label = f"app=grpc-job-{answer['job_id']}"

    def window() -> dict[str, Any]:
        items, _ = box.do(lambda api: api.list("pods", NAMESPACE, labels=label))
        found: dict[str, Any] = items[0] if items else {"status": {}, "metadata": {}}
        return found

    def starved() -> list[str]:
        name = window()["metadata"].get("name", "")
        events, _ = box.do(lambda api: api.list("events", NAMESPACE, fields=f"involvedObject.name={name}"))
        return [one["message"] for one in events if one["reason"] == "FailedCreatePodSandBox"]

    until(starved)
    assert "no IP addresses available" in starved()[0]
    (state,) = window()["status"]["containerStatuses"]
    assert state["state"]["waiting"]["reason"] == "ContainerCreating"
    time.sleep(3)  # one that waits for an address is not idle: its cleanup pod waits as well
    assert window()["status"]["phase"] == "Pending"
    drop(box, *idle)
    until(lambda: window()["status"].get("phase") == "Running", 8)
    box.drop_all()


def test_a_pod_that_is_over_gives_its_address_back_though_its_object_stays(box: Running) -> None:
    names = [f"brief-{number}" for number in range(POD_IPS + 2)]
    for name in names:
        make(box, name, "pause", command=["true"])
    until(lambda: all(over(box, name) for name in names))
    assert get(box, names[0])["status"]["podIP"]
    drop(box, *names)
