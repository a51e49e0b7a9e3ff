"""The hands on network and API, their timers, and NetworkPolicies, on a running sandbox by its command line."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from focus_server_world import NAMESPACE, Running, running, until

from harness.sandbox.api import ApiStatus, RestApi

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("sandbox-hands")]

WORKER, OTHER, MASTER = "worker-node", "worker-node-2", "master-node"
POLICIES = "networkpolicies.networking.k8s.io"
GRACE_S = 5


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = ("broker=off", f"node_grace_s={GRACE_S}", "node_heartbeat_s=1")
    with running("hands", tmp_path_factory.mktemp("state"), *options) as sandbox:
        until(sandbox.can_create)
        until(sandbox.no_windows)
        yield sandbox


def hands(box: Running, *words: str, code: int = 0) -> str:
    """Run `harness sandbox ...` and return what it said."""
    command = [sys.executable, "-m", "harness", "sandbox", words[0], "--name", box.sandbox.name, *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def status(box: Running) -> dict[str, Any]:
    command = [sys.executable, "-m", "harness", "sandbox", "status", "--name", box.sandbox.name]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def state_of(box: Running, role: str) -> tuple[str, str]:
    """Return what `status` says of a process: its state and how it is impaired."""
    found = next(one for one in status(box)["processes"] if one["role"] == role)
    return found["state"], found["impairment"]


@pytest.fixture(scope="module")
def port(box: Running) -> int:
    """A node port at which Focus Server answers, for clients that are not the ingress."""
    spec = {"type": "NodePort", "selector": {"app": "focus-server"}, "ports": [{"port": 5000}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "extra"}, "spec": spec}
    made = box.do(lambda api: api.create("services", service, NAMESPACE))
    found: int = made["spec"]["ports"][0]["nodePort"]
    until(lambda: answers(box, found))
    return found


def answers(box: Running, port: int) -> bool:
    try:
        with client(box, port) as line:
            return ack_s(line) < 5
    except OSError:
        return False


@contextmanager
def client(
    box: Running, port: int, node: str = WORKER, source: str = ""
) -> Iterator[http.client.HTTPConnection]:
    """Give a kept connection to Focus Server through a node."""
    line = http.client.HTTPConnection(
        box.sandbox.node_ip(node), port, timeout=5, source_address=(source, 0) if source else None
    )
    try:
        line.connect()
        yield line
    finally:
        line.close()


def ack_s(line: http.client.HTTPConnection) -> float:
    """Ask over an established connection and give the seconds it took."""
    began = time.monotonic()
    line.request("GET", "/ack")
    assert line.getresponse().read() == b"{}"
    return time.monotonic() - began


def stands_still(line: http.client.HTTPConnection) -> bool:
    """Send a request; say whether nothing at all comes back for a while. Its answer may come later."""
    line.request("GET", "/ack")
    assert line.sock is not None
    line.sock.settimeout(0.4)
    try:
        line.sock.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return True
    finally:
        line.sock.settimeout(5)
    return False


def held_answer_s(line: http.client.HTTPConnection) -> float:
    """Give the seconds until the answer of a request that stood still is there, on the same connection."""
    began = time.monotonic()
    assert line.getresponse().read() == b"{}"
    return time.monotonic() - began


def test_a_slow_network_is_slow_both_ways_on_its_node_only_and_for_what_is_established(
    box: Running, port: int
) -> None:
    with client(box, port) as line, client(box, port, OTHER) as other:
        assert ack_s(line) < 0.25
        hands(box, "network", WORKER, "slow", "150ms")
        assert state_of(box, f"proxy/{WORKER}")[1] == "slower by 0.15 s"
        assert 0.3 <= ack_s(line) < 0.8
        assert ack_s(other) < 0.25
        with client(box, port) as late:
            assert 0.3 <= ack_s(late) < 0.8
        hands(box, "network", WORKER, "slow")  # 200ms, armed anew
        assert 0.4 <= ack_s(line) < 0.9
        for _ in range(2):
            hands(box, "network", WORKER, "clear", "")
        assert state_of(box, f"proxy/{WORKER}") == ("running", "")
        assert ack_s(line) < 0.25


def test_a_dropping_network_stands_still_and_what_it_held_flows_again(box: Running, port: int) -> None:
    with client(box, port) as line:
        ack_s(line)
        hands(box, "network", WORKER, "drop")
        time.sleep(0.2)
        assert stands_still(line)
        with client(box, port) as late:
            assert stands_still(late)
            hands(box, "process", f"proxy/{OTHER}", "kill")
            hands(box, "network", OTHER, "drop")
            hands(box, "process", f"proxy/{OTHER}", "start")
            until(lambda: not refused(box, port, OTHER))
            with client(box, port, OTHER) as after_restart:
                assert stands_still(after_restart)
                hands(box, "network", OTHER, "clear")
                assert held_answer_s(after_restart) < 1
            hands(box, "network", WORKER, "clear")
            assert held_answer_s(line) < 1
            assert held_answer_s(late) < 1


def refused(box: Running, port: int, node: str) -> bool:
    try:
        with client(box, port, node):
            return False
    except ConnectionRefusedError:
        return True


def test_dropping_at_the_master_takes_the_services_from_the_pods(box: Running) -> None:
    hands(box, "network", MASTER, "drop")
    try:
        until(lambda: box.configure("cut-off")[0] == 503)
        facts = box.truth(kind="refusal", request_id="cut-off")
        assert facts[-1]["causes"] == ["mongodb_unavailable"]
    finally:
        hands(box, "network", MASTER, "clear")
    until(box.can_create, 10)


def test_what_has_no_such_node_verb_or_amount_is_refused(box: Running) -> None:
    assert "no node 'nowhere'" in hands(box, "network", "nowhere", "drop", code=2)
    assert "write it like 200ms" in hands(box, "network", WORKER, "slow", "fast", code=2)
    assert "write it like 200ms" in hands(box, "api", "slow", "2", code=2)


def get_s(box: Running) -> float:
    began = time.monotonic()
    box.do(lambda api: api.get("namespaces", NAMESPACE))
    return time.monotonic() - began


def test_a_slow_api_answers_late_while_watches_go_on(box: Running) -> None:
    seen: dict[str, float] = {}

    async def follow(api: RestApi) -> None:
        async for _, obj in api.watch("configmaps", "default"):
            if obj and obj["metadata"]["name"] == "late":
                seen["late"] = time.monotonic()
                return

    watching = threading.Thread(target=box.do, args=(follow,))
    watching.start()
    time.sleep(0.5)
    hands(box, "api", "slow", "600ms")
    try:
        time.sleep(0.15)
        assert 0.6 <= get_s(box) < 1.2
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}}
        box.do(lambda api: api.create("configmaps", config, "default"))
        done = time.monotonic()
        watching.join(5)
        assert seen["late"] - done < 0.2
        hands(box, "api", "slow")
        time.sleep(0.15)
        assert box.configure("slow-api") == (503, {"detail": "Service Unavailable"})
        assert box.refusal("slow-api")["primary"] == "kubernetes_unreachable"
    finally:
        hands(box, "api", "up")
    time.sleep(0.15)
    assert get_s(box) < 0.3
    until(box.can_create, 10)


def pods(box: Running) -> dict[str, tuple[str, int]]:
    items, _ = box.do(lambda api: api.list("pods", NAMESPACE))
    return {
        pod["metadata"]["uid"]: (
            pod["status"]["phase"],
            pod["status"]["containerStatuses"][0]["restartCount"],
        )
        for pod in items
        if not pod["metadata"]["name"].startswith(("grpc-", "cleanup-"))
    }


@pytest.mark.parametrize("way", ["down", "freeze"])
def test_an_api_that_was_away_comes_back_with_everything_and_holds_nothing_against_the_nodes(
    box: Running, port: int, way: str
) -> None:
    before, since_ns = pods(box), time.monotonic_ns()
    assert {phase for phase, _ in before.values()} == {"Running"}
    with client(box, port) as line:
        if way == "down":
            for _ in range(2):
                hands(box, "api", "down")
            assert box.configure("no-api") == (503, {"detail": "Service Unavailable"})
            assert box.refusal("no-api")["primary"] == "kubernetes_unreachable"
        else:
            hands(box, "process", "control-plane", "freeze")
        time.sleep(GRACE_S + 2)
        assert ack_s(line) < 0.25
        for _ in range(2):
            hands(box, "api", "up")
        until(box.can_create, 5)
        assert ack_s(line) < 0.25
    time.sleep(GRACE_S + 2)
    assert status(box)["ready"]
    assert pods(box) == before
    assert not [fact for fact in box.truth(since_ns, kind="node") if not fact["ready"]]
    assert not box.truth(since_ns, kind="focus_server_started")
    # Scheduler, controllers, kubelets and proxies all had to find the new one for this.
    assert box.configure()[0] == 200
    box.drop_all()


def test_hands_that_take_back_what_is_not_there_say_so_and_succeed(box: Running) -> None:
    assert "is not frozen" in hands(box, "node", WORKER, "thaw")
    assert "runs already" in hands(box, "node", WORKER, "start")
    assert "is not frozen" in hands(box, "process", "mongodb", "thaw")
    assert "runs already" in hands(box, "process", "mongodb", "start")
    assert "is not frozen" in hands(box, "process", "ingress", "thaw")
    hands(box, "process", "ingress", "kill")
    assert "not running" in hands(box, "process", "ingress", "thaw")
    assert "start it first" in hands(box, "process", "ingress", "freeze", code=2)
    for _ in range(2):
        hands(box, "process", "ingress", "start")
    until(lambda: status(box)["ready"])


def test_a_timer_acts_though_whoever_armed_it_is_dead_unless_it_is_replaced_or_forgotten(
    box: Running,
) -> None:
    role = f"proxy/{WORKER}"
    hands(box, "network", WORKER, "drop")
    hands(box, "network", OTHER, "drop")
    hands(box, "node", OTHER, "freeze")
    command = f"{sys.executable} -m harness sandbox later --name {box.sandbox.name} w 6 network {WORKER} clear; sleep 60"
    caller = subprocess.Popen(["sh", "-c", command], start_new_session=True, stdout=subprocess.DEVNULL)
    until(lambda: [one["name"] for one in status(box)["timers"]] == ["w"])
    os.killpg(caller.pid, signal.SIGKILL)
    caller.wait()
    hands(box, "later", "o", "3", "network", OTHER, "clear")
    assert "armed anew" in hands(box, "later", "o", "60", "network", OTHER, "clear")
    hands(box, "later", "n", "1", "node", OTHER, "thaw")
    assert state_of(box, role) == ("running", "lets nothing through")
    until(lambda: state_of(box, role) == ("running", ""), 12)
    until(lambda: state_of(box, f"kubelet/{OTHER}")[0] == "running", 10)
    assert state_of(box, f"proxy/{OTHER}")[1] == "lets nothing through"
    assert "is forgotten" in hands(box, "later", "o", "0")
    assert "was not armed" in hands(box, "later", "o", "0", "network", OTHER, "clear")
    assert status(box)["timers"] == []
    hands(box, "network", OTHER, "clear")


def test_a_timer_brings_the_api_back_and_one_that_fails_says_so_in_the_log(box: Running) -> None:
    hands(box, "later", "api", "12", "api", "up")  # a command may take seconds to start
    hands(box, "api", "down")
    assert state_of(box, "control-plane")[0] == "ended"
    hands(box, "process", "ingress", "kill")
    until(lambda: state_of(box, "control-plane")[0] == "running", 20)
    hands(box, "node", OTHER, "kill")
    hands(box, "later", "bad", "1", "node", OTHER, "freeze")
    log = box.sandbox.root / "supervisor.log"
    until(
        lambda: f"timer bad: node {OTHER} freeze failed: kubelet/{OTHER} is not running" in log.read_text(), 5
    )
    for role in (f"kubelet/{OTHER}", "ingress"):
        hands(box, "process", role, "start")
    until(lambda: status(box)["ready"])
    assert "cannot be done later" in hands(box, "later", "x", "5", "pod", "kill", code=2)


@contextmanager
def policy(box: Running, ingress: list[dict[str, Any]], app: str = "focus-server") -> Iterator[None]:
    """Have a NetworkPolicy for some pods while the block runs."""
    spec = {"podSelector": {"matchLabels": {"app": app}}, "ingress": ingress}
    body = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p"},
        "spec": spec,
    }
    box.do(lambda api: api.create(POLICIES, body, NAMESPACE))
    try:
        time.sleep(0.5)
        yield
    finally:
        box.do(lambda api: api.delete(POLICIES, "p", NAMESPACE))


def test_a_policy_drops_what_it_does_not_allow_and_lets_it_flow_again_when_it_goes(
    box: Running, port: int
) -> None:
    with client(box, port) as line, ExitStack() as later:
        ack_s(line)
        with policy(box, []):
            assert stands_still(line)
            late = later.enter_context(client(box, port))
            assert stands_still(late)
            # The ingress and the probes do not go through a Service: the pod stays ready.
            assert box.ask("GET", "/focus-server/ack")[0] == 200
        assert held_answer_s(late) < 0.5
        assert held_answer_s(line) < 0.5
        assert ack_s(line) < 0.25


def test_a_policy_knows_pods_by_the_address_they_come_from(box: Running, port: int) -> None:
    container = {"name": "c", "image": "pause"}
    friend = {
        "metadata": {"name": "friend", "labels": {"app": "friend"}},
        "spec": {"containers": [container]},
    }
    box.do(lambda api: api.create("pods", friend, NAMESPACE))
    found: dict[str, Any] = {}

    def has_address() -> bool:
        found.update(box.do(lambda api: api.get("pods", "friend", NAMESPACE)))
        return bool(found["status"].get("podIP"))

    until(has_address)
    try:
        rule = {"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}], "ports": [{"port": 5000}]}
        with policy(box, [rule]):
            with client(box, port, source=found["status"]["podIP"]) as inside:
                assert ack_s(inside) < 0.5
            with client(box, port) as outside:
                assert stands_still(outside)
        with policy(box, [{"from": [{"ipBlock": {"cidr": "127.0.0.1/32"}}]}]), client(box, port) as outside:
            assert ack_s(outside) < 0.5
    finally:
        box.do(lambda api: api.delete("pods", "friend", NAMESPACE, grace_s=0))


def test_a_policy_can_cut_off_one_pod_from_another(box: Running) -> None:
    def only(operator: str) -> dict[str, Any]:
        term = {"key": "app", "operator": operator, "values": ["focus-server"]}
        return {"from": [{"podSelector": {"matchExpressions": [term]}}]}

    with policy(box, [only("In")], "mongodb"):
        assert box.configure()[0] == 200
    with policy(box, [only("NotIn")], "mongodb"):
        until(lambda: box.configure("parted")[0] == 503, 5)
        assert box.truth(kind="refusal", request_id="parted")[-1]["causes"] == ["mongodb_unavailable"]
    until(box.can_create, 10)
    box.drop_all()


def test_a_policy_that_no_proxy_could_read_is_refused(box: Running) -> None:
    both = {"ipBlock": {"cidr": "127.0.0.0/8"}, "podSelector": {}}
    for peer, says in (
        ({"ipBlock": {"cidr": "everywhere"}}, "ipBlock.cidr: Invalid value"),
        ({"ipBlock": {"cidr": "127.0.0.0/8", "except": ["x"]}}, "ipBlock.except[0]: Invalid value"),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}},
            "operator: Invalid value",
        ),
        ({}, "must specify a peer"),
        (both, "may not specify both ipBlock and another peer"),
    ):
        body = nothing()
        body["spec"]["ingress"] = [{"from": [peer]}]
        with pytest.raises(ApiStatus) as refusal:
            box.do(lambda api, body=body: api.create(POLICIES, body, NAMESPACE))
        assert refusal.value.code == 422
        assert says in refusal.value.message


def nothing() -> dict[str, Any]:
    spec = {"podSelector": {"matchLabels": {"app": "nobody"}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p"},
        "spec": spec,
    }
