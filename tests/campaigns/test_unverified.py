"""An action that nobody undoes: refused unless it says so, played on the sandbox only, and named on top of the report."""

import json
from pathlib import Path

import pytest
import yaml

from tests.campaigns.conftest import BUSY, ROOT, Rehearsal

PROCESS = {"type": "process", "path": "true"}


def campaign(folder: Path, *, unverified: bool) -> Path:
    """Write a campaign and, beside it, an experiment that does something of its own before it cordons."""
    document = yaml.safe_load((ROOT / "experiments" / "cordon-worker.yaml").read_text(encoding="utf-8"))
    extra = {"name": "something-else", "type": "action", "provider": PROCESS}
    document["method"].insert(0, {**extra, "unverified": True} if unverified else extra)
    (folder / "experiments").mkdir()
    (folder / "experiments" / "mixed.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    file = folder / "mixed-campaign.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "schema": 1,
                "name": "mixed",
                "duration": "12s",
                "recover": "1s",
                "drain": "20s",
                "validity": BUSY,
                "load": {"stages": [{"at": "0s", "open_windows": 1}], "hold": {"min": "3s", "max": "4s"}},
                "timeline": [{"experiment": "mixed", "at": "4s", "hold": "3s"}],
            }
        ),
        encoding="utf-8",
    )
    return file


def test_an_action_that_nobody_undoes_has_to_say_so(rehearsal: Rehearsal, tmp_path: Path) -> None:
    done = rehearsal.run("run", str(campaign(tmp_path, unverified=False)), "--out", str(tmp_path / "run"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "action 'something-else' has no undo of ours" in done.stderr
    assert "unverified: true" in done.stderr
    assert not (tmp_path / "run").exists()


def test_saying_so_it_is_played_on_the_sandbox_and_stands_on_top_of_the_report(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    done = rehearsal.run("run", str(campaign(tmp_path, unverified=True)), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "beware: mixed: something-else" in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["unverified"] == ["mixed: something-else"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.index("mixed: something-else") < page.index("<h1>")
    assert "Actions that nobody undoes or verifies were played: mixed: something-else." in " ".join(
        done.stdout.split()
    )


@pytest.mark.timeout(180)
def test_off_the_sandbox_it_is_refused(rehearsal: Rehearsal, tmp_path: Path) -> None:
    text = (
        (ROOT / "targets" / "sandbox.yaml")
        .read_text(encoding="utf-8")
        .replace("sandbox: true", "sandbox: false")
    )
    target = tmp_path / "real.yaml"
    target.write_text(text.replace("name: sandbox", "name: real"), encoding="utf-8")
    file = campaign(tmp_path, unverified=True)
    done = rehearsal.run("run", str(file), "--target", str(target), "--out", str(tmp_path / "run"))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "nobody undoes these actions; they run on the sandbox only" in done.stderr
    cordon = tmp_path / "cordon.yaml"
    document = yaml.safe_load(file.read_text())
    document["timeline"] = [{"experiment": "cordon-worker", "at": "4s", "hold": "3s"}]
    cordon.write_text(yaml.safe_dump(document))
    without = rehearsal.run("run", str(cordon), "--target", str(target), "--out", str(tmp_path / "run"))
    assert without.returncode == 3, without.stdout + without.stderr
    assert "no reverter answers" in without.stderr
    assert "--guard-only" in without.stderr
    assert not (tmp_path / "run").exists()
    alone = rehearsal.run(
        "run", str(cordon), "--target", str(target), "--out", str(tmp_path / "run"), "--guard-only"
    )
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert "Played with --guard-only" in " ".join(alone.stdout.split())
