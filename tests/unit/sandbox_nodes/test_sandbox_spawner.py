"""The spawner survives its containers: whatever they print and whenever they end, every end is told once."""

import os
import selectors
import socket
import time
from pathlib import Path

import msgspec
import pytest

from harness.sandbox.node.podlog import PodLog
from harness.sandbox.node.spawner import Ended, Notice, Spawner, Start, dispatch
from harness.sandbox.pods.context import PodContext
from harness.sandbox.settings import Settings

CONTAINERS = 30


class SlowLog(PodLog):
    """Keeps the spawner busy, so that printing and ending of several containers wait for it together."""

    def write(self, stream: str, received: bytes) -> None:
        time.sleep(0.005)
        super().write(stream, received)


def chatter(pod: PodContext) -> int:
    """A container that prints to both streams and ends, a little sooner or later than its neighbours."""
    time.sleep(int(pod.name.rpartition("-")[2]) % 11 * 0.003)
    os.write(1, b"out\n" * 50)
    os.write(2, b"err\n" * 50)
    return 3


def context(fields: dict[str, object]) -> PodContext:
    folder = Path(str(fields["folder"]))
    return PodContext(
        name=str(fields["name"]), namespace="panda", uid="u", node="n", ip="127.0.0.1", node_ip="127.0.0.1", image="i",
        container="c", args=(), env={}, volume=folder, api_url="", ca_file=folder, token="", settings=Settings(),
        truth_dir=folder,
    )  # fmt: skip


def test_every_container_that_prints_and_ends_is_told_to_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.sandbox.node.spawner.PodLog", SlowLog)
    ours, theirs = socket.socketpair()
    spawner = os.fork()
    if spawner == 0:
        ours.close()
        try:
            Spawner(theirs, context).run()
        finally:
            os._exit(1)
    theirs.close()
    for number in range(CONTAINERS):
        order = Start(
            id=str(number),
            program=f"{__name__}:chatter",
            log=str(tmp_path / f"{number}.log"),
            context={"name": f"pod-{number}", "folder": str(tmp_path)},
        )
        ours.sendall(msgspec.json.encode(order) + b"\n")
    ended: dict[str, int] = {}
    decoder = msgspec.json.Decoder(Notice)
    ours.settimeout(30)
    rest = b""
    while len(ended) < CONTAINERS:
        received = ours.recv(1 << 16)
        assert received, f"the spawner is gone after {len(ended)} of {CONTAINERS} containers"
        *whole, rest = (rest + received).split(b"\n")
        for line in whole:
            notice = decoder.decode(line)
            if isinstance(notice, Ended):
                assert notice.id not in ended
                ended[notice.id] = notice.code
    ours.close()
    os.waitpid(spawner, 0)
    assert set(ended.values()) == {3}
    assert all((tmp_path / f"{number}.log").read_text().count(" F out") == 50 for number in range(CONTAINERS))


def test_what_a_callback_closed_is_not_served_in_the_same_turn() -> None:
    selector = selectors.DefaultSelector()
    pipes = [os.pipe(), os.pipe()]
    served = []

    def serve(mine: int, other: int) -> None:
        served.append(mine)
        selector.unregister(pipes[other][0])
        os.close(pipes[other][0])
        selector.register(
            os.dup2(pipes[mine][0], pipes[other][0]), selectors.EVENT_READ, lambda: served.append(-1)
        )

    for mine, other in ((0, 1), (1, 0)):
        os.write(pipes[mine][1], b"x")
        selector.register(
            pipes[mine][0], selectors.EVENT_READ, lambda mine=mine, other=other: serve(mine, other)
        )
    dispatch(selector)
    assert len(served) == 1
    for pipe in pipes:
        os.close(pipe[0])
        os.close(pipe[1])
    selector.close()
