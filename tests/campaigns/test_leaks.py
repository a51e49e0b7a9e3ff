"""Something that is really left behind in a sandbox is named with the window that made it, and fails the run."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika
import pymongo
import pytest

from harness.cluster import connect
from harness.errors import Exit
from harness.history.events import WindowClosed
from harness.history.reader import read_history
from harness.target import load_target

ROOT = Path(__file__).resolve().parents[2]
CAMPAIGN = """
schema: 1
name: leaky
warm_up: 1s
duration: 14s
drain: 6s
leaks: {later: 2s}
load:
  stages: [{at: 0s, open_windows: 3}]
  hold: {min: 1s, max: 2s}
"""


def over(folder: Path) -> str:
    """Return the job of a window that is over, once there is one."""
    until = time.monotonic() + 40
    while time.monotonic() < until:
        if list((folder / "history").glob("*.events.jsonl")):
            for record in read_history(folder / "history").events:
                if isinstance(record.event, WindowClosed):
                    return record.event.job_id
        time.sleep(0.3)
    pytest.fail("no window was closed within 40 s")


@contextmanager
def forgotten(job: str, mongodb: str, broker: str) -> Iterator[None]:
    """Put a window's task and queue back, as a cleanup that gave up would have left them; take them away in the end."""
    queue = f"focus_baby.{job}"
    with pymongo.MongoClient[dict[str, str]](mongodb) as client:
        tasks = client["prisma"]["tasks"]
        tasks.insert_one({"_id": job})
        try:
            with pika.BlockingConnection(pika.URLParameters(broker)) as connection:
                connection.channel().queue_declare(queue)
            yield
            with pika.BlockingConnection(pika.URLParameters(broker)) as connection:
                connection.channel().queue_delete(queue)
        finally:
            tasks.delete_one({"_id": job})


@pytest.mark.long
def test_a_service_a_task_and_a_queue_that_stay_are_named_with_their_window_and_fail_the_run(
    rehearsal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tmp_path / "leaky.yaml", tmp_path / "run"
    file.write_text(CAMPAIGN)
    for name, value in rehearsal.environment.items():
        monkeypatch.setenv(name, value)
    run = rehearsal.start("run", str(file), "--out", str(out))
    job = over(out)
    cluster = connect(load_target(ROOT / "targets" / "sandbox.yaml"))
    name = f"grpc-service-{job}"
    until = time.monotonic() + 20
    while cluster.find("services", name) is not None and time.monotonic() < until:
        time.sleep(0.2)
    left = {
        "metadata": {"name": name},
        "spec": {"selector": {"app": f"grpc-job-{job}"}, "ports": [{"port": 12399, "targetPort": 5000}]},
    }
    cluster.create("services", left)
    variables = rehearsal.variables()
    try:
        with forgotten(job, variables["MONGODB_URI"], variables["RABBITMQ_URI"]):
            told, _ = run.communicate(timeout=90)
    finally:
        cluster.delete("services", name)
        if run.poll() is None:
            run.kill()
    assert run.returncode == Exit.FAILED, told
    verdict = json.loads((out / "verdict.json").read_text())
    [gate] = [gate for gate in verdict["gates"] if gate["measure"] == "leaks"]
    assert gate["status"] == "failed"
    findings = json.loads((out / "findings.json").read_text())
    told_of = {f"{one['object_kind']} {one['name']}": one["made_by"] for one in findings["leftovers"]}
    for what in (
        f"Service {name}",
        f"queue focus_baby.{job}",
        f"task {job}",
        f"slot {job.partition('-')[0]} held by {job}",
    ):
        assert told_of[what].startswith("window"), told_of
    assert ", made by window" in gate["reason"]
