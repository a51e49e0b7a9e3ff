"""Which program an image runs, and that the foreign servers are started inside their pod's directory."""

import os
import socket
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from harness.sandbox.pods import (
    HOST_COMMAND,
    PRELOAD,
    PROGRAMS,
    broker,
    harness_program,
    mongodb,
    program_for,
    program_of,
)
from harness.sandbox.pods.analyzer_arguments import COMMAND
from harness.sandbox.pods.context import PodContext
from harness.sandbox.settings import Settings


def pod(volume: Path) -> PodContext:
    return PodContext(
        name="p",
        namespace="panda",
        uid="u",
        node="n",
        ip="127.77.11.4",
        node_ip="127.77.1.1",
        image="i",
        container="c",
        args=(),
        env={},
        volume=volume,
        api_url="",
        ca_file=volume,
        token="",
        settings=Settings.make("seed", "fast"),
        truth_dir=volume,
    )


@pytest.mark.parametrize("program", sorted(set(PROGRAMS.values())))
def test_every_program_exists(program: str) -> None:
    module, _, function = program.partition(":")
    assert callable(getattr(import_module(module), function))


def test_what_is_preloaded_exists() -> None:
    for module in PRELOAD:
        import_module(module)


def test_images_are_known_by_their_last_word() -> None:
    assert program_of("registry.sandbox/pzlinux:10.7.122") == PROGRAMS["pzlinux"]
    assert program_of("cleanup-grpc:1.1@sha256:abc") == PROGRAMS["cleanup-grpc"]
    assert program_of("docker.io/library/nginx:latest") is None


def test_the_broker_keeps_everything_in_its_volume_and_listens_on_its_own_address(tmp_path: Path) -> None:
    folder, env = broker.prepare(pod(tmp_path))
    for name, value in env.items():
        if name.startswith("RABBITMQ_") and name.endswith(("BASE", "FILE", "DIR")):
            assert Path(value).is_relative_to(tmp_path), name
    assert Path(env["HOME"]).is_relative_to(tmp_path)
    assert env["ERL_EPMD_ADDRESS"].startswith("127.")
    text = (folder / "rabbitmq.conf").read_text()
    assert "listeners.tcp.1 = 127.77.11.4:5672" in text
    assert "distribution.listener.interface = 127." in text
    assert (folder / ".erlang.cookie").stat().st_mode & 0o077 == 0


MAPPER = """
import pathlib, socket, sys, time
turn = pathlib.Path("turn")
if not turn.exists():
    turn.touch()
    sys.exit(1)
time.sleep(0.3)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    time.sleep(30)
"""
"""One that finds its port taken the first time, and is slow the second time."""


def test_the_broker_s_node_waits_until_its_own_port_mapper_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    mapper = broker.start_mapper(
        [sys.executable, "-c", MAPPER, str(port)], "127.0.0.1", port, dict(os.environ), tmp_path
    )
    try:
        assert mapper.poll() is None
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    finally:
        mapper.kill()
        mapper.wait()


def test_a_port_mapper_that_never_listens_is_no_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "MAPPER_S", 0.3)
    with pytest.raises(RuntimeError, match="epmd does not listen"):
        broker.start_mapper(["sleep", "30"], "127.0.0.1", 1, dict(os.environ), tmp_path)


def test_the_database_daemon_syncs_every_commit_and_asks_for_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    line = mongodb.command(tmp_path, "127.77.11.5", 27017, auth=True)
    assert {"--sync-on-commit", "--standalone", "--auth"} <= set(line)
    assert "--auth" not in mongodb.command(tmp_path, "127.77.11.5", 27017, auth=False)
    assert mongodb.environment(tmp_path)["HOME"] == str(tmp_path)


def test_a_command_that_the_host_has_is_run_instead_of_the_image_and_others_are_not() -> None:
    pause = PROGRAMS["pause"]
    assert program_for(pause, ["false"]) == HOST_COMMAND
    assert program_for(pause, ["sh", "-c", "exit 3"]) == HOST_COMMAND
    assert program_for(pause, []) == pause
    assert program_for(pause, ["no-such-command-anywhere"]) == pause


def test_windows_and_the_harness_keep_their_own_command_even_where_the_host_has_a_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    for image, command in (("pzlinux", COMMAND), ("focus-harness", ("python", "-m", "harness"))):
        assert program_for(PROGRAMS[image], list(command)) == PROGRAMS[image]
    assert program_for(PROGRAMS["focus-harness"], ["sleep"]) == HOST_COMMAND


def test_the_harness_image_executes_this_harness_with_the_containers_arguments(tmp_path: Path) -> None:
    own = [sys.executable, "-m", "harness"]
    assert harness_program.command(("undo", "--all")) == [*own, "undo", "--all"]
    assert harness_program.command(("harness", "undo")) == [*own, "undo"]
    assert harness_program.command(("python", "-m", "somewhere.else", "x")) == [
        *(sys.executable, "-m", "somewhere.else", "x")
    ]
    env = harness_program.environment(replace(pod(tmp_path), env={"PYTHONPATH": "more", "POD_NAME": "given"}))
    assert (env["POD_NAME"], env["POD_NAMESPACE"], env["POD_IP"], env["NODE_NAME"]) == (
        *("given", "panda", "127.77.11.4", "n"),
    )
    first, more = env["PYTHONPATH"].split(":")
    assert (Path(first) / "harness" / "cli.py").exists()
    assert more == "more"
