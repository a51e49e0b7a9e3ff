"""The program of image `mongodb`: a MongoDB server on the pod's address, with user and recordings.

Started by the kubelet for the MongoDB deployment's pod. Runs `mongod` when it is on PATH, else SecantusDB's daemon
(GPL: only ever a process of its own, started by its command line). On the first start in a volume the server runs
privately without authentication to get its user and its first documents; then, and on every later start, this
process becomes the server itself, so that a signal to the pod is a signal to the database. Acknowledged writes
survive kill -9: the daemon syncs on commit. It offers no replica set and no TLS.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness.sandbox.pods.context import PodContext
from harness.sandbox.truth import TruthLog, process_name

PR_SET_PDEATHSIG = 1
FIRST_START_S = 60.0
_READY = "initialised"


def command(folder: Path, host: str, port: int, *, auth: bool) -> list[str]:
    """Return the command line of the server: mongod where there is one, else SecantusDB's daemon."""
    mongod = shutil.which("mongod")
    if mongod:
        listen = ["--dbpath", str(folder), "--bind_ip", host, "--port", str(port), "--nounixsocket"]
        return [mongod, *listen, "--quiet", *(["--auth"] if auth else [])]
    daemon = Path(sys.executable).with_name("secantusd-py")
    return [
        *(sys.executable, str(daemon), "--host", host, "--port", str(port)),
        *("--storage-path", str(folder), "--standalone", "--sync-on-commit"),
        *("--cache-size", "32M", "--log-level", "WARNING"),
        *(["--auth"] if auth else []),
    ]


def environment(folder: Path) -> dict[str, str]:
    """Return the pod's environment with a home in which no configuration file of the user is found."""
    return {**os.environ, "HOME": str(folder), "LC_ALL": "C.UTF-8"}


def initialise(pod: PodContext, folder: Path) -> None:
    """Make the user and the first documents through a private server; RuntimeError when that fails."""
    settings = pod.settings
    port = _free_port(pod.ip)
    server = subprocess.Popen(
        command(folder, pod.ip, port, auth=False),
        env=environment(folder),
        cwd=folder,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - a pod that has just begun has no threads
    )
    try:
        _seed(pod.ip, port, settings)
    finally:
        # Everything acknowledged is on disk, and the daemon can take ten seconds to end when asked nicely.
        server.kill()
        server.wait()


def _seed(host: str, port: int, settings: Any) -> None:
    # Imported late: only the very first start needs a MongoDB client.
    import pymongo  # noqa: PLC0415
    from pymongo.errors import PyMongoError  # noqa: PLC0415

    from harness.sandbox.pods import recordings  # noqa: PLC0415

    deadline_s = time.monotonic() + FIRST_START_S
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
        host, port, directConnection=True, serverSelectionTimeoutMS=1000, tz_aware=True
    )
    while True:
        try:
            client.admin.command("ping")
            break
        except PyMongoError as error:
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"the private first start does not answer: {error}") from error
            time.sleep(0.05)
    database = client[settings.mongodb_database]
    try:
        for name, documents in recordings.first_documents(settings.storage_mount_path, time.time()).items():
            database[name].insert_many(documents) if documents else database.create_collection(name)
        database.command(
            "createUser",
            settings.mongodb_user,
            pwd=settings.mongodb_password,
            roles=[{"role": "dbOwner", "db": settings.mongodb_database}],
        )
    except PyMongoError as error:
        raise RuntimeError(f"the first documents cannot be written: {error}") from error
    finally:
        client.close()


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends; kept across exec."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port(host: str) -> int:
    with socket.socket() as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


def main(pod: PodContext) -> int:
    """Become the database server; return only when the first start failed."""
    folder = pod.volume / "mongodb"
    ready = pod.volume / _READY
    if not ready.exists():
        # A first start that was cut short has told nobody anything: begin again from nothing.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            initialise(pod, folder)
        except (RuntimeError, OSError) as error:
            sys.stderr.write(f"mongodb: {error}\n")
            return 1
        ready.touch()
    time.sleep(pod.settings.mongodb_ready_delay_s)
    truth = TruthLog(pod.truth_dir, process_name("mongodb", pod.name))
    truth.write("mongodb_started", pod=pod.name, node=pod.node)
    truth.close()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    die_with_parent()
    line = command(folder, pod.ip, pod.settings.mongodb_port, auth=True)
    os.chdir(folder)
    return os.execve(line[0], line, environment(folder))  # noqa: S606 - the point: no shell, no parent
