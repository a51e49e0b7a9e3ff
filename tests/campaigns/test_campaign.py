"""The main job, whole: a campaign is played on a real sandbox, judged, and leaves nothing behind, however it ends."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from harness.errors import Exit
from harness.history.events import FaultChanged, FaultStep, PhaseChanged
from harness.history.reader import read_history
from tests.campaigns.conftest import Rehearsal

pytestmark = pytest.mark.timeout(180)
SHORT = str(Path(__file__).parent / "short.yaml")


def cordoned(here: Rehearsal) -> list[str]:
    """Ask the cluster itself, with nothing of the harness in between."""
    from kubernetes import client, config

    api = client.CoreV1Api(config.new_client_from_config(here.variables()["KUBECONFIG"]))
    return [
        node.metadata.name
        for node in api.list_node().items
        if node.spec.unschedulable and "master" not in node.metadata.name
    ]


def wait_for_hold(run: Path) -> None:
    """Wait until the run's fault is in."""
    for _ in range(300):
        files = list(run.glob("history/chaos-*.events.jsonl"))
        if any('"step":"injected"' in file.read_text() for file in files):
            return
        time.sleep(0.1)
    pytest.fail("no fault was injected within 30 s")


@pytest.fixture(scope="module")
def played(
    rehearsal: Rehearsal, tmp_path_factory: pytest.TempPathFactory
) -> tuple["subprocess.CompletedProcess[str]", Path]:
    out = tmp_path_factory.mktemp("played") / "run"
    return rehearsal.run("run", SHORT, "--out", str(out)), out


def test_a_campaign_passes_and_says_so(played: tuple["subprocess.CompletedProcess[str]", Path]) -> None:
    done, out = played
    assert done.returncode == Exit.OK, done.stdout + done.stderr
    verdict = json.loads((out / "verdict.json").read_text())
    assert (verdict["verdict"], verdict["exit_code"]) == ("passed", 0)
    assert "passed" in done.stdout.lower()
    assert str(out / "report.html") in done.stdout


def test_the_longest_possible_duration_is_said_first(
    played: tuple["subprocess.CompletedProcess[str]", Path],
) -> None:
    done, _ = played
    assert "at most" in done.stdout.splitlines()[0]


def test_without_a_terminal_progress_is_plain_lines(
    played: tuple["subprocess.CompletedProcess[str]", Path],
) -> None:
    done, _ = played
    lines = [line for line in done.stderr.splitlines() if " of at most " in line]
    assert len(lines) >= 3, done.stderr
    assert "\x1b" not in done.stderr + done.stdout


def test_everything_a_person_or_a_pipeline_reads_is_there(
    played: tuple["subprocess.CompletedProcess[str]", Path],
) -> None:
    _, out = played
    for name in ("run.json", "verdict.json", "findings.json", "report.html", "summary.md", "junit.xml"):
        assert (out / name).stat().st_size > 100, name


def test_the_phases_came_in_their_order(played: tuple["subprocess.CompletedProcess[str]", Path]) -> None:
    _, out = played
    phases = [
        str(r.event.phase) for r in read_history(out / "history").events if isinstance(r.event, PhaseChanged)
    ]
    order = ["warm-up", "baseline", "inject", "hold", "undo", "recover", "baseline", "drain"]
    late = [*order[:-2], "drain"]  # on a busy machine recovery is still watched when the load's time is over
    assert phases in [[phase for phase in planned if phase in phases] for planned in (order, late)]
    assert {"hold", "recover", "drain"} <= set(phases)


def test_the_fault_was_looked_up_and_is_gone(
    played: tuple["subprocess.CompletedProcess[str]", Path], rehearsal: Rehearsal
) -> None:
    _, out = played
    steps = [r.event.step for r in read_history(out / "history").events if isinstance(r.event, FaultChanged)]
    assert {FaultStep.INJECTED, FaultStep.EFFECTIVE, FaultStep.UNDONE, FaultStep.VERIFIED} <= set(steps)
    assert cordoned(rehearsal) == []


def test_judging_again_gives_the_same_verdict(
    played: tuple["subprocess.CompletedProcess[str]", Path], rehearsal: Rehearsal
) -> None:
    _, out = played
    before = json.loads((out / "verdict.json").read_text())
    again = rehearsal.run("judge", str(out))
    assert again.returncode == Exit.OK, again.stderr
    assert json.loads((out / "verdict.json").read_text()) == before


def test_ctrl_c_undoes_the_fault_keeps_the_record_and_ends_with_8(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    running = rehearsal.start("run", SHORT, "--out", str(out))
    wait_for_hold(out)
    assert cordoned(rehearsal)
    running.send_signal(signal.SIGINT)
    told, complained = running.communicate(timeout=90)
    assert running.returncode == Exit.STOPPED, told + complained
    assert cordoned(rehearsal) == []
    verdict = json.loads((out / "verdict.json").read_text())
    assert verdict["exit_code"] == Exit.STOPPED
    assert (out / "report.html").exists()


def test_a_second_run_at_the_same_time_is_turned_away_with_9(rehearsal: Rehearsal, tmp_path: Path) -> None:
    first = rehearsal.start("run", SHORT, "--out", str(tmp_path / "first"))
    try:
        wait_for_hold(tmp_path / "first")
        second = rehearsal.run("run", SHORT, "--out", str(tmp_path / "second"))
        assert second.returncode == Exit.BUSY, second.stdout + second.stderr
        assert not list(tmp_path.glob("second/history/chaos-*"))
    finally:
        first.send_signal(signal.SIGTERM)
        told, complained = first.communicate(timeout=90)
    assert first.returncode == Exit.STOPPED, told + complained


def test_a_killed_conductor_leaves_no_fault_and_no_process(rehearsal: Rehearsal, tmp_path: Path) -> None:
    out = tmp_path / "run"
    running = rehearsal.start("run", SHORT, "--out", str(out))
    wait_for_hold(out)
    running.kill()
    running.communicate(timeout=10)
    killed = time.monotonic()
    while cordoned(rehearsal) and time.monotonic() - killed < 45:
        time.sleep(0.2)
    healed_s = time.monotonic() - killed
    assert cordoned(rehearsal) == [], f"still cordoned after {healed_s:.1f} s"
    for _ in range(300):
        if not still_running(str(out)):
            break
        time.sleep(0.1)
    assert still_running(str(out)) == []
    undone = rehearsal.run("undo", str(out))
    assert undone.returncode == Exit.OK, undone.stdout + undone.stderr


def still_running(argument: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if argument in command and int(folder.name) != os.getpid() and "pytest" not in command:
            found.append(command)
    return found


def test_another_cluster_than_the_file_names_is_refused_with_3(rehearsal: Rehearsal, tmp_path: Path) -> None:
    target = tmp_path / "staging.yaml"
    here = rehearsal.variables()
    target.write_text(
        f"""
schema: 1
name: staging
url: {here["FOCUS_URL"]}
kube:
  kubeconfig: {here["KUBECONFIG"]}
  identity: 00000000-0000-0000-0000-000000000000
  roles:
    focus_server: {{kind: Deployment, name: focus-server, selector: app=focus-server}}
max_windows: 30
"""
    )
    done = rehearsal.run("run", SHORT, "--target", str(target), "--out", str(tmp_path / "run"))
    assert done.returncode == Exit.TARGET
    assert "00000000-0000-0000-0000-000000000000" in done.stderr
    assert not (tmp_path / "run").exists()


API_AWAY = """
schema: 1
name: away
warm_up: 1s
duration: 36s
drain: 15s
load:
  stages: [{at: 0s, open_windows: 2}]
  hold: {min: 2s, max: 3s}
timeline:
  - {experiment: api-server-down, at: 12s, hold: 8s}
  - {experiment: cordon-worker, at: 24s, hold: 4s}
"""


def test_a_fault_whose_process_would_start_while_another_has_the_api_away_waits_for_it(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    file, out = tmp_path / "away.yaml", tmp_path / "run"
    file.write_text(API_AWAY)
    done = rehearsal.run("run", str(file), "--out", str(out), timeout_s=150)
    steps = [
        (r.event.experiment, r.event.step)
        for r in read_history(out / "history").events
        if isinstance(r.event, FaultChanged)
    ]
    for experiment in ("api-server-down", "cordon-worker"):
        assert (experiment, FaultStep.VERIFIED) in steps, done.stdout + done.stderr
