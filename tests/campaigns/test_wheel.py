"""The wheel works alone, in an empty directory: campaigns, experiments and targets come with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built and unpacked where nothing else is."""
    wheels, place = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ROOT],
        check=True,
        cwd=place,
    )
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", place, wheel], check=True)
    return place


def harness(installed: Path, where: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HARNESS_")}
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=where,
        env={**environment, "PYTHONPATH": str(installed), "XDG_STATE_HOME": str(where / "state")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tour_and_its_experiments_are_found_in_the_package(installed: Path, tmp_path: Path) -> None:
    done = harness(installed, tmp_path, "check", "tour", "--explain")
    assert done.returncode == 0, done.stderr
    assert str(installed / "harness" / "shipped" / "experiments" / "cordon-worker.yaml") in done.stdout


def test_an_experiment_beside_the_campaign_goes_before_the_packaged_one(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text((ROOT / "campaigns" / "tour.yaml").read_text())
    (tmp_path / "experiments").mkdir()
    mine = tmp_path / "experiments" / "cordon-worker.yaml"
    mine.write_text((ROOT / "experiments" / "cordon-worker.yaml").read_text())
    done = harness(installed, tmp_path, "check", "./mine.yaml", "--explain")
    assert done.returncode == 0, done.stderr
    assert str(mine) in done.stdout
    assert str(installed / "harness" / "shipped" / "experiments" / "kill-mongo.yaml") in done.stdout


def test_the_packaged_sandbox_target_says_how_to_start_a_sandbox(installed: Path, tmp_path: Path) -> None:
    done = harness(installed, tmp_path, "run", "tour")
    assert done.returncode == 3
    assert "harness sandbox up" in done.stderr
