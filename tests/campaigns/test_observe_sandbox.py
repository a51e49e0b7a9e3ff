"""Watchers on a whole sandbox: every dependency is seen answering, a killed one is seen down and back, logs are read."""

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.clock import SystemClock
from harness.cluster import connect, name_of
from harness.history.events import AnyEvent, DependencySeen, LogLineSeen, PodSeen, SlotsSeen
from harness.history.reader import read_history
from harness.history.writer import HistoryWriter
from harness.observe import start
from harness.target import find_target, load_target
from tests.campaigns.conftest import Rehearsal

pytestmark = pytest.mark.timeout(120)

REQUEST = {
    "displayTimeAxisDuration": 10,
    "nfftSelection": 1024,
    "displayInfo": {"height": 100},
    "channels": {"min": 1, "max": 50},
    "frequencyRange": {"min": 0, "max": 500},
    "start_time": None,
    "end_time": None,
    "view_type": 0,
}


def test_watchers_see_what_happens_in_a_sandbox(
    rehearsal: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_STATE_HOME", "HARNESS_SANDBOX"):
        monkeypatch.setenv(name, rehearsal.environment[name])
    target = load_target(find_target("sandbox"))
    cluster = connect(target)
    watchers = start(target, cluster, HistoryWriter(tmp_path, "watchers"), SystemClock.start())

    def events() -> list[AnyEvent]:
        return [record.event for record in read_history(tmp_path).events]

    def until(true: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not true():
            assert time.monotonic() < end, watchers.health()
            time.sleep(0.1)

    def states(dependency: str) -> list[bool]:
        return [e.up for e in events() if isinstance(e, DependencySeen) and e.dependency == dependency]

    expected = [
        "focus_server",
        "fibre",
        "kubernetes_api",
        "mongodb",
        *(["broker"] if target.broker_uri else []),
    ]
    until(lambda: all(True in states(name) for name in expected))
    until(lambda: "logs" in watchers.health())
    assert all(health.seeing for health in watchers.health().values()), watchers.health()

    body = urllib.request.Request(
        f"{target.url}/configure", json.dumps(REQUEST).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(body, timeout=20) as answer:
        job_id = json.load(answer)["job_id"]
    until(
        lambda: any(isinstance(e, PodSeen) and e.job_id == job_id and e.phase == "Running" for e in events())
    )
    until(lambda: any(isinstance(e, LogLineSeen) and job_id in e.text for e in events()))
    assert any(isinstance(e, SlotsSeen) and e.slots >= 1 and e.running_pods >= 1 for e in events())

    assert target.kubernetes != "none"
    selector = next(role.selector for name, role in target.kubernetes.roles.items() if name == "mongodb")
    [pod] = cluster.pods(selector)
    cluster.delete("pods", name_of(pod), grace_s=0)
    until(lambda: states("mongodb")[-1] is False)
    until(lambda: states("mongodb")[-1] is True)
    watchers.stop()
    cluster.close()
