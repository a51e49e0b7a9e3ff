import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from small_cluster import GPU, JOBS, NS, Cluster, job, play

from harness.sandbox.recorder import now, now_micro


def gpu_pod(name: str, shares: int = 1, **spec: Any) -> dict:
    container = {"name": "c", "image": "pause", "resources": {"limits": {GPU: str(shares)}}}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


async def bound(c: Cluster, name: str) -> str:
    pod = await c.field("pods", name, lambda p: p["spec"].get("nodeName"))
    return str(pod["spec"]["nodeName"])


async def why(c: Cluster, name: str) -> str:
    def refused(pod: dict) -> list:
        return [one for one in pod["status"].get("conditions", []) if one.get("reason") == "Unschedulable"]

    pod = await c.field("pods", name, refused)
    said = str(refused(pod)[0]["message"])
    assert said in await c.events(name, "FailedScheduling")
    return said


def test_shares_are_never_given_twice_and_are_spread(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        for name in ("a", "b"):
            await c.node(name, shares=3)
        for number in range(7):
            await c.api.create("pods", gpu_pod(f"p{number}"), NS)
        nodes = [await bound(c, f"p{number}") for number in range(6)]
        assert sorted(nodes) == ["a"] * 3 + ["b"] * 3
        text = await why(c, "p6")
        assert text.startswith(f"0/2 nodes are available: 2 Insufficient {GPU}.")
        await c.api.delete("pods", "p0", NS, grace_s=0)
        assert await bound(c, "p6") == nodes[0]

    play(tmp_path, scenario)


def test_a_cordoned_node_takes_nothing_and_takes_again_when_uncordoned(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.node("a")
        await c.api.patch("nodes", "a", {"spec": {"unschedulable": True}})
        await c.api.create("pods", gpu_pod("p"), NS)
        assert "1 node(s) were unschedulable" in await why(c, "p")
        tainted = await c.api.get("nodes", "a")
        assert [taint["key"] for taint in tainted["spec"]["taints"]] == ["node.kubernetes.io/unschedulable"]
        await c.api.patch("nodes", "a", {"spec": {"unschedulable": None}})
        assert await bound(c, "p") == "a"

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"nodeSelector": {"no": "such"}}, "1 node(s) didn't match Pod's node affinity/selector"),
        (
            {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "9"}}}]},
            "1 Insufficient cpu",
        ),
    ],
)
def test_a_pod_that_fits_nowhere_says_why(tmp_path: Path, spec: dict, reason: str) -> None:
    async def scenario(c: Cluster) -> None:
        await c.node("a")
        pod = gpu_pod("p")
        pod["spec"].update(spec)
        await c.api.create("pods", pod, NS)
        assert reason in await why(c, "p")

    play(tmp_path, scenario)


def test_a_taint_is_for_those_who_tolerate_it(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.node("a", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}])
        await c.api.create("pods", gpu_pod("refused"), NS)
        tolerant = [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}]
        await c.api.create("pods", gpu_pod("tolerant", tolerations=tolerant), NS)
        assert await bound(c, "tolerant") == "a"
        assert "1 node(s) had untolerated taint(s)" in await why(c, "refused")

    play(tmp_path, scenario)


def test_jobs_wait_for_shares_and_get_them_in_the_order_of_their_creation(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.node("a", shares=1)
        await c.api.create(JOBS, job("first", shares=1), NS)
        (holder,) = await c.some_pods(1)
        await bound(c, holder["metadata"]["name"])
        for name in ("second", "third"):
            await c.api.create(JOBS, job(name, shares=1), NS)
            (waiting,) = await c.some_pods(1, **{"job-name": name})
            await why(c, waiting["metadata"]["name"])
            await asyncio.sleep(1.0 if name == "second" else 0)  # creation times are whole seconds
        await c.play(holder, "Succeeded")
        (second,) = await c.some_pods(1, **{"job-name": "second"})
        assert await bound(c, second["metadata"]["name"]) == "a"
        (third,) = await c.some_pods(1, **{"job-name": "third"})
        assert not third["spec"].get("nodeName")

    play(tmp_path, scenario)


async def speak(c: Cluster, name: str) -> None:
    """Be a node that is alive: say that it is Ready, again and again."""
    while True:
        said = {
            "type": "Ready",
            "status": "True",
            "lastHeartbeatTime": now_micro(),
            "lastTransitionTime": now(),
        }
        await c.api.patch("nodes", name, {"status": {"conditions": [said]}}, subresource="status")
        await asyncio.sleep(0.05)


def test_a_silent_node_is_unknown_its_pods_are_not_ready_and_then_go(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.node("a")
        speaking = asyncio.create_task(speak(c, "a"))
        await c.api.create("pods", gpu_pod("p"), NS)
        await bound(c, "p")
        await c.play(await c.api.get("pods", "p", NS), "Running")
        speaking.cancel()

        async def silent() -> dict | None:
            node = await c.api.get("nodes", "a")
            ready = {one["type"]: one["status"] for one in node["status"]["conditions"]}["Ready"]
            return node if ready == "Unknown" and node["spec"].get("taints") else None

        node = await c.until(silent)
        effects = {(one["key"], one["effect"]) for one in node["spec"]["taints"]}
        assert effects == {("node.kubernetes.io/unreachable", e) for e in ("NoSchedule", "NoExecute")}

        def unready(pod: dict) -> bool:
            return {one["type"]: one["status"] for one in pod["status"]["conditions"]}["Ready"] == "False"

        await c.field("pods", "p", unready)
        await c.field("pods", "p", lambda pod: pod["metadata"].get("deletionTimestamp"))
        speaking = asyncio.create_task(speak(c, "a"))

        async def believed() -> bool:
            return not (await c.api.get("nodes", "a"))["spec"].get("taints")

        await c.until(believed)
        speaking.cancel()

    play(tmp_path, scenario, node_grace_s=1.0, node_monitor_s=0.1, pod_eviction_s=0.4)


def test_time_in_which_the_control_plane_stood_still_is_not_held_against_a_node(tmp_path: Path) -> None:
    async def scenario(c: Cluster) -> None:
        await c.node("a")
        speaking = asyncio.create_task(speak(c, "a"))
        await asyncio.sleep(0.3)
        speaking.cancel()
        await asyncio.sleep(0.3)
        time.sleep(2.5)  # noqa: ASYNC251 - the whole control plane stands still
        await asyncio.sleep(0.5)
        node = await c.api.get("nodes", "a")
        assert {one["type"]: one["status"] for one in node["status"]["conditions"]}["Ready"] == "True"
        assert not node["spec"].get("taints")

    play(tmp_path, scenario, node_grace_s=2.0, node_monitor_s=0.1)
