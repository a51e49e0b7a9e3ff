"""A pod that is deleted at once while its container is just being started leaves no process behind."""

import asyncio
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.sandbox.node.podworker import PodWorker
from harness.sandbox.node.runtime import Process


class SlowRuntime:
    """Starts a container in half a second, as a busy host does."""

    def __init__(self) -> None:
        self.starting = asyncio.Event()
        self.signalled: list[tuple[str, int]] = []
        self.on_change = lambda: None

    async def start(self, *_: object) -> Process:
        self.starting.set()
        await asyncio.sleep(0.05)
        return Process("container-1", 4711, asyncio.get_running_loop().create_future(), 1.0)

    def signal(self, process: Process, number: int) -> None:
        self.signalled.append((process.id, number))


class OneContainer(PodWorker):
    """A worker whose life is starting its one container; the rest of a pod's life is not looked at here."""

    async def _live(self) -> None:
        await self._run_once(self.pod["spec"]["containers"][0], self.containers[0], "a:program")

    async def _context(self, *_: Any) -> Any:
        return SimpleNamespace(env={})

    async def _publish_for_ever(self) -> None:
        await asyncio.Event().wait()


async def vanish_while_starting(folder: Path) -> list[tuple[str, int]]:
    runtime = SlowRuntime()
    node: Any = SimpleNamespace(
        runtime=runtime,
        name="node",
        sandbox=SimpleNamespace(node_dir=lambda _name: folder),
        addresses=SimpleNamespace(give_back=lambda _uid: None),
        recorder=SimpleNamespace(record=lambda *_: None),
    )
    pod = {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": [{"name": "c", "image": "pause"}]},
    }
    worker = OneContainer(node, pod)
    leading = asyncio.create_task(worker.run())
    await runtime.starting.wait()
    leading.cancel()  # as the kubelet does when the object is gone
    worker.vanish()
    await asyncio.gather(leading, return_exceptions=True)
    return runtime.signalled


def test_a_container_that_was_being_started_when_its_pod_vanished_is_killed(tmp_path: Path) -> None:
    assert asyncio.run(vanish_while_starting(tmp_path)) == [("container-1", signal.SIGKILL)]
