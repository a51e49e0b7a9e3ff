"""Every ending of the command line has its documented exit code and says the way out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cli
from harness.errors import Exit, StillBroken

ROOT = Path(__file__).resolve().parents[3]
TOUR = str(ROOT / "campaigns" / "tour.yaml")


def test_bad_files_are_code_2_with_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("schema: 1\nname: x\nduration: 5\n")
    assert cli.ending(["check", str(bad)]) == Exit.USAGE
    assert "bad.yaml:3: duration: 5 is not a duration" in capsys.readouterr().err


def test_a_misspelt_measure_is_code_2_and_the_right_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(Path(TOUR).read_text().replace("measure: windows", "measure: windoes"))
    assert cli.ending(["check", str(bad)]) == Exit.USAGE
    assert "did you mean `windows`?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("of: streaming", "of: streamin", "did you mean `streaming`?"),
        ("measure: refusals,", "measure: refusals, of: accepted,", "takes no `of`"),
        ("of: over_admission", "of: over-admission", "did you mean `over_admission`?"),
        ("admission_violations, of: over_admission,", "cause_ratio,", "cause_ratio needs `of`: a cause"),
        ("of: over_admission,", "of: over_admission, during: hold,", "concluded for the whole run"),
        ("with: {nodes: all}", "with: {nodez: all}", "did you mean 'nodes'?"),
        ("experiment: kill-mongo", "experiment: kill-mango", "'kill-mango' is nowhere to be found"),
        ('"${beyond}"', '"${dozen}"', "declare dozen under `variables:`"),
    ],
)
def test_a_name_that_means_nothing_is_code_2_with_its_line(
    old: str, new: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path(TOUR).read_text().replace(old, new, 1).replace("refuses: true", "refuses: false")
    (tmp_path / "bad.yaml").write_text(text)
    assert new in text
    assert cli.ending(["check", str(tmp_path / "bad.yaml")]) == Exit.USAGE
    said = capsys.readouterr().err
    assert told in said
    assert f"bad.yaml:{text[: text.index(new)].count(chr(10)) + 1}:" in said


def test_a_reader_that_goes_away_is_not_a_success_and_not_1() -> None:
    script = f"{sys.executable} -m harness schema campaign | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=False, cwd=ROOT)
    assert done.returncode == Exit.STOPPED


def test_the_tour_is_a_fine_campaign(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.ending(["check", TOUR, "--explain"]) == Exit.OK
    told = capsys.readouterr().out
    assert "cordon-worker" in told
    assert "the record is complete (always)" in told


@pytest.mark.parametrize("of", ["campaign", "target", "verdict"])
def test_schemas_are_json(of: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.ending(["schema", of]) == Exit.OK
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "arguments", [["juggle"], ["run"], ["check", TOUR, "--set", "windows"], ["run", TOUR, "--colour"]]
)
def test_a_wrong_command_line_is_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.ending(arguments) == Exit.USAGE
    assert "Error" in capsys.readouterr().err


def test_judging_what_is_no_run_is_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.ending(["judge", "yesterday", "--reports", str(tmp_path)]) == Exit.USAGE
    assert "no run 'yesterday'" in capsys.readouterr().err


def test_a_run_without_a_sandbox_or_target_injects_nothing_and_says_how_to_start_one(
    state_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.ending(["run", TOUR, "--reports", str(tmp_path / "reports")]) == Exit.TARGET
    assert "harness sandbox up" in capsys.readouterr().err
    assert not (tmp_path / "reports").exists()


def test_our_own_errors_carry_their_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> int:
        raise StillBroken("node worker-node is still cordoned; run: kubectl uncordon worker-node")

    monkeypatch.setattr(cli.cli, "main", broken)
    assert cli.ending(["check", TOUR]) == Exit.BROKEN
    assert "kubectl uncordon" in capsys.readouterr().err


def test_what_nobody_foresaw_is_code_70_with_the_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def surprising(**_: object) -> int:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(cli.cli, "main", surprising)
    assert cli.ending([]) == Exit.INTERNAL
    told = capsys.readouterr().err
    log = Path(told.split("traceback: ")[1].strip())
    assert "ZeroDivisionError: surprise" in log.read_text()
    log.unlink()


def test_the_process_itself_ends_with_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "juggle"], capture_output=True, check=False, env=os.environ
    )
    assert done.returncode == Exit.USAGE


def test_settings_of_a_run_s_own_sandbox_reach_it() -> None:
    from harness.conduct.rehearsal import _options

    given = {"mode": "field", "broker": "off", "profile": "fast"}
    assert _options(given) == ["--mode", "field", "--set", "broker=off", "--profile", "fast"]


def test_a_setting_no_sandbox_has_is_code_2_before_anything_starts(
    state_home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "run",
        TOUR,
        "--sandbox",
        "--sandbox-option",
        "colour=red",
        "--reports",
        str(tmp_path / "reports"),
    ]
    assert cli.ending(arguments) == Exit.USAGE
    assert "colour" in capfd.readouterr().err
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(("own", "code"), [(10, 10), (None, 0), (1, Exit.STOPPED)])
def test_a_command_s_own_ending_is_kept(own: int | None, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaving(**_: object) -> int:
        raise SystemExit(own)

    monkeypatch.setattr(cli.cli, "main", leaving)
    assert cli.ending([]) == code
