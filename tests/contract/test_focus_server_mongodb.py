"""What MongoDB's pod promises: a user of its own, first documents once, and no acknowledged write lost to kill -9."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from harness.sandbox.settings import Settings

pytestmark = pytest.mark.timeout(120)

HOST = "127.251.8.1"
URI = f"mongodb://prisma:prisma-sandbox@{HOST}:27017/prisma?directConnection=true"
PROGRAM = """
import json, sys
from pathlib import Path
from harness.sandbox.pods.context import PodContext
from harness.sandbox.pods.mongodb import main
from harness.sandbox.settings import Settings
said = json.loads(sys.argv[1])
settings = Settings.from_json(said.pop("settings"))
paths = {key: Path(said.pop(key)) for key in ("volume", "ca_file", "truth_dir")}
sys.exit(main(PodContext(settings=settings, args=(), env={}, **paths, **said)))
"""


def start(tmp_path: Path) -> subprocess.Popen[bytes]:
    said = {
        "name": "mongodb-panda-0",
        "namespace": "panda",
        "uid": "u",
        "node": "n",
        "ip": HOST,
        "node_ip": HOST,
        "image": "mongodb",
        "container": "mongodb",
        "volume": str(tmp_path),
        "api_url": "",
        "ca_file": "",
        "token": "",
        "truth_dir": str(tmp_path / "truth"),
        "settings": Settings.make("seed", "fast").to_json(),
    }
    return subprocess.Popen([sys.executable, "-c", PROGRAM, json.dumps(said)])


def connected(process: subprocess.Popen[bytes]) -> MongoClient[dict[str, Any]]:
    client: MongoClient[dict[str, Any]] = MongoClient(URI, serverSelectionTimeoutMS=500)
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None
        try:
            client.prisma.command("ping")
        except PyMongoError:
            assert time.monotonic() < deadline
        else:
            return client


def test_acknowledged_tasks_survive_kill_9_and_the_documents_are_made_once(tmp_path: Path) -> None:
    process = start(tmp_path)
    try:
        with connected(process) as client:
            guid = client.prisma.base_paths.find_one()["guid"]  # type: ignore[index]
            recordings = client.prisma[guid].count_documents({})
            with MongoClient(HOST, directConnection=True) as nobody, pytest.raises(OperationFailure):
                nobody.prisma.tasks.find_one()
            acknowledged: list[int] = []

            def write() -> None:
                try:
                    for number in range(10**6):
                        client.prisma.tasks.insert_one({"_id": number})
                        acknowledged.append(number)
                except PyMongoError:
                    pass

            writer = threading.Thread(target=write)
            writer.start()
            deadline = time.monotonic() + 30
            while len(acknowledged) < 50:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            writer.join()
        process = start(tmp_path)
        with connected(process) as client:
            kept = {task["_id"] for task in client.prisma.tasks.find()}
            assert set(acknowledged) <= kept
            assert client.prisma[guid].count_documents({}) == recordings
            assert client.prisma.base_paths.count_documents({}) == 1
    finally:
        process.kill()
        process.wait()
