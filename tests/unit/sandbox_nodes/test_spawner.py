"""The spawner as the kubelet uses it: real forks of small programs."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.sandbox.node.podlog import read_log
from harness.sandbox.node.runtime import Runtime, fork_spawner
from harness.sandbox.pods.context import PodContext
from harness.sandbox.pods.host_command import become
from harness.sandbox.processes import started_at, wait_gone
from harness.sandbox.settings import Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux first")


def speaks(pod: PodContext) -> int:
    """A program: says things on both streams and ends with 3."""
    said = ("out", pod.env["WORD"], os.environ["WORD"], os.environ.get("SECRET"), pod.settings.gpu_shares)
    sys.stdout.write(" ".join(map(str, said)) + "\n")
    sys.stderr.write("err\n")
    os.write(1, b"no newline")
    return 3


def fails(_pod: PodContext) -> int:
    """A program with a defect."""
    raise ValueError("a defect")


def forks_and_waits(_pod: PodContext) -> int:
    """A program with a child of its own; waits for ever."""
    child = os.fork()
    if child:
        sys.stdout.write(f"{child}\n")
    signal.pause()
    return 0


def play(folder: Path, scenario: Callable[[Runtime, PodContext], Awaitable[None]]) -> None:
    """Play a scenario against a spawner of its own, in a child process that may import the tests."""
    context = PodContext(
        name="p", namespace="n", uid="u", node="node", ip="127.0.0.1", node_ip="127.0.0.1", image="i", container="c",
        args=(), env={"WORD": "word"}, volume=folder, api_url="", ca_file=folder, token="", settings=Settings(),
        truth_dir=folder,
    )  # fmt: skip
    line, lifeline = fork_spawner(Settings(), "spawner/test")

    async def main() -> None:
        runtime = Runtime(line)
        running = asyncio.create_task(runtime.run())
        await asyncio.sleep(0)
        await scenario(runtime, context)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    try:
        asyncio.run(main())
    finally:
        line.close()
        lifeline.close()
        os.wait()


def connects(pod: PodContext) -> int:
    """A program: connects in three ways to the address it is told; what it hears says where it came from."""
    host, port = pod.env["WORD"].split(":")

    async def by_loop() -> str:
        loop = asyncio.get_running_loop()
        with socket.socket() as line:
            line.setblocking(False)
            await loop.sock_connect(line, (host, int(port)))
            return str(line.getsockname()[0])

    with socket.create_connection((host, int(port))) as line:
        seen = [line.getsockname()[0], asyncio.run(by_loop())]
    with socket.create_connection((host, int(port)), source_address=("127.0.0.1", 0)) as line:
        seen.append(line.getsockname()[0])
    sys.stdout.write(" ".join(seen) + "\n")
    return 0


def here(program: Callable[[PodContext], int]) -> str:
    return f"{program.__module__}:{program.__name__}"


def test_a_program_gets_its_context_alone_and_its_words_and_exit_code_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the kubelet")

    async def scenario(runtime: Runtime, context: PodContext) -> None:
        process = await runtime.start(here(speaks), context, tmp_path / "log")
        assert await process.ended == 3
        lines = {(line.stream, line.text) for line in read_log(tmp_path / "log")}
        assert lines == {("stdout", "out word word None 20"), ("stderr", "err"), ("stdout", "no newline")}

    play(tmp_path, scenario)


def test_a_programs_connections_leave_from_its_pods_address(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime, context: PodContext) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            place = f"127.0.0.1:{server.getsockname()[1]}"
            context = replace(context, ip="127.9.11.7", env={"WORD": place})
            process = await runtime.start(here(connects), context, tmp_path / "log")
            assert await process.ended == 0
        assert [line.text for line in read_log(tmp_path / "log")] == ["127.9.11.7 127.9.11.7 127.0.0.1"]

    play(tmp_path, scenario)


async def child_told(log: Path) -> str:
    """Wait for the line that begins with a pid; a library may have something to say about a fork before it."""
    while not (told := [line.text for line in read_log(log) if line.text[:1].isdigit()]):
        await asyncio.sleep(0.01)
    return told[0]


def becomes_a_shell(pod: PodContext) -> int:
    """A program: becomes a foreign one that starts another."""
    return become(
        pod, ["sh", "-c", 'sleep 60 & echo "$! $WORD $MORE $HOME $HOSTNAME"; wait'], {"MORE": "more"}
    )


def becomes_nothing(pod: PodContext) -> int:
    """A program: wants to become what is not there."""
    return become(pod, ["no-such-command-anywhere"], {})


def test_a_foreign_program_has_the_containers_surroundings_and_dies_with_the_spawner_and_what_it_started(
    tmp_path: Path,
) -> None:
    left: list[int] = []

    async def scenario(runtime: Runtime, context: PodContext) -> None:
        process = await runtime.start(here(becomes_a_shell), context, tmp_path / "log")
        child, *said = (await child_told(tmp_path / "log")).split()
        left.extend([process.pid, int(child)])
        assert said == ["word", "more", str(tmp_path), "p"]

    play(tmp_path, scenario)
    assert wait_gone(left, 3)


def test_a_foreign_program_that_is_not_there_is_exit_code_127(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime, context: PodContext) -> None:
        process = await runtime.start(here(becomes_nothing), context, tmp_path / "log")
        assert await process.ended == 127
        assert "no such file or directory" in next(iter(read_log(tmp_path / "log"))).text

    play(tmp_path, scenario)


def test_a_defect_is_exit_code_1_and_a_traceback_in_the_log(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime, context: PodContext) -> None:
        process = await runtime.start(here(fails), context, tmp_path / "log")
        assert await process.ended == 1
        assert "ValueError: a defect" in [line.text for line in read_log(tmp_path / "log")]

    play(tmp_path, scenario)


def test_a_killed_container_takes_what_it_started_along(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime, context: PodContext) -> None:
        process = await runtime.start(here(forks_and_waits), context, tmp_path / "log")
        child = int(await child_told(tmp_path / "log"))
        assert started_at(child) is not None
        os.kill(process.pid, signal.SIGKILL)
        assert await process.ended == 137
        assert wait_gone([child], 3)

    play(tmp_path, scenario)


def test_twenty_containers_end_when_told_and_none_is_confused_with_another(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime, context: PodContext) -> None:
        starts = [runtime.start(here(forks_and_waits), context, tmp_path / f"log{n}") for n in range(20)]
        processes = await asyncio.gather(*starts)
        assert len({process.pid for process in processes}) == 20
        for process in processes[:10]:
            runtime.signal(process, signal.SIGTERM)
        assert await asyncio.gather(*(process.ended for process in processes[:10])) == [143] * 10
        assert set(runtime.running) == {process.id for process in processes[10:]}
        for process in processes[10:]:
            runtime.signal(process, signal.SIGKILL)
        assert await asyncio.gather(*(process.ended for process in processes[10:])) == [137] * 10

    play(tmp_path, scenario)


def test_a_start_that_is_cancelled_before_it_is_answered_ends_its_container_and_nobody_else(
    tmp_path: Path,
) -> None:
    async def scenario(runtime: Runtime, context: PodContext) -> None:
        given_up = asyncio.create_task(runtime.start(here(forks_and_waits), context, tmp_path / "log"))
        while not runtime.running:
            await asyncio.sleep(0)
        given_up.cancel()
        while runtime.running:
            await asyncio.sleep(0.01)
        process = await runtime.start(here(speaks), context, tmp_path / "log2")
        assert await process.ended == 3

    play(tmp_path, scenario)
