"""What the watch cache says about shares and slots, fed by hand."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from harness.sandbox.pods.analyzer_arguments import Assignment
from harness.sandbox.pods.derived import View
from harness.sandbox.pods.focus_server import objects
from harness.sandbox.pods.focus_server.world import World, slot_of
from harness.sandbox.settings import Settings
from harness.sandbox.truth import TruthLog, read

SETTINGS = Settings.make("seed", "fast", ["gpu_shares=2"])
ASSIGNMENT = Assignment("3-7", View(0, 50, 1024, 0, 500, 0.1, 3))


class Events:
    """A hand-written Api that has only `watch`: yields what a test puts in and SYNCED at once."""

    def __init__(self) -> None:
        self.queues: dict[str, asyncio.Queue[tuple[str, Any]]] = {}

    def queue(self, resource: str) -> asyncio.Queue[tuple[str, Any]]:
        return self.queues.setdefault(resource, asyncio.Queue())

    async def watch(
        self, resource: str, namespace: str | None = None, **_: Any
    ) -> AsyncIterator[tuple[str, Any]]:
        yield "SYNCED", {}
        while True:
            yield await self.queue(resource).get()


def node(name: str, *, ready: bool = True, cordoned: bool = False, taint: str = "") -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {
            "unschedulable": cordoned,
            "taints": [{"key": taint, "effect": "NoSchedule"}] if taint else [],
        },
        "status": {
            "allocatable": {"nvidia.com/gpu.shared": "2"},
            "addresses": [{"type": "InternalIP", "address": "127.9.1.2"}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}],
        },
    }


def pod(uid: str, on: str = "", *, app: str = "", phase: str = "Running", shares: int = 1) -> dict[str, Any]:
    limits = {"nvidia.com/gpu.shared": str(shares)}
    return {
        "metadata": {"name": uid, "uid": uid, "labels": {"app": app} if app else {}},
        "spec": {"nodeName": on, "containers": [{"resources": {"limits": limits}}]},
        "status": {"phase": phase},
    }


class Fed:
    def __init__(self, tmp_path: Path) -> None:
        self.events = Events()
        self.folder = tmp_path
        self.truth = TruthLog(tmp_path, "test")
        self.world = World(self.events, SETTINGS, self.truth)  # type: ignore[arg-type]

    async def tell(self, resource: str, kind: str, *objs: dict[str, Any]) -> None:
        for obj in objs:
            self.events.queue(resource).put_nowait((kind, obj))
        for _ in range(8):
            await asyncio.sleep(0)


def played(tmp_path: Path, story: Any) -> list[dict[str, Any]]:
    async def run() -> None:
        fed = Fed(tmp_path)
        following = asyncio.create_task(fed.world.follow())
        await fed.tell("nodes", "ADDED", node("worker-node"), node("worker-node-2"))
        await story(fed)
        following.cancel()
        fed.truth.close()

    asyncio.run(run())
    return read(tmp_path)


def test_bound_unfinished_pods_hold_shares(tmp_path: Path) -> None:
    async def story(fed: Fed) -> None:
        assert fed.world.shares().registered == 4
        await fed.tell(
            "pods", "ADDED", pod("a", "worker-node"), pod("b", ""), pod("c", "worker-node-2", phase="Failed")
        )
        assert fed.world.shares().registered == 3
        await fed.tell("pods", "MODIFIED", pod("a", "worker-node", phase="Succeeded"))
        assert fed.world.shares().registered == 4
        await fed.tell("pods", "ADDED", pod("d", "worker-node-2", shares=2))
        assert fed.world.shares().registered == 2
        await fed.tell("pods", "DELETED", pod("d", "worker-node-2", shares=2))
        assert fed.world.shares().registered == 4

    played(tmp_path, story)


@pytest.mark.parametrize("change", [{"cordoned": True}, {"ready": False}, {"taint": "maintenance"}], ids=str)
def test_a_worker_out_of_service_keeps_registered_shares_only(tmp_path: Path, change: dict[str, Any]) -> None:
    async def story(fed: Fed) -> None:
        await fed.tell("nodes", "MODIFIED", node("worker-node", **change))
        assert (fed.world.shares().registered, fed.world.shares().available) == (4, 2)

    facts = played(tmp_path, story)
    assert [f["available_free"] for f in facts if f["kind"] == "shares"][-1] == 2


def test_a_window_holds_its_share_before_its_pod_is_bound_and_only_once(tmp_path: Path) -> None:
    async def story(fed: Fed) -> None:
        world = fed.world
        world.promise("3-7")
        assert world.shares().registered == 3
        await fed.tell("jobs.batch", "ADDED", objects.grpc_job(ASSIGNMENT, SETTINGS, {}))
        assert world.shares().registered == 3
        await fed.tell("pods", "ADDED", pod("p", "worker-node", app="grpc-job-3-7"))
        assert world.shares().registered == 3
        await fed.tell("services", "ADDED", objects.service(ASSIGNMENT, 3, SETTINGS))
        assert world.shares().registered == 3

    played(tmp_path, story)


def test_a_slot_is_held_from_the_promise_until_service_and_unfinished_job_are_gone(tmp_path: Path) -> None:
    async def story(fed: Fed) -> None:
        world = fed.world
        assert world.free_slot() == 1
        world.promise("1-1")
        assert world.free_slot() == 2
        job, service = objects.grpc_job(ASSIGNMENT, SETTINGS, {}), objects.service(ASSIGNMENT, 3, SETTINGS)
        await fed.tell("jobs.batch", "ADDED", job)
        await fed.tell("services", "ADDED", service)
        assert world.held() == {1: "1-1", 3: "3-7"}
        finished = job | {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
        await fed.tell("jobs.batch", "MODIFIED", finished)
        assert 3 in world.held()
        await fed.tell("services", "DELETED", service)
        assert world.held() == {1: "1-1"}
        world.settle("1-1")
        assert world.held() == {}

    facts = played(tmp_path, story)
    assert [(f["slot"], f["job_id"]) for f in facts if f["kind"] == "slot_released"] == [
        (3, "3-7"),
        (1, "1-1"),
    ]


def test_names_of_other_things_have_no_slot() -> None:
    assert slot_of("grpc-job-12-70788") == 12
    assert slot_of("focus-server") is None
    assert slot_of("grpc-service-a-b") is None
