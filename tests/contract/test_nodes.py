"""Nodes, pods and the data plane of a running sandbox, through its command line and its API, on real processes."""

import http.client
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bson
import pytest

from harness.sandbox.node.containers import containers_of
from harness.sandbox.processes import processes_of
from harness.sandbox.state import Sandbox, read_sandbox

ROOT = Path(__file__).resolve().parents[2]
QUICK = (
    "broker=off",
    "node_grace_s=5",
    "node_heartbeat_s=1",
    "pod_eviction_s=60",
    "pod_ips=6",
    "restart_delay_s=2",
)
WORKER, OTHER = "worker-node", "worker-node-2"


class World:
    """A sandbox, its commands and its API."""

    def __init__(self, name: str, state_home: Path) -> None:
        self.name = name
        self._env = {**os.environ, "XDG_STATE_HOME": str(state_home)}

    def run(self, *arguments: str, code: int | None = 0) -> str:
        """Run `harness sandbox ... --name NAME` and return what it said."""
        command = [sys.executable, "-m", "harness", "sandbox", *arguments, "--name", self.name]
        done = subprocess.run(
            command, cwd=ROOT, env=self._env, capture_output=True, text=True, check=False, timeout=90
        )
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def sandbox(self) -> Sandbox:
        os.environ["XDG_STATE_HOME"] = self._env["XDG_STATE_HOME"]
        try:
            return read_sandbox(self.name)
        finally:
            os.environ.pop("XDG_STATE_HOME")

    def call(self, method: str, path: str, body: dict | None = None, kind: str = "application/json") -> dict:
        """Make one API request as admin and return the object; KeyError for 404."""
        box = self.sandbox
        token = json.loads((box.root / "admin.json").read_text())["token"]
        line = http.client.HTTPSConnection(
            box.addresses.api_host,
            6443,
            timeout=10,
            context=ssl.create_default_context(cafile=str(box.ca_file)),
        )
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
            line.request(method, path, json.dumps(body) if body else None, headers)
            answer = line.getresponse()
            found: dict = json.loads(answer.read())
        finally:
            line.close()
        if answer.status == 404:
            raise KeyError(path)
        assert answer.status < 400, found
        return found

    def pod(self, name: str, image: str = "pause", node: str = OTHER, **container: Any) -> str:
        """Create a pod of one container on a node; return its path."""
        spec = {
            "containers": [{"name": "c", "image": image, **container}],
            "nodeSelector": {"kubernetes.io/hostname": node},
            "terminationGracePeriodSeconds": 5,
        }
        pods = "/api/v1/namespaces/default/pods"
        self.call("POST", pods, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
        return f"{pods}/{name}"

    def until(self, path: str, holds: Callable[[dict], Any], within_s: float = 20) -> dict:
        """Wait until an object fulfils a condition."""
        deadline = time.monotonic() + within_s
        while True:
            seen = self.call("GET", path)
            if holds(seen):
                return seen
            assert time.monotonic() < deadline, json.dumps(seen.get("status", seen))
            time.sleep(0.05)

    def until_gone(self, path: str) -> None:
        """Wait until there is no such object."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                self.call("GET", path)
            except KeyError:
                return
            time.sleep(0.05)
        pytest.fail(f"{path} is still there")

    def events(self, about: str, reason: str) -> list[str]:
        """Return the messages of events about an object."""
        found = self.call(
            "GET", f"/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={about}"
        )
        return [event["message"] for event in found["items"] if event["reason"] == reason]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("state")
    made = World("nodes", home)
    made.run("up", *[word for setting in QUICK for word in ("--set", setting)])
    yield made
    left = made.run("down")
    assert "none is left" in left
    assert processes_of(home / "focus-harness" / "sandboxes" / "nodes") == []


def ready(obj: dict) -> bool:
    conditions = obj.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def state_of(pod: dict) -> dict:
    statuses = pod["status"].get("containerStatuses") or [{}]
    found: dict = statuses[0].get("state", {})
    return found


def waits_for(reason: str) -> Callable[[dict], bool]:
    return lambda pod: state_of(pod).get("waiting", {}).get("reason") == reason


def test_a_ready_sandbox_says_what_runs_and_that_there_is_no_broker(world: World) -> None:
    said = json.loads(world.run("status", "--format", "json"))
    assert (said["ready"], said["broker"]) == (True, "none")
    roles = {process["role"]: process["state"] for process in said["processes"]}
    assert set(roles.values()) == {"running"}
    assert {"control-plane", "ingress", "kubelet/master-node", f"proxy/{WORKER}"} <= set(roles)


def test_the_printed_variables_reach_focus_server_and_mongodb(world: World) -> None:
    said = json.loads(world.run("env", "--format", "json"))
    host, _, path = said["FOCUS_URL"].removeprefix("http://").partition("/")
    line = http.client.HTTPConnection(host, timeout=5)
    line.request("GET", f"/{path}/ack")
    assert line.getresponse().status == 200
    line.close()
    place = said["MONGODB_URI"].partition("@")[2].partition("/")[0]
    with connect(*place.split(":")) as mongodb:
        assert hello(mongodb)["ok"] == 1
    assert "RABBITMQ_URI" not in said
    assert Path(said["KUBECONFIG"]).exists()


def test_a_second_sandbox_of_the_same_name_is_refused_with_a_way_out(world: World) -> None:
    assert "is running already" in world.run("up", code=2)
    assert "it has master-node, worker-node" in world.run("node", "nowhere", "kill", code=2)
    assert "nothing runs as 'nobody'" in world.run("process", "nobody", "kill", code=2)


def test_an_unknown_image_ends_in_a_failed_pull(world: World) -> None:
    path = world.pod("strange", "example.org/strange:1")
    world.until(path, waits_for("ImagePullBackOff"))
    assert "Error: ErrImagePull" in world.events("strange", "Failed")
    world.call("DELETE", path)
    world.until_gone(path)


def test_a_pod_waits_for_its_configuration_and_then_gets_it(world: World) -> None:
    source = {"configMapKeyRef": {"name": "wanted", "key": "word"}}
    path = world.pod("waiting", env=[{"name": "WORD", "valueFrom": source}])
    world.until(path, waits_for("CreateContainerConfigError"))
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "wanted"},
        "data": {"word": "granted"},
    }
    world.call("POST", "/api/v1/namespaces/default/configmaps", config)
    world.until(path, ready)
    if shutil.which("kubectl"):
        said = kubectl(world, "exec", "waiting", "--", "sh", "-c", "echo $WORD; exit 3", code=3)
        assert said.startswith("granted")
    world.call("DELETE", path)
    world.until_gone(path)


def kubectl(world: World, *words: str, code: int = 0) -> str:
    command = ["kubectl", "--kubeconfig", str(world.sandbox.kubeconfig), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == code, done.stderr
    return done.stdout


def test_a_killed_container_is_missed_for_the_restart_delay_and_comes_back(world: World) -> None:
    path = world.pod("mortal")
    before = world.until(path, ready)
    world.run("process", "mortal", "kill")
    world.until(path, waits_for("CrashLoopBackOff"))
    after = world.until(
        path, lambda pod: ready(pod) and pod["status"]["containerStatuses"][0]["restartCount"] == 1
    )
    end = after["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (end["exitCode"], end["reason"]) == (137, "Error")
    assert after["status"]["podIP"] == before["status"]["podIP"]
    world.call("DELETE", path)
    world.until_gone(path)


def test_a_container_that_fails_its_liveness_probe_is_ended_and_started_again(world: World) -> None:
    alive = {"exec": {"command": ["test", "!", "-e", "dead"]}, "periodSeconds": 1, "failureThreshold": 1}
    path = world.pod("probed", livenessProbe=alive)
    pod = world.until(path, ready)
    own = world.sandbox.node_dir(OTHER) / "pods" / pod["metadata"]["uid"] / "own"
    (own / "dead").touch()
    world.until(path, waits_for("CrashLoopBackOff"))
    assert "Container c failed liveness probe, will be restarted" in world.events("probed", "Killing")
    (own / "dead").unlink()
    world.until(path, ready)
    world.call("DELETE", path)
    world.until_gone(path)


def test_pods_beyond_the_address_range_stay_in_creation_until_an_address_is_free(world: World) -> None:
    paths = [world.pod(f"crowd-{number}", node=WORKER) for number in range(7)]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        starved = [path for path in paths if not ready(world.call("GET", path))]
        texts = [
            text
            for path in starved
            for text in world.events(path.rsplit("/", 1)[1], "FailedCreatePodSandBox")
        ]
        if texts and len(starved) == 1:
            break
        time.sleep(0.1)
    assert "no IP addresses available" in texts[0]
    assert len(starved) == 1
    free = next(path for path in paths if path not in starved)
    world.call("DELETE", free)
    world.until(starved[0], ready)
    for path in paths:
        if path != free:
            world.call("DELETE", path)
    for path in paths:
        world.until_gone(path)


def test_a_killed_kubelet_takes_its_pods_along_a_frozen_one_does_not_and_both_fall_silent(
    world: World,
) -> None:
    path, sleeper = world.pod("doomed", node=WORKER), world.pod("sleeper", node=OTHER)
    world.until(path, ready)
    world.until(sleeper, ready)
    world.run("node", OTHER, "freeze")
    pids = [container.pid for container in containers_of(world.sandbox, WORKER)]
    assert pids
    assert "containers with it" in world.run("node", WORKER, "kill")
    assert containers_of(world.sandbox, WORKER) == []
    assert not {process.pid for process in processes_of(world.sandbox.root)} & set(pids)
    node = f"/api/v1/nodes/{WORKER}"
    world.until(node, lambda seen: not ready(seen))
    world.until(path, lambda pod: not ready(pod))
    world.until(sleeper, lambda pod: not ready(pod))
    world.run("node", OTHER, "thaw")
    assert "is not running" in world.run("node", WORKER, "freeze", code=2)
    world.run("node", WORKER, "start")
    world.until(node, ready)
    world.until(node, lambda seen: not seen["spec"].get("taints"))
    again = world.until(path, ready)
    assert again["status"]["containerStatuses"][0]["restartCount"] == 1
    world.until(f"/api/v1/nodes/{OTHER}", ready)
    slept = world.until(sleeper, ready)
    assert slept["status"]["containerStatuses"][0]["restartCount"] == 0
    for left in (path, sleeper):
        world.call("DELETE", left)
        world.until_gone(left)


def test_streams_outlive_a_frozen_kubelet_and_stop_with_a_frozen_proxy(world: World) -> None:
    with connect(*mongodb_port(world)) as stream:
        assert hello(stream)["ok"] == 1
        world.run("node", "master-node", "freeze")
        assert hello(stream)["ok"] == 1
        world.run("node", "master-node", "thaw")
        world.run("process", f"proxy/{OTHER}", "freeze")
        stream.settimeout(0.5)
        with pytest.raises(TimeoutError):
            hello(stream)
        world.run("process", f"proxy/{OTHER}", "thaw")


def test_streams_and_nodes_outlive_the_control_plane(world: World) -> None:
    with connect(*mongodb_port(world)) as stream:
        world.run("process", "control-plane", "kill")
        assert hello(stream)["ok"] == 1
        assert "control plane" in world.run("status", code=10)
        world.run("process", "control-plane", "start")
        deadline = time.monotonic() + 20
        while '"ready": true,\n "mode"' not in world.run("status", "--format", "json", code=None):
            assert time.monotonic() < deadline
        assert all(ready(node) for node in world.call("GET", "/api/v1/nodes")["items"])
        assert hello(stream)["ok"] == 1


def test_a_service_without_endpoints_refuses_and_established_connections_stay(world: World) -> None:
    host, port = mongodb_port(world)
    path = "/api/v1/namespaces/panda/services/extra"
    merge = "application/merge-patch+json"
    with connect(host, port) as stream:
        world.call("PATCH", path, {"spec": {"selector": {"app": "nobody"}}}, merge)
        deadline = time.monotonic() + 10
        while True:
            try:
                connect(host, port).close()
            except ConnectionRefusedError:
                break
            except ConnectionResetError:  # in the very moment
                pass
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert hello(stream)["ok"] == 1
    world.call("PATCH", path, {"spec": {"selector": {"app": "mongodb"}}}, merge)


def mongodb_port(world: World) -> tuple[str, int]:
    """Return where a NodePort service of the test's own reaches MongoDB."""
    path = "/api/v1/namespaces/panda/services"
    try:
        service = world.call("GET", f"{path}/extra")
    except KeyError:
        spec = {"type": "NodePort", "selector": {"app": "mongodb"}, "ports": [{"port": 27017}]}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "extra"}, "spec": spec}
        service = world.call("POST", path, body)
    place = world.sandbox.node_ip(OTHER), service["spec"]["ports"][0]["nodePort"]
    deadline = time.monotonic() + 10
    while True:
        try:
            connect(*place).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return place


def connect(host: str, port: str | int) -> socket.socket:
    return socket.create_connection((host, int(port)), timeout=5)


def hello(stream: socket.socket) -> dict:
    """Ask a MongoDB server who it is, by OP_MSG."""
    body = struct.pack("<i", 0) + b"\0" + bson.encode({"hello": 1, "$db": "admin"})
    stream.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, 2013) + body)
    head = receive(stream, 16)
    answer = receive(stream, struct.unpack("<i", head[:4])[0] - 16)
    found: dict = bson.decode(answer[5:])
    return found


def receive(stream: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        part = stream.recv(length - len(received))
        assert part, "closed"
        received += part
    return received
