"""Experiments for real, under both runners: one of each family in `make test`, all of them in `make test-long`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import yaml

from tests.campaigns.conftest import HARNESS, ROOT, Rehearsal

EXPERIMENTS = sorted(file.stem for file in (ROOT / "experiments").glob("*.yaml"))
FAMILIES = (
    "drain-worker",
    "mongo-slow",
    "saturate-gpu",
    "focus-server-crash-loop",
    "revoke-kubernetes-access",
    "fill-windows",
    "kill-streams",
    "waiting-for-fibre",
    "block-cleanup",
)
"""One of each: nodes, MongoDB, GPU, Focus Server, Kubernetes, windows, streams, feed, cleanup."""
SETTINGS = ("gpu_shares=8", "pod_ips=40", "max_windows=10")
GIVEN = {"HARNESS_HOLD_S": "2", "HARNESS_WINDOWS": "3", "HARNESS_DELAY_MS": "100"}
WITH: dict[str, dict[str, object]] = {"fill-windows": {"windows": 3}, "cordon-worker": {"nodes": "all"}}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """A sandbox with few shares and addresses, so that taking all of them is quick."""
    name = f"experiments-{os.getpid()}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HARNESS_")}
    state = str(tmp_path_factory.mktemp("state"))
    environment |= {"XDG_STATE_HOME": state, "HARNESS_SANDBOX": name, "NO_COLOR": "1"}
    here = Rehearsal(name, environment)
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    up = here.run("sandbox", "up", "--name", name, "--bound-to", str(os.getpid()), *settings)
    assert up.returncode == 0, up.stdout + up.stderr
    yield here
    down = here.run("sandbox", "down", "--name", name, "--purge")
    assert down.returncode == 0, down.stdout + down.stderr


def needs_broker(experiment: str) -> None:
    if experiment == "rabbitmq-outage" and shutil.which("rabbitmq-server") is None:
        pytest.skip("rabbitmq-server is not installed: this sandbox has no broker to take away")


@contextmanager
def open_windows(small: Rehearsal) -> Iterator[None]:
    """Ask for windows again and again, as users would; they are there once one of their pods serves."""
    program = (
        "from harness.chaos.windows import open_window; from harness.chaos.world import Site;"
        "from harness.chaos.faults.kill_streams import stream_pods; from harness.chaos.faults.alteration import serves;"
        "from harness.cluster import connect; from harness.errors import HarnessError;"
        "from harness.target import load_target, find_target; import contextlib, time;"
        "t = load_target(find_target(None)); s = Site(connect(t), t); until = time.monotonic() + 170\n"
        "while time.monotonic() < until:\n"
        "    with contextlib.suppress(HarnessError): open_window(t)\n"  # refused when all are taken
        "    if any(serves(p) for p in stream_pods(s)): print('there', flush=True)\n"
        "    time.sleep(1)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=small.environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as user:
        try:
            assert user.stdout is not None
            assert user.stdout.readline() == "there\n"
            yield
        finally:
            user.kill()


def chaos_run(small: Rehearsal, experiment: str, folder: Path) -> list[str]:
    """Play an experiment alone; return the steps of its faults."""
    needs_broker(experiment)
    with open_windows(small) if experiment == "kill-streams" else nullcontext():
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "chaostoolkit",
                "--no-version-check",
                "run",
                str(ROOT / "experiments" / f"{experiment}.yaml"),
            ],
            env={**small.environment, **GIVEN, "PYTHONPATH": str(ROOT)},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (folder / "reports").iterdir()
    lines = [
        line for file in (run / "history").glob("*.events.jsonl") for line in file.read_text().splitlines()
    ]
    events = sorted((json.loads(line)["event"] for line in lines), key=lambda event: event["at_ns"])
    return [event["step"] for event in events if event["kind"] == "fault_changed"]


@pytest.mark.parametrize("experiment", FAMILIES)
def test_one_of_each_family_is_played_alone_and_undone(
    small: Rehearsal, tmp_path: Path, experiment: str
) -> None:
    steps = chaos_run(small, experiment, tmp_path)
    assert steps == ["opened", "injected", "effective", "undone", "verified"]


@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name not in FAMILIES])
def test_every_other_experiment_is_played_alone_and_undone(
    small: Rehearsal, tmp_path: Path, experiment: str
) -> None:
    steps = chaos_run(small, experiment, tmp_path)
    assert steps == ["opened", "injected", "effective", "undone", "verified"]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(3))
def test_every_experiment_is_played_in_a_campaign_and_undone(
    small: Rehearsal, tmp_path: Path, part: int
) -> None:
    """Configuration only: under a light load, one after another; what clients felt is not judged here."""
    chosen = [
        name for name in EXPERIMENTS[part::3] if name != "rabbitmq-outage" or shutil.which("rabbitmq-server")
    ]
    timeline = [
        {
            "experiment": name,
            "at": f"{6 + 16 * number}s",
            "hold": "3s",
            **({"with": WITH[name]} if name in WITH else {}),
        }
        for number, name in enumerate(chosen)
    ]
    said = play(small, tmp_path, timeline, 6 + 16 * len(chosen) + 20)
    assert said["exit_code"] == 0, said["reasons"]


def test_three_faults_at_once_are_undone_in_any_order(small: Rehearsal, tmp_path: Path) -> None:
    timeline = [
        {"experiment": "cordon-worker", "at": "8s", "hold": "26s", "with": {"nodes": "all"}},
        {"experiment": "mongo-stall", "at": "11s", "hold": "17s"},  # comes second, goes first
        {"experiment": "slow-network", "at": "13s", "hold": "27s", "with": {"delay": "100ms"}},
    ]
    said = play(small, tmp_path, timeline, 48)
    assert said["exit_code"] == 0, said["reasons"]
    findings = json.loads((tmp_path / "run" / "findings.json").read_text())
    undone = {fault["experiment"]: fault["undone_ns"] for fault in findings["faults"]}
    injected = {fault["experiment"]: fault["injected_ns"] for fault in findings["faults"]}
    assert max(injected.values()) < min(undone.values()), "all three were in at once"
    assert sorted(undone, key=lambda name: undone[name]) == ["mongo-stall", "cordon-worker", "slow-network"]


def play(
    small: Rehearsal, folder: Path, timeline: list[dict[str, object]], duration_s: int
) -> dict[str, object]:
    """Play a campaign with that timeline; return its verdict document."""
    campaign = {
        "schema": 1,
        "name": "experiments",
        "duration": f"{duration_s}s",
        "recover": "2s",
        "drain": "30s",
        "load": {
            "stages": [{"at": "0s", "open_windows": 2}],
            "hold": {"min": "5s", "max": "8s"},
            "storm": True,
        },
        "timeline": timeline,
    }
    file = folder / "experiments.yaml"
    file.write_text(yaml.safe_dump(campaign), encoding="utf-8")
    done = subprocess.run(
        [*HARNESS, "run", str(file), "--out", str(folder / "run")],
        env=small.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=duration_s + 200,
        check=False,
    )
    verdict = folder / "run" / "verdict.json"
    assert verdict.exists(), done.stdout + done.stderr
    said: dict[str, object] = json.loads(verdict.read_text())
    return said
