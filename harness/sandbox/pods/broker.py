"""The program of image `rabbitmq`: a RabbitMQ node that lives inside its pod's directory and on loopback only.

Started by the kubelet for StatefulSet `rabbitmq-panda`, which exists only where rabbitmq-server is installed. Every
directory, the Erlang cookie and the configuration lie in the pod's volume; the port mapper (epmd) is this pod's own,
in the foreground and in the pod's process group, so that it ends with the pod. No plugins, hence no management API.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from harness.sandbox.pods.context import PodContext
from harness.sandbox.pods.mongodb import die_with_parent
from harness.sandbox.truth import TruthLog, process_name

EPMD_BASE = 20000
DISTRIBUTION_BASE = 21000
"""Plus the sandbox's block: RabbitMQ refuses to start where any address of this host uses its distribution port."""
MAPPER_S, LOOK_S = 20.0, 0.05


def server_script() -> str:
    """Return RabbitMQ's own start script; Debian's wrapper on PATH changes user and directories."""
    behind_wrapper = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    if behind_wrapper.exists():
        return str(behind_wrapper)
    found = shutil.which("rabbitmq-server")
    if found is None:
        raise RuntimeError("rabbitmq-server is not on PATH: install it or run the sandbox with broker=off")
    return found


def configuration(pod: PodContext) -> str:
    """Return rabbitmq.conf."""
    settings = pod.settings
    return "\n".join(
        (
            f"listeners.tcp.1 = {pod.ip}:{settings.broker_port}",
            f"default_user = {settings.broker_user}",
            f"default_pass = {settings.broker_password}",
            "loopback_users = none",
            f"distribution.listener.interface = {pod.ip}",
            "log.console = true",
            "log.console.level = warning",
            "log.file = false",
            "disk_free_limit.absolute = 50MB",
            "",
        )
    )


def block_of(pod: PodContext) -> int:
    """Return the number of the sandbox's block of addresses."""
    return int(pod.ip.split(".")[1])


def environment(pod: PodContext, folder: Path) -> dict[str, str]:
    """Return the environment that keeps everything of the node inside `folder`."""
    names = {
        "HOME": folder,
        "RABBITMQ_MNESIA_BASE": folder / "mnesia",
        "RABBITMQ_LOG_BASE": folder / "log",
        "RABBITMQ_PID_FILE": folder / "pid",
        "RABBITMQ_CONFIG_FILE": folder / "rabbitmq.conf",
        "RABBITMQ_CONF_ENV_FILE": folder / "rabbitmq-env.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": folder / "enabled_plugins",
        "RABBITMQ_PLUGINS_EXPAND_DIR": folder / "plugins",
        "RABBITMQ_GENERATED_CONFIG_DIR": folder / "generated",
        "RABBITMQ_SCHEMA_DIR": folder / "schema",
    }
    return {
        **os.environ,
        **{name: str(path) for name, path in names.items()},
        "RABBITMQ_NODENAME": "rabbit@localhost",
        "RABBITMQ_DIST_PORT": str(DISTRIBUTION_BASE + block_of(pod)),
        # Few schedulers and no busy waiting: the node shares two cores with everything else.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
        "RABBITMQ_IO_THREAD_POOL_SIZE": "4",
        "ERL_EPMD_ADDRESS": pod.ip,
        "ERL_EPMD_PORT": str(EPMD_BASE + block_of(pod)),
        "ERL_CRASH_DUMP_SECONDS": "0",
        "LC_ALL": "C.UTF-8",
    }


def prepare(pod: PodContext) -> tuple[Path, dict[str, str]]:
    """Make the directory with configuration and cookie; return it and the environment."""
    folder = pod.volume / "rabbitmq"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rabbitmq.conf").write_text(configuration(pod), encoding="utf-8")
    (folder / "rabbitmq-env.conf").write_text("", encoding="utf-8")
    (folder / "enabled_plugins").write_text("[].\n", encoding="utf-8")
    cookie = folder / ".erlang.cookie"
    if not cookie.exists():
        cookie.write_text(secrets.token_hex(16), encoding="utf-8")
        cookie.chmod(0o400)
    return folder, environment(pod, folder)


def _epmd() -> str:
    found = shutil.which("epmd")
    if found:
        return found
    inside = sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"))
    if not inside:
        raise RuntimeError("epmd is not installed: it comes with Erlang")
    return str(inside[-1])


def start_mapper(
    command: list[str], ip: str, port: int, env: dict[str, str], folder: Path
) -> subprocess.Popen[bytes]:
    """Start the port mapper and return when it listens; raise RuntimeError if it does not within MAPPER_S.

    A node that finds none starts one itself, as a daemon that outlives it. The port may still be the mapper's of the pod before.
    """
    until = time.monotonic() + MAPPER_S
    while time.monotonic() < until:
        mapper = subprocess.Popen(command, env=env, cwd=folder, preexec_fn=die_with_parent)  # noqa: PLW1509 - no threads here
        while mapper.poll() is None and time.monotonic() < until:
            time.sleep(LOOK_S)  # one that cannot bind ends at once
            if mapper.poll() is None and _listens(ip, port):
                return mapper
        mapper.kill()
        mapper.wait()
    raise RuntimeError(f"epmd does not listen on {ip}:{port}")


def _listens(ip: str, port: int) -> bool:
    try:
        socket.create_connection((ip, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def main(pod: PodContext) -> int:
    """Run the node until it ends or SIGTERM comes; return its exit code."""
    truth = TruthLog(pod.truth_dir, process_name("broker", pod.name))
    try:
        folder, env = prepare(pod)
        mapper = start_mapper([_epmd()], pod.ip, int(env["ERL_EPMD_PORT"]), env, folder)
        server = subprocess.Popen([server_script()], env=env, cwd=folder, preexec_fn=die_with_parent)  # noqa: PLW1509
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"rabbitmq: {error}\n")
        return 1
    truth.write("broker_started", pod=pod.name)

    def told(_signal: int, _frame: FrameType | None) -> None:
        server.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, told)
    code = server.wait()
    truth.write("broker_ended", pod=pod.name, code=code)
    mapper.kill()
    mapper.wait()
    return code if code >= 0 else 128 - code
