"""`stop_when` in a campaign file: every mistake is said with its line and the way out, and the plan tells what will stop it."""

import json
from pathlib import Path

import pytest

from harness import cli
from harness.campaign import HttpCondition, plan, read_campaign
from harness.conduct.orders import check_campaign
from harness.errors import Exit, FileProblems
from harness.measures.live import LIVE

BASE = """\
schema: 1
name: guarded
duration: 30s
load: {stages: [{at: 0s, open_windows: 3}], hold: {min: 2s, max: 4s}}
stop_when:
"""
LINE = BASE.count("\n") + 1
FINE = """\
  - {name: refusals, measure: ratio_503, op: ">", limit: 0.9, for: 10s, min_samples: 5}
  - {name: died, measure: processes_died, op: ">", limit: 0, for: 2s}
  - {name: page, http: "https://host/health", contains: ok, for: 5s, insecure: true}
  - {name: cpu, promql: "sum(rate(x[1m]))", url: "http://prometheus:9090", op: ">", limit: 5, for: 15s}
"""


def written(folder: Path, conditions: str) -> Path:
    file = folder / "guarded.yaml"
    file.write_text(BASE + conditions)
    return file


def problem(folder: Path, conditions: str) -> tuple[int, str]:
    with pytest.raises(FileProblems) as caught:
        check_campaign(written(folder, conditions))
    (only,) = caught.value.problems
    return only.line, only.text


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ('{name: a, measure: ratio_530, op: ">", limit: 1, for: 5s}', "did you mean `ratio_503`?"),
        ('{name: a, measure: refusals, of: x, op: ">", limit: 1, for: 5s}', "refusals takes no `of`"),
        ('{name: a, measure: create_p95, op: ">", limit: 1, for: 5s}', "cannot stop a run: single latencies"),
        ('{name: a, measure: drift, op: ">", limit: 1, for: 5s, over: 5s}', "leave `over` out"),
        ('{name: a, measure: drift, op: ">", limit: 1}', "stop_when.0.for: is missing"),
        ('{name: a, measure: drift, op: ">", limit: 1, for: 1s}', "1s is too short"),
        ('{name: a, measure: drift, op: ">", limit: 1, for: 5s, ovr: 5s}', "did you mean `over`?"),
        ('{name: a, measure: drift, op: "=>", limit: 1, for: 5s}', "stop_when.0.op: Input should be '<'"),
        ("{name: a, for: 5s}", "write one of `measure`, `http`, `promql`"),
        ("5s", "write one of `measure`, `http`, `promql`"),
        ('{name: a, http: "host/health", for: 5s}', "write http:// or https:// and a host"),
        ('{name: a, http: "http://u:hidden@host/", for: 5s}', "holds a credential"),
        ('{name: a, http: "http://host/", for: 5s, ca_file: x, insecure: true}', "exclude each other"),
        (
            '{name: a, promql: "x", url: "http://p/?query=x", op: ">", limit: 1, for: 5s}',
            "belongs into `promql`",
        ),
        ('{name: a, http: "http://${NOWHERE}/", for: 5s}', "set it in the environment"),
    ],
)
def test_a_mistake_is_said_with_its_line_and_the_way_out(condition: str, told: str, tmp_path: Path) -> None:
    line, text = problem(tmp_path, f"  - {condition}\n")
    assert line == LINE
    assert told in text
    assert "hidden" not in text


def test_a_measure_that_is_not_live_is_refused_with_those_that_are(tmp_path: Path) -> None:
    _, text = problem(tmp_path, '  - {name: a, measure: open_windows, op: ">", limit: 1, for: 5s}\n')
    assert all(name in text for name in LIVE)


def test_the_line_is_that_of_the_key_itself(tmp_path: Path) -> None:
    block = "  - name: a\n    http: http://host/\n    for: 5s\n    stat: 200\n"
    assert problem(tmp_path, block) == (LINE + 3, "stop_when.0.stat: unknown key; did you mean `status`?")


def test_two_conditions_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = '  - {name: a, http: "http://host/", for: 5s}\n' * 2
    assert "two conditions are called 'a'" in problem(tmp_path, twice)[1]


def test_the_environment_fills_conditions_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGE", "http://here")
    monkeypatch.setenv("TOKEN", "very-secret")
    line = '  - {name: a, http: "${PAGE}/health", for: 5s, headers: {Authorization: "Bearer ${TOKEN}"}}\n'
    campaign = read_campaign(written(tmp_path, line))
    (condition,) = campaign.stop_when
    assert isinstance(condition, HttpCondition)
    assert condition.address == "http://here/health"
    assert condition.headers["Authorization"].get_secret_value() == "Bearer very-secret"
    assert "very-secret" not in repr(campaign) + campaign.model_dump_json()
    before = plan(campaign).digest
    monkeypatch.setenv("TOKEN", "another")
    assert plan(read_campaign(written(tmp_path, line))).digest == before
    file = tmp_path / "elsewhere.yaml"
    file.write_text(BASE.replace("name: guarded", 'name: "${PAGE}"').replace("stop_when:\n", ""))
    with pytest.raises(FileProblems, match=r"\$\{PAGE\} is not set"):
        read_campaign(file)


def test_a_variable_of_the_campaign_comes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGE", "http://elsewhere")
    file = written(tmp_path, '  - {name: a, http: "${PAGE}/", for: 5s}\nvariables: {PAGE: "http://here"}\n')
    for overrides, address in (({}, "http://here/"), ({"PAGE": "http://set"}, "http://set/")):
        (condition,) = read_campaign(file, overrides).stop_when
        assert isinstance(condition, HttpCondition)
        assert condition.address == address


def test_the_plan_lists_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.ending(["check", str(written(tmp_path, FINE)), "--explain"]) == Exit.OK
    told = capsys.readouterr().out
    for line in (
        "refusals: ratio_503 over 10 s > 0.9, from 5 samples on for 10 s",
        "died: processes_died over the run so far > 0 for 2 s",
        "page: https://host/health does not answer 200 with 'ok' (TLS IS NOT VERIFIED) for 5 s",
        "cpu: sum(rate(x[1m])) > 5, says http://prometheus:9090 for 15 s",
    ):
        assert line in told


def test_the_schema_knows_all_three_forms(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.ending(["schema", "campaign"]) == Exit.OK
    forms = json.loads(capsys.readouterr().out)["$defs"]
    assert {"MeasureCondition", "HttpCondition", "PromqlCondition"} <= set(forms)
