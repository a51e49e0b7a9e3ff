"""The truth log: one line per fact, changes only once, torn tails left out, causes in order."""

import json
from pathlib import Path

import pytest

from harness.sandbox.settings import Settings, SettingsError
from harness.sandbox.truth import Cause, TruthLog, in_order, read


def test_facts_of_all_processes_come_in_time_order(tmp_path: Path) -> None:
    one, other = TruthLog(tmp_path, "one"), TruthLog(tmp_path, "other")
    one.write("a", value=1)
    other.write("b", value=2)
    one.write("c", causes=[Cause.MAX_WINDOWS])
    one.close()
    other.close()
    assert [fact["kind"] for fact in read(tmp_path)] == ["a", "b", "c"]
    assert read(tmp_path)[2]["causes"] == ["max_windows"]
    assert [fact["seq"] for fact in read(tmp_path) if fact["process"] == "one"] == [0, 1]


def test_a_fact_is_on_disk_when_write_returns(tmp_path: Path) -> None:
    log = TruthLog(tmp_path, "one")
    log.write("a")
    assert json.loads((tmp_path / "one.jsonl").read_text())["kind"] == "a"
    log.close()


def test_a_change_is_told_once_per_key(tmp_path: Path) -> None:
    log = TruthLog(tmp_path, "one")
    assert log.write_change("node", "w1", ready=True)
    assert not log.write_change("node", "w1", ready=True)
    assert log.write_change("node", "w2", ready=True)
    assert log.write_change("node", "w1", ready=False)
    log.close()
    assert [(fact["of"], fact["ready"]) for fact in read(tmp_path)] == [
        ("w1", True),
        ("w2", True),
        ("w1", False),
    ]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    log = TruthLog(tmp_path, "one")
    log.write("whole")
    log.close()
    with (tmp_path / "one.jsonl").open("a") as file:
        file.write('{"at_ns": 1, "kin')
    assert [fact["kind"] for fact in read(tmp_path)] == ["whole"]


def test_the_order_of_the_checks_says_which_cause_is_the_primary_one() -> None:
    found = {Cause.MONGODB, Cause.MAX_WINDOWS, Cause.GPU_EXHAUSTED}
    assert in_order(found, Settings.check_order)[0] == Cause.GPU_EXHAUSTED
    assert in_order(found, tuple(reversed(Settings.check_order)))[0] == Cause.MONGODB
    assert in_order(set(Cause), Settings.check_order)[-1] == Cause.WHIM


def test_an_order_that_leaves_a_check_out_is_refused() -> None:
    with pytest.raises(SettingsError, match="name each of"):
        Settings.make(sets=("check_order=max_windows,mongodb_unavailable",))
