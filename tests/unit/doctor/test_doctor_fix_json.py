"""`--fix` with `--format json` prints one document, however it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_cluster import NOW, FakeCluster

from harness.doctor import Order, command, doctor_command
from harness.doctor.mend import Mending
from harness.doctor.remedies import Plan
from harness.doctor.sight import Sight
from harness.errors import AccessDenied, Exit, HarnessError, StillBroken, TargetBusy


@pytest.fixture(autouse=True)
def sight(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> Sight:
    here = cluster.sight()
    monkeypatch.setattr(command, "find_target", lambda name: name)
    monkeypatch.setattr(command, "load_target", lambda _: here.target)
    monkeypatch.setattr(command, "look_at", lambda *_: here)
    monkeypatch.setattr(Sight, "again", lambda self: Sight(self.target, self.world, self.asking, now=NOW))
    return here


def ordered(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, fix: str, **how: Any
) -> tuple[int, dict[str, Any]]:
    """The code a fix ends with, and the document it has printed: both must be there."""
    try:
        code = int(doctor_command(Order("fake", "json", fix, reports=tmp_path / "reports", **how)))
    except HarnessError as error:
        code = int(error.code)
    return code, json.loads(capsys.readouterr().out)


def cordoned(cluster: FakeCluster) -> None:
    for name in ("worker-1", "worker-2"):
        cluster.kept["nodes", name]["spec"]["unschedulable"] = True


def test_a_dry_run_with_something_to_do_prints_the_plan(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cordoned(cluster)
    code, doc = ordered(capsys, tmp_path, "uncordon", dry_run=True)
    assert (code, doc["exit_code"], doc["cause"]) == (0, 0, "worker_unavailable")
    assert (doc["fix"]["done"], doc["fix"]["after"], doc["fix"]["journal"]) == ([], [], "")
    assert len(doc["remedies"][0]["lines"]) == 2
    assert {one["check"] for one in doc["checks"]} == {"nodes", "gpu"}
    assert cluster.writes == []


def test_nothing_to_do_prints_the_plan_as_well(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, doc = ordered(capsys, tmp_path, "uncordon", dry_run=True)
    assert (code, doc["exit_code"], doc["remedies"][0]["lines"]) == (0, 0, [])
    assert [one["result"] for one in doc["fix"]["after"]] == ["ok", "ok"]


def test_what_nobody_agreed_to_is_printed(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cordoned(cluster)
    code, doc = ordered(capsys, tmp_path, "uncordon")  # no terminal, no --yes
    assert (code, doc["exit_code"], doc["fix"]["done"]) == (int(Exit.USAGE), 2, [])
    assert doc["remedies"][0]["lines"]


def test_a_target_that_cannot_be_mended_is_printed(
    sight: Sight, cluster: FakeCluster, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    del cluster.kept["deployments", "player"]
    code, doc = ordered(capsys, tmp_path, "start-player", agreed=True)
    assert (code, doc["exit_code"], doc["fix"]["done"]) == (int(Exit.TARGET), 3, [])
    assert "does not exist" in doc["remedies"][0]["notes"][0]
    sight.world, sight.blind, sight.unreachable = None, "connection refused", True
    code, doc = ordered(capsys, tmp_path, "uncordon", agreed=True)
    assert (code, doc["exit_code"], doc["cause"]) == (3, 3, "kubernetes_unreachable")


@pytest.mark.parametrize("error", [TargetBusy("a run holds it"), AccessDenied("may not")])
def test_a_fix_that_is_refused_is_printed(
    cluster: FakeCluster,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: HarnessError,
) -> None:
    def refused(self: Mending, plan: Plan) -> None:
        raise error

    cordoned(cluster)
    monkeypatch.setattr(Mending, "run", refused)
    code, doc = ordered(capsys, tmp_path, "uncordon", agreed=True)
    assert (code, doc["exit_code"], doc["fix"]["done"]) == (int(error.code), int(error.code), [])
    assert (doc["fix"]["after"], len(doc["remedies"][0]["lines"])) == ([], 2)


def test_a_fix_that_failed_half_way_prints_what_was_done(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(self: Mending, plan: Plan) -> None:
        self._journal.write("done", does="patch", kind="nodes", name="worker-1")
        self._journal.write("skipped", does="patch", kind="nodes", name="worker-3", why="it is gone already")
        cluster.kept["nodes", "worker-1"]["spec"] = {}
        raise StillBroken("worker-2")

    cordoned(cluster)
    monkeypatch.setattr(Mending, "run", half)
    code, doc = ordered(capsys, tmp_path, "uncordon", agreed=True)
    assert (code, doc["fix"]["done"]) == (5, ["patch node worker-1"])
    assert doc["fix"]["skipped"] == ["node worker-3: it is gone already"]
    assert Path(doc["fix"]["journal"]).exists()
    assert "worker-1" not in doc["fix"]["after"][0]["summary"], "looked at afterwards"
