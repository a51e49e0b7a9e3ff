"""What people's own load is made of, without Locust: the feed's rows, requests as they are written down, what a plan wants when."""

from pathlib import Path
from typing import Any

import pytest

from harness.clock import SystemClock
from harness.errors import FileProblems, InputError
from harness.focus.endpoint import Endpoint
from harness.history.live import second_of
from harness.history.reader import read_history
from harness.history.run import RunInfo
from harness.history.samples import OTHER, REQUESTS
from harness.history.writer import HistoryWriter
from harness.judge.own import own
from harness.judge.record import RunRecord
from harness.load.feed import Feed, FeedPlan, Order, read_rows
from harness.load.plan import LoadPlan, OwnPlan, Step, read_plan, wanted_own, wanted_windows, write_plan
from harness.load.requested import NAMES, Requested
from harness.measures.catalogue import BY_NAME
from harness.measures.measure import measure
from harness.measures.portion import of_requests, of_second

RUN = RunInfo(
    run_id="x",
    harness_version="",
    campaign="x",
    plan_hash="",
    seed=0,
    target="",
    target_url="",
    wall_start="",
)


def feed_of(folder: Path, rows: int, order: Order, **more: int) -> Feed:
    file = folder / "rows.jsonl"
    file.write_text("".join(f'{{"n": {n}}}\n' for n in range(rows)))
    return Feed(FeedPlan(file=str(file), order=order), **{"seed": 3, **more})


def test_unique_rows_are_handed_out_once(tmp_path: Path) -> None:
    feed = feed_of(tmp_path, 3, "unique")
    assert [feed.take() for _ in range(5)] == [(1, {"n": 0}), (2, {"n": 1}), (3, {"n": 2}), None, None]


def test_round_robin_begins_again(tmp_path: Path) -> None:
    feed = feed_of(tmp_path, 2, "round_robin")
    assert [row and row[0] for row in (feed.take() for _ in range(5))] == [1, 2, 1, 2, 1]


def test_random_rows_follow_from_the_seed(tmp_path: Path) -> None:
    def drawn(seed: int) -> list[Any]:
        feed = feed_of(tmp_path, 50, "random", seed=seed)
        return [feed.take() for _ in range(20)]

    assert drawn(3) == drawn(3) != drawn(4)


def test_parts_of_a_feed_share_its_rows_out(tmp_path: Path) -> None:
    parts = [feed_of(tmp_path, 7, "unique", part=part, parts=3) for part in range(3)]
    taken = [row[0] for feed in parts for _ in range(7) if (row := feed.take())]
    assert sorted(taken) == [1, 2, 3, 4, 5, 6, 7]


def test_every_line_that_is_no_object_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\n\n{"a": \n[1]\r\n{"b": 2}\r\n\xff\n')
    with pytest.raises(FileProblems) as error:
        read_rows(file)
    assert [problem.line for problem in error.value.problems] == [3, 4, 6]
    file.write_text("\n")
    with pytest.raises(FileProblems, match="has no row"):
        read_rows(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_rows(tmp_path / "none.jsonl")


def written(folder: Path, *requests: dict[str, Any]) -> tuple[RunRecord, list[str]]:
    notes: list[str] = []
    writer = HistoryWriter(folder / "history", "load-1")
    requested = Requested(writer, SystemClock.start(), lambda _, text: notes.append(text))
    for request in requests:
        requested.heard(**request)
    writer.close()
    return RunRecord(RUN, read_history(folder / "history")), notes


def ok(name: str, ms: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"request_type": "GET", "name": name, "response_time": ms, "response_length": 1, **more}


def test_requests_are_counted_timed_and_narrowed_by_name(tmp_path: Path) -> None:
    requests = [ok("/a", ms) for ms in range(1, 101)] + [ok("/b", 500, exception=ValueError("no"))] * 3
    record, notes = written(tmp_path, *requests, {**ok("/a", 7), "request_type": "POST"})
    assert not notes
    found = own(record)
    assert found is not None
    assert (found.count, found.failed) == (104, 3)
    rows = {(row.type, row.name): row for row in found.requests}
    assert rows["GET", "/a"].p95_s == pytest.approx(0.095)
    assert rows["GET", "/b"].errors == {"ValueError": 3}
    portion = record.portion(record.whole)

    def told(name: str, of: str = "") -> tuple[float | None, int]:
        measured = measure(BY_NAME[name], [portion], of)
        return measured.value, measured.samples

    assert told("own_requests") == (104, 104)
    assert told("own_requests", "/a") == (101, 104)
    assert told("own_requests", "POST /a") == (1, 104)
    assert told("own_failed_ratio") == (3 / 104, 104)
    assert told("own_failed_ratio", "/b") == (1.0, 3)
    assert told("own_request_p95", "GET /a") == (pytest.approx(0.095), 100)
    assert told("own_request_p99", "/nowhere") == (None, 0)


def test_live_and_from_files_own_requests_are_counted_the_same(tmp_path: Path) -> None:
    record, _ = written(
        tmp_path,
        *[ok("/a")] * 5,
        *[ok("/b", exception=KeyError("x"))] * 2,
        {**ok("/a"), "request_type": "PUT"},
    )
    samples = record.requests
    second = second_of("load-1", REQUESTS, samples.rows, list(samples.texts))
    assert of_second(second).own == of_requests(samples, samples.rows).own
    assert {(one.name, sum(one.buckets)) for one in second.requests} == {("/a", 5), ("/b", 2), ("/a", 1)}


def test_names_without_end_are_counted_together_and_said_once(tmp_path: Path) -> None:
    record, notes = written(tmp_path, *[ok(f"/row/{n}") for n in range(NAMES + 50)], ok("/row/1"))
    found = own(record)
    assert found is not None
    assert len(found.requests) == NAMES + 1
    assert {row.name: row.count for row in found.requests}[OTHER] == 50
    assert [text for text in notes if "name=" in text] == notes
    assert len(notes) == 1


@pytest.mark.parametrize("odd", [None, -5, float("nan"), float("inf"), "late", 10**30])
def test_what_a_client_reports_is_kept_in_bounds(tmp_path: Path, odd: Any) -> None:
    record, _ = written(
        tmp_path, {**ok("/a"), "response_time": odd},
        {**ok("/a"), "response_length": odd, "start_time": odd, "exception": ""},
    )  # fmt: skip
    found = own(record)
    assert found is not None
    assert (found.count, found.failed) == (2, 0)


def test_a_plan_with_own_users_comes_back_whole_and_says_how_many_when(tmp_path: Path) -> None:
    plan = LoadPlan(
        endpoint=Endpoint(url="http://x"),
        stages=(Step(0, 3), Step(5, 1, 4)),
        own=OwnPlan(file="mine.py", users=("A",), tags=("read",)),
        feed=FeedPlan(file="rows.jsonl", order="random"),
        end_s=9.0,
    )
    write_plan(plan, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == plan
    assert [(wanted_windows(plan, t), wanted_own(plan, t)) for t in (-1, 0, 5, 9)] == [
        (0, 0),
        (3, 0),
        (1, 4),
        (None, None),
    ]
