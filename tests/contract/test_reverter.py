"""The reverter as a process of its own on a real API server: it undoes what nobody else is left to undo, and leaves the living alone."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.chaos.deployment import await_answer, install, reverter_objects, uninstall
from harness.chaos.faults import fault_named
from harness.chaos.faults.cordon_worker import CordonArguments
from harness.chaos.journal import Journal, new_header
from harness.chaos.play import Play
from harness.chaos.world import Site, freeze
from harness.clock import SystemClock
from harness.cluster import Lease, halt, live_run
from harness.errors import Stopped, TargetBusy, TargetError
from harness.history.writer import HistoryWriter
from tests.lone_plane import ROOT, LonePlane


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LonePlane]:
    plane = LonePlane(tmp_path_factory.mktemp("plane"))
    yield plane
    plane.stop()


class Reverter:
    """`harness reverter run`, as its pod runs it."""

    def __init__(self, plane: LonePlane, folder: Path) -> None:
        self.log = folder / "reverter.log"
        kubeconfig = str(plane.folder / "plane" / "kubeconfig")
        with self.log.open("w") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness", "reverter", "run"],
                env=plane.environment(KUBECONFIG=kubeconfig),
                stdout=out,
                stderr=out,
                cwd=ROOT,
            )

    def stop(self) -> int:
        self._process.terminate()
        return self._process.wait(timeout=20)

    def said(self) -> str:
        return self.log.read_text()


@pytest.fixture
def reverter(plane: LonePlane, tmp_path: Path) -> Iterator[Reverter]:
    running = Reverter(plane, tmp_path)
    yield running
    assert running.stop() == 0, running.said()


@pytest.fixture
def play(plane: LonePlane, tmp_path: Path, state_home: Path) -> Iterator[Play]:
    clock = SystemClock.start()
    header = new_header("run-1", "chaos-1", freeze(plane.target), clock.start_ns)
    journal = Journal.create(tmp_path / "undo" / "chaos-1.jsonl", header)
    history = HistoryWriter(tmp_path / "history", "chaos-1")
    yield Play(Site(plane.cluster, plane.target), header, journal, history, clock, "test")
    history.close()


def cordon(play: Play, hold_s: float = 60.0) -> None:
    play.begin(fault_named("cordon-worker"), CordonArguments(nodes="all"), hold_s)


def until_uncordoned(plane: LonePlane, within_s: float) -> float:
    start = time.monotonic()
    while plane.cordoned():
        assert time.monotonic() - start < within_s, "nobody undid it"
        time.sleep(0.1)
    return time.monotonic() - start


def test_it_answers_a_test_lease_and_says_what_it_cannot_load(plane: LonePlane, reverter: Reverter) -> None:
    assert await_answer(plane.cluster)
    with pytest.raises(TargetError, match=r"cannot be loaded: ModuleNotFoundError.*no_such_module"):
        await_answer(plane.cluster, ["no_such_module:Fault"])
    assert plane.cluster.objects("leases", "focus-harness", "focus-harness/test") == []


def test_without_it_a_campaign_is_told_how_to_get_it(plane: LonePlane) -> None:
    with pytest.raises(TargetError, match="harness reverter install"):
        await_answer(plane.cluster, within_s=1.5)


def test_a_run_that_renews_keeps_its_fault_and_one_that_stops_loses_it(
    plane: LonePlane, reverter: Reverter, play: Play
) -> None:
    await_answer(plane.cluster)
    with Lease.acquire(plane.cluster, "run-1", ends="2100-01-01T00:00:00+00:00") as lease:
        cordon(play)
        for _ in range(20):  # for longer than the reverter waits
            lease.renew()
            time.sleep(0.4)
        assert len(plane.cordoned()) == 2, reverter.said()
        assert live_run(plane.cluster) == "run-1"
        silent_s = until_uncordoned(plane, 15)
        assert silent_s > 4
        time.sleep(1)
        with pytest.raises(Stopped, match=r"the lock ran out: not renewed for .* nothing more is injected"):
            lease.renew()
    assert "the Lease has not changed for" in reverter.said()
    deadline = time.monotonic() + 10
    while plane.cluster.objects("configmaps", "focus-harness", "focus-harness/entry"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    play.undo()


@pytest.mark.parametrize("how", ["annotated", "deleted", "harness halt"])
def test_anybody_ends_a_run_by_its_lease(plane: LonePlane, how: str) -> None:
    lease = Lease.acquire(plane.cluster, "run-2")
    lease.renew()
    if how == "annotated":
        patch = {"metadata": {"annotations": {"focus-harness/halt": "now"}}}
        plane.cluster.patch("leases", "focus-harness", patch, "focus-harness")
    elif how == "deleted":
        plane.cluster.delete("leases", "focus-harness", "focus-harness")
    else:
        assert str(halt(plane.cluster, "by somebody")).endswith("(run run-2)")
    with pytest.raises(Stopped, match="halted: somebody"):
        lease.renew()
    lease.release()
    Lease.acquire(plane.cluster, "run-3").release()  # the halt was for that run, not for the next


def test_the_lease_says_whose_it_is_and_how_to_end_it(
    plane: LonePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_OPERATOR", "ada")
    with Lease.acquire(plane.cluster, "run-4", ends="2100-01-01T00:00:00+00:00"):
        said = plane.cluster.get("leases", "focus-harness", "focus-harness")["metadata"]["annotations"]
    assert said["focus-harness/run"] == "run-4"
    assert said["focus-harness/operator"] == "ada"
    assert said["focus-harness/ends"] == "2100-01-01T00:00:00+00:00"
    assert said["focus-harness/stop"].startswith("kubectl -n focus-harness annotate lease focus-harness")


def test_it_installs_twice_and_leaves_nothing_but_the_namespace(plane: LonePlane) -> None:
    objects = reverter_objects()
    install(plane.cluster, objects)
    install(plane.cluster, objects)
    assert plane.cluster.find("deployments", "focus-harness-reverter", "focus-harness") is not None
    uninstall(plane.cluster, objects)
    for kind in ("clusterroles", "clusterrolebindings"):
        assert plane.cluster.find(kind, "focus-harness-reverter") is None
    assert plane.cluster.find("serviceaccounts", "focus-harness-reverter", "focus-harness") is None


def test_a_lock_is_waited_for_as_long_as_was_asked_and_not_longer(plane: LonePlane) -> None:
    held = Lease.acquire(plane.cluster, "run-5", holder="elsewhere/1/1")
    started = time.monotonic()
    with pytest.raises(TargetBusy, match=r"in use by elsewhere/1/1 \(run run-5\)"):
        Lease.acquire(plane.cluster, "run-6")
    assert time.monotonic() - started < 1.0
    giving_back = threading.Timer(2.0, held.release)
    keeping = threading.Timer(0.5, held.renew)
    giving_back.start()
    keeping.start()
    Lease.acquire(plane.cluster, "run-7", wait_s=20).release()
    assert 1.5 < time.monotonic() - started < 15


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_holder_whose_clock_is_wrong_is_alive_as_long_as_it_renews(plane: LonePlane, hours: int) -> None:
    """A clock that jumps: the date of a renewal says nothing by itself, that it changes does."""
    held = Lease.acquire(plane.cluster, "run-8", holder="elsewhere/1/1")

    def renew() -> None:
        wrong = (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        plane.cluster.patch("leases", "focus-harness", {"spec": {"renewTime": wrong}}, "focus-harness")

    renew()
    beating = threading.Event()

    def beat() -> None:
        while not beating.wait(0.5):
            renew()

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(TargetBusy, match="in use by elsewhere"):
            Lease.acquire(plane.cluster, "run-9")
    finally:
        beating.set()
        thread.join()
    Lease.acquire(plane.cluster, "run-9").release()  # seen not to change: now it is dead
    held.release()


def test_an_entry_nobody_can_read_does_not_keep_the_others_in(
    plane: LonePlane, reverter: Reverter, play: Play
) -> None:
    """Of another version, or of a fault this image does not have."""
    await_answer(plane.cluster)
    cordon(play)
    (entry,) = plane.cluster.objects("configmaps", "focus-harness", "focus-harness/entry")
    for number, change in enumerate(({"fault": "set-on-fire"}, {"before": {"no": "such thing"}})):
        spoilt = {**json.loads(entry["data"]["entry"]), **change, "id": f"spoilt-{number}"}
        labels = {**entry["metadata"]["labels"], "focus-harness/entry": f"spoilt-{number}"}
        body = {
            "metadata": {"name": f"undo-spoilt-{number}", "labels": labels},
            "data": {**entry["data"], "entry": json.dumps(spoilt)},
        }
        plane.cluster.create("configmaps", body, "focus-harness")
    try:
        until_uncordoned(plane, 20)
        assert "spoilt-0 cannot be read: fault 'set-on-fire' is not known here" in reverter.said()
        assert await_answer(plane.cluster), "and it still answers"
    finally:
        for number in range(2):
            plane.cluster.delete("configmaps", f"undo-spoilt-{number}", "focus-harness")
    play.undo()


def test_a_reverter_of_another_version_is_refused(
    plane: LonePlane, reverter: Reverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.chaos.deployment.__version__", "99.0")
    with pytest.raises(TargetError, match=r"of version .*, this harness of 99\.0.*harness reverter install"):
        await_answer(plane.cluster)
