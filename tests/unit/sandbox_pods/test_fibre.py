"""The fibre's metadata on its way from the player to Focus Server, over a real connection."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.sandbox.api import ApiStatus
from harness.sandbox.pods import fibre
from harness.sandbox.pods.focus_server import fibre as knowing
from harness.sandbox.settings import Settings
from harness.sandbox.truth import TruthLog, read

HOST = "127.0.13.1"


class Pods:
    """A hand-written Api that has only `list`: the pods a test names, or a refusal."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.refuses = False
        self.asked: list[str | None] = []

    async def list(
        self, resource: str, namespace: str | None = None, labels: str | None = None, **_: Any
    ) -> tuple[list[dict[str, Any]], str]:
        if self.refuses:
            raise ApiStatus(403, "Forbidden", "no")
        assert (resource, namespace) == ("pods", "panda")
        self.asked.append(labels)
        return self.found, "1"


def player(phase: str = "Running") -> dict[str, Any]:
    return {"metadata": {"name": "player"}, "status": {"phase": phase, "podIP": HOST}}


def played(folder: Path, scene: Callable[[knowing.Fibre, Pods], Awaitable[None]], *sets: str) -> list[bool]:
    """Play a scene; return what the truth log says of the fibre."""
    truth, pods = TruthLog(folder, "test"), Pods()
    settings = Settings.make("seed", "fast", sets)
    asyncio.run(scene(knowing.Fibre(pods, settings, truth), pods))  # type: ignore[arg-type, func-returns-value]
    truth.close()
    return [fact["known"] for fact in read(folder) if fact["kind"] == "fibre"]


def test_it_is_known_once_a_running_player_has_told_it_and_stays_known(tmp_path: Path) -> None:
    async def scene(known: knowing.Fibre, pods: Pods) -> None:
        assert not await known.look()
        pods.found = [player("Pending")]
        assert not await known.look()
        pods.found = [player()]
        assert not await known.look()  # it does not listen yet
        server = await fibre.tell(HOST, Settings.make("seed", "fast"))
        assert await known.look()
        server.close()
        pods.found = []
        await asyncio.wait_for(known.follow(), 1)
        assert known.metadata is not None
        assert (known.metadata["prr"], known.metadata["number_of_channels"]) == (2000.0, 9791)

    assert played(tmp_path, scene) == [False, True]


def test_a_refusal_of_the_api_and_a_player_that_talks_nonsense_are_waited_out(tmp_path: Path) -> None:
    async def nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n[]")
        writer.close()

    async def scene(known: knowing.Fibre, pods: Pods) -> None:
        pods.refuses = True
        assert not await known.look()
        pods.refuses, pods.found = False, [player()]
        server = await asyncio.start_server(nonsense, HOST, fibre.PORT)
        assert not await known.look()
        server.close()

    assert played(tmp_path, scene) == [False]


def test_a_server_that_shall_wait_for_ever_does_not_even_ask(tmp_path: Path) -> None:
    async def scene(known: knowing.Fibre, pods: Pods) -> None:
        assert not await known.look()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(known.follow(), 0.2)
        assert pods.asked == []

    assert played(tmp_path, scene, "waiting_for_fiber=true") == [False]
