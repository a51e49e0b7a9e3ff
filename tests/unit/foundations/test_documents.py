"""Bad files: every problem at once, each with its line and the way out."""

from pathlib import Path

import pytest

from harness.campaign import plan, read_campaign
from harness.documents import duration_s
from harness.errors import FileProblems, InputError, Unreachable
from harness.target import find_target, load_target

ROOT = Path(__file__).resolve().parents[3]
TOUR = ROOT / "campaigns" / "tour.yaml"

BAD = """\
schema: 1
name: Bad Name
duration: 30
load:
  stages: [{at: 0s, open_window: 3}]
  hold: {min: 8s, max: 4s}
timeline:
  - {experiment: x, at: 5s, hold: 1s, colour: red}
gates:
  - {measure: windows, op: "=>", limit: 1}
"""


def problems(file: Path) -> dict[int, str]:
    with pytest.raises(FileProblems) as caught:
        read_campaign(file)
    return {problem.line: problem.text for problem in caught.value.problems}


def test_every_problem_of_a_campaign_is_said_at_once_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    told = problems(file)
    assert set(told) == {2, 3, 5, 6, 8, 10}
    assert "30 is not a duration" in told[3]
    assert "is less than min" in told[6]
    assert "unknown key" in told[8]


def test_a_key_that_is_nearly_right_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(TOUR.read_text().replace("warm_up:", "warmup:"))
    assert "did you mean `warm_up`?" in str(list(problems(file).values()))


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("schema: 1\nname: a\nname: b\n")
    assert problems(file) == {3: "key `name` stands here twice"}


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "\tx: 1"])
def test_what_is_no_campaign_at_all_is_said(text: str, tmp_path: Path) -> None:
    file = tmp_path / "none.yaml"
    file.write_text(text)
    assert problems(file)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_campaign(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "value_s"), [("10s", 10.0), ("500ms", 0.5), ("2m", 120.0), ("1.5h", 5400.0), (0, 0.0)]
)
def test_durations_carry_their_unit(text: object, value_s: float) -> None:
    assert duration_s(text) == value_s


@pytest.mark.parametrize("text", [10, "10", "10 seconds", "-1s", "s", None, True])
def test_a_duration_without_a_known_unit_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        duration_s(text)


def test_variables_have_defaults_and_overrides() -> None:
    assert read_campaign(TOUR).load.stages[2].open_windows == 24
    assert read_campaign(TOUR, {"windows": "5"}).load.stages[2].open_windows == 5
    assert read_campaign(TOUR, {"load.creates_in_flight": "9"}).load.creates_in_flight == 9


@pytest.mark.parametrize("name", ["window", "load.stages.9.at"])
def test_an_override_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        read_campaign(TOUR, {name: "5"})


def test_a_fault_that_outlasts_the_campaign_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "late.yaml"
    file.write_text(TOUR.read_text().replace("at: 106s, hold: 14s", "at: 106s, hold: 90s"))
    assert "make `duration` longer" in str(problems(file))


def test_a_gate_on_a_fault_that_is_not_played_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text(
        TOUR.read_text() + '  - {measure: refusals, during: "fault:earthquake", op: ">", limit: 0}\n'
    )
    assert "fault:earthquake is not on the timeline" in str(problems(file))


def test_the_plan_of_a_campaign_is_a_pure_function_of_it() -> None:
    assert plan(read_campaign(TOUR)) == plan(read_campaign(TOUR))
    assert plan(read_campaign(TOUR)).digest != plan(read_campaign(TOUR, {"windows": "5"})).digest


TARGET = """\
schema: 1
name: here
url: ${FOCUS_URL}
kube: none
max_windows: unlimited
mongodb_uri: ${MONGODB_URI:-}
"""


def test_a_target_takes_its_addresses_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "here.yaml"
    file.write_text(TARGET)
    monkeypatch.setenv("FOCUS_URL", "http://127.0.0.1:1/focus-server/")
    target = load_target(file)
    assert (target.url, target.mongodb_uri, target.window_limit) == (
        "http://127.0.0.1:1/focus-server",
        None,
        None,
    )


def test_a_variable_that_is_not_set_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "here.yaml"
    file.write_text(TARGET)
    with pytest.raises(FileProblems, match=r"here.yaml:3: \$\{FOCUS_URL\} is not set"):
        load_target(file)


def test_the_variables_of_a_target_may_come_from_a_command(tmp_path: Path) -> None:
    file = tmp_path / "here.yaml"
    script = tmp_path / "env.sh"
    script.write_text('#!/bin/sh\necho \'{"FOCUS_URL": "http://127.0.0.1:2"}\'\n')
    script.chmod(0o755)
    file.write_text(TARGET + f"environment_command: {script}\n")
    assert load_target(file).url == "http://127.0.0.1:2"


@pytest.mark.parametrize("command", ["/bin/false", "/no/such/program", "echo no-json"])
def test_a_variables_command_that_fails_is_an_unusable_target(command: str, tmp_path: Path) -> None:
    file = tmp_path / "here.yaml"
    file.write_text(TARGET + f"environment_command: {command}\n")
    with pytest.raises(Unreachable, match="environment_command"):
        load_target(file)


@pytest.mark.parametrize(("url", "complaint"), [("ftp://x", "is not a URL"), ("host:80", "is not a URL")])
def test_an_address_that_is_no_url_is_refused(url: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "here.yaml"
    file.write_text(TARGET.replace("${FOCUS_URL}", url))
    with pytest.raises(FileProblems, match=complaint):
        load_target(file)


def test_an_unknown_target_names_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match="sandbox"):
        find_target("nowhere")


def test_hands_that_could_not_be_filled_in_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "here.yaml"
    file.write_text(
        TARGET.replace("${FOCUS_URL}", "http://h") + "hands: {node: \"ssh {node} awk '{print}'\"}\n"
    )
    with pytest.raises(FileProblems, match="double every other brace"):
        load_target(file)


@pytest.mark.parametrize(("command", "error"), [("'echo \"'", InputError), ("echo [1]", Unreachable)])
def test_a_variables_command_that_makes_no_sense_is_said(
    command: str, error: type[Exception], tmp_path: Path
) -> None:
    file = tmp_path / "here.yaml"
    file.write_text(TARGET + f"environment_command: {command}\n")
    with pytest.raises(error, match="environment_command"):
        load_target(file)
