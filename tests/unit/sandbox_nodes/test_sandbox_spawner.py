"""The spawner survives its containers: whatever they print and whenever they end, every end is told once."""

import os
import socket
from pathlib import Path

import msgspec

from harness.sandbox.node.spawner import Ended, Notice, Spawner, Start
from harness.sandbox.pods.context import PodContext
from harness.sandbox.settings import Settings

CONTAINERS = 60


def chatter(pod: PodContext) -> int:
    """A container that prints to both streams and ends at once."""
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


def test_every_container_that_prints_and_ends_is_told_to_have_ended(tmp_path: Path) -> None:
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
