"""Two runs that want the same target: the second one waits as long as it was told to, and is heard while it waits."""

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from harness.cluster import Lease, connect
from harness.target import load_target
from tests.campaigns.conftest import BUSY, ROOT, Rehearsal, kept


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    file = tmp_path / "short.yaml"
    document = {
        "schema": 1,
        "name": "short",
        "duration": "9s",
        "recover": "1s",
        "drain": "20s",
        "validity": BUSY,
        "load": {"stages": [{"at": "0s", "open_windows": 1}], "hold": {"min": "2s", "max": "3s"}},
        "timeline": [{"experiment": "cordon-worker", "at": "3s", "hold": "2s"}],
    }
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


@contextmanager
def somebody_elses_lock(rehearsal: Rehearsal, tmp_path: Path) -> Iterator[threading.Event]:
    """Hold the target's lock as a run on another host would, until the event is set."""
    text = (ROOT / "targets" / "sandbox.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    del document["environment_command"]
    filled = yaml.safe_dump(document)
    for key, value in rehearsal.variables().items():
        filled = filled.replace(f"${{{key}}}", value).replace(f"${{{key}:-}}", value)
    file = tmp_path / "filled.yaml"
    file.write_text(filled.replace("${RABBITMQ_URI:-}", ""), encoding="utf-8")
    cluster = connect(load_target(file))
    lease = Lease.acquire(cluster, "another-run", holder="elsewhere/1/1")
    try:
        with kept(lease) as over:
            yield over
    finally:
        cluster.close()


def test_it_waits_and_then_looks_and_plays(rehearsal: Rehearsal, tmp_path: Path, campaign: Path) -> None:
    with somebody_elses_lock(rehearsal, tmp_path) as over:
        at_once = rehearsal.run("run", str(campaign), "--out", str(tmp_path / "a"))
        assert at_once.returncode == 9, at_once.stdout + at_once.stderr
        assert "in use by elsewhere/1/1 (run another-run)" in at_once.stderr
        threading.Timer(4.0, over.set).start()
        started = time.monotonic()
        waited = rehearsal.run("run", str(campaign), "--out", str(tmp_path / "b"), "--wait-lock", "1m")
    assert waited.returncode == 0, waited.stdout + waited.stderr
    assert time.monotonic() - started > 4 + 9
    assert json.loads((tmp_path / "b" / "verdict.json").read_text())["exit_code"] == 0


def test_ctrl_c_is_heard_while_it_waits(rehearsal: Rehearsal, tmp_path: Path, campaign: Path) -> None:
    with somebody_elses_lock(rehearsal, tmp_path):
        waiting = rehearsal.start("run", str(campaign), "--out", str(tmp_path / "c"), "--wait-lock", "5m")
        assert waiting.stderr is not None
        before = list(
            itertools.takewhile(lambda line: not line.startswith("waiting up to 300 s"), waiting.stderr)
        )
        os.kill(waiting.pid, signal.SIGINT)
        _, said = waiting.communicate(timeout=20)
    assert not before
    assert waiting.returncode == 8, said
    assert "stopped while waiting for the lock" in said
    assert not (tmp_path / "c").exists()
