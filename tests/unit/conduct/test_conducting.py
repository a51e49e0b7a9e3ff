"""Folders are never reused, children end with their parent, and stopping is heard twice."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.clock import SystemClock
from harness.conduct.children import Children
from harness.conduct.experiments import find_experiments
from harness.conduct.folder import find_run, make_run_folder, new_run_id
from harness.conduct.stop import Stop
from harness.errors import InputError
from harness.history.events import ProcessEnded, ProcessStarted
from harness.history.reader import read_history
from harness.history.writer import HistoryWriter


@pytest.fixture(autouse=True)
def sockets_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Who plays a run removes the folder of its socket; these only make it. `tmp_path` is made before, elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


def test_every_run_gets_a_folder_of_its_own_and_latest_points_at_the_newest(tmp_path: Path) -> None:
    first = make_run_folder(tmp_path, new_run_id("tour"))
    second = make_run_folder(tmp_path, new_run_id("tour"))
    assert first.path != second.path
    assert (tmp_path / "latest").resolve() == second.path


def test_a_folder_with_something_in_it_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not an empty folder"):
        make_run_folder(tmp_path, "tour", tmp_path / "out")


def test_a_file_is_no_folder_and_a_real_folder_named_latest_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        make_run_folder(tmp_path, "tour", tmp_path / "file")
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "kept").write_text("mine")
    assert make_run_folder(tmp_path, "tour").path.is_dir()
    assert (tmp_path / "latest" / "kept").exists()


def test_a_run_is_found_by_folder_by_id_and_as_latest(tmp_path: Path) -> None:
    run = make_run_folder(tmp_path, "tour")
    (run.path / "run.json").write_text("{}")
    assert (
        find_run(run.run_id, tmp_path)
        == find_run("latest", tmp_path)
        == find_run(str(run.path), tmp_path)
        == run.path
    )
    with pytest.raises(InputError, match=run.run_id):
        find_run("yesterday", tmp_path)


def test_a_live_socket_has_a_path_that_fits_however_deep_the_folder_is(tmp_path: Path) -> None:
    run = make_run_folder(tmp_path / ("deep" * 20), "tour")
    assert len(str(run.live_socket)) < 100


def test_experiments_beside_the_campaign_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "campaigns" / "experiments").mkdir(parents=True)
    (tmp_path / "experiments").mkdir()
    campaign = tmp_path / "campaigns" / "c.yaml"
    for folder in ("campaigns/experiments", "experiments"):
        (tmp_path / folder / "quake.yaml").write_text("title: x")
    assert find_experiments(["quake"], campaign) == {
        "quake": tmp_path / "campaigns" / "experiments" / "quake.yaml"
    }


def test_all_missing_experiments_are_named_with_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        find_experiments(["quake", "flood"], tmp_path / "c.yaml")
    assert "quake" in str(caught.value)
    assert "flood" in str(caught.value)
    assert "cordon-worker" in str(caught.value)


SLEEPER = "import time\ntime.sleep(60)\n"


def test_leaving_the_block_ends_what_still_runs_and_records_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "logs").mkdir()
    writer = HistoryWriter(tmp_path / "history", "conductor")
    with Children(tmp_path / "logs", writer, SystemClock.start(), {}) as children:
        child = children.start("sleeper", "sleeper", [])
        assert child.poll() is None
    writer.close()
    started, ended = (record.event for record in read_history(tmp_path / "history").events)
    assert isinstance(started, ProcessStarted)
    assert isinstance(ended, ProcessEnded)
    assert (ended.pid, ended.exit_code) == (child.pid, -signal.SIGTERM)


CHILD = """
import os
os.read(int(os.environ["HARNESS_LIFELINE_FD"]), 1)
open(os.environ["TOLD"], "w").write("the parent is gone")
"""

PARENT = """
import pathlib, sys, time
from harness.clock import SystemClock
from harness.conduct.children import Children
from harness.history.writer import HistoryWriter
folder = pathlib.Path(sys.argv[1])
(folder / "logs").mkdir()
with Children(folder / "logs", HistoryWriter(folder / "history", "conductor"), SystemClock.start(), {}) as children:
    children.start("child", "child", [])
    print("started", flush=True)
    time.sleep(60)
"""


def test_a_child_hears_that_its_parent_was_killed(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    told = tmp_path / "told"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "TOLD": str(told)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "started\n"
    parent.kill()
    parent.communicate()
    for _ in range(100):
        if told.exists() and told.read_text():
            break
        time.sleep(0.05)
    assert told.read_text() == "the parent is gone"


def test_the_first_signal_asks_and_the_second_insists() -> None:
    with Stop() as stop:
        assert not stop.asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(2.0)
        assert (stop.reason, stop.insisted) == ("stopped by SIGTERM", False)
        os.kill(os.getpid(), signal.SIGINT)
        stop.pause(2.0)
        assert (stop.reason, stop.insisted) == ("stopped by SIGTERM", True)


def test_signals_mean_again_what_they_meant_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Stop():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
