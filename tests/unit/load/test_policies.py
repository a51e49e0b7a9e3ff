"""What decides when something is asked: stages, budget, watermarks, suspensions. Pure, so the laws are checked as laws."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engine.purse import Go, Purse, Spent, Wait
from harness.engine.watermark import Watermarks
from harness.errors import InputError
from harness.focus.endpoint import Endpoint
from harness.focus.seam import Budget, Inbox, Payload, Play, packed, unpacked_ask
from harness.history.events import Outcome
from harness.load.plan import LoadPlan, Step, pauses, read_plan, wanted_windows, write_plan
from harness.load.refusals import Refusals

SECOND = 1_000_000_000
ENDPOINT = Endpoint(url="http://127.0.0.1:1/focus-server")

plans = st.builds(
    lambda steps, end_s, most, hold, seed, back: LoadPlan(
        endpoint=ENDPOINT,
        budget=Budget(max_open_windows=most),
        stages=tuple(Step(at_s, windows) for at_s, windows in sorted(steps)),
        end_s=end_s,
        hold_s=(hold, hold * 2),
        seed=seed,
        historic_back_s=back,
    ),
    st.lists(st.tuples(st.floats(0, 1000), st.integers(0, 100)), max_size=6),
    st.none() | st.floats(0, 2000),
    st.integers(1, 60),
    st.floats(0, 100),
    st.integers(0, 2**31),
    st.floats(1, 1e6),
)


@given(plans)
def test_a_plan_survives_json(plan: LoadPlan) -> None:
    assert msgspec.json.decode(msgspec.json.encode(plan), type=LoadPlan) == plan


@given(plans, st.floats(-10, 3000))
def test_wanted_windows_follow_the_latest_step_within_the_budget(plan: LoadPlan, t_s: float) -> None:
    wanted = wanted_windows(plan, t_s)
    if plan.end_s is not None and t_s >= plan.end_s:
        assert wanted is None
        return
    begun = [step for step in plan.stages if step.at_s <= t_s]
    assert wanted == (min(begun[-1].open_windows, plan.budget.max_open_windows) if begun else 0)


def test_a_plan_file_that_is_no_plan_says_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    write_plan(LoadPlan(endpoint=ENDPOINT, stages=(Step(0, 3),)), file)
    assert read_plan(file).stages == (Step(0, 3),)
    file.write_text(file.read_text().replace('"creates_in_flight": 5', '"creates_in_flight": 0'))
    with pytest.raises(InputError, match="creates_in_flight 0"):
        read_plan(file)
    file.write_text("{}")
    with pytest.raises(InputError, match="endpoint"):
        read_plan(file)
    with pytest.raises(InputError, match="missing"):
        read_plan(tmp_path / "missing.json")


def test_pauses_are_the_same_for_the_same_seed_and_differ_between_users() -> None:
    plan = LoadPlan(endpoint=ENDPOINT, seed=4)
    assert pauses(plan, "LiveViewer", 1).random() == pauses(plan, "LiveViewer", 1).random()
    assert pauses(plan, "LiveViewer", 1).random() != pauses(plan, "LiveViewer", 2).random()


def test_the_purse_counts_jobs_that_were_made_or_may_have_been() -> None:
    purse = Purse(Budget(max_jobs=2, max_rate_per_s=1e9), 0)
    assert purse.ask(1) == Go()
    purse.refused()
    purse.closed()
    for now in (2, 3):
        assert purse.ask(now) == Go()
        purse.made()
        purse.closed()
    spent = purse.ask(4)
    assert isinstance(spent, Spent)
    assert spent.limit == "max_jobs"
    assert "2 jobs" in spent.text


def test_the_purse_waits_for_an_answer_before_it_calls_the_jobs_spent() -> None:
    purse = Purse(Budget(max_jobs=1, max_rate_per_s=1e9), 0)
    assert purse.ask(1) == Go()
    assert isinstance(purse.ask(2), Wait)
    purse.refused()
    assert purse.ask(3) == Go()


def test_the_purse_ends_after_max_duration() -> None:
    purse = Purse(Budget(max_duration_s=10), 5 * SECOND)
    assert purse.ask(14 * SECOND) == Go()
    assert isinstance(purse.ask(15 * SECOND), Spent)


def test_the_purse_holds_back_what_would_be_too_many_open_windows() -> None:
    purse = Purse(Budget(max_open_windows=1, max_rate_per_s=1e9), 0)
    assert purse.ask(1) == Go()
    purse.made()
    assert purse.ask(2) == Wait(50_000_000, "max_open_windows")
    purse.closed()
    assert purse.ask(3) == Go()


@given(
    st.lists(st.integers(0, SECOND), min_size=1, max_size=40), st.floats(0.2, 20, allow_nan=False).map(float)
)
def test_creates_never_come_faster_than_max_rate(gaps_ns: list[int], rate: float) -> None:
    """No stretch of time that may see n creates sees one more: n is a second's, or 1 where the rate is below 1."""
    purse = Purse(Budget(max_jobs=1000, max_open_windows=1000, max_rate_per_s=rate), 0)
    now_ns, sent = 0, []
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        while isinstance(answer := purse.ask(now_ns), Wait):
            now_ns += answer.ns
        assert answer == Go()
        sent.append(now_ns)
        purse.made()
    most = max(1, int(rate))
    assert all(
        later - earlier >= most * SECOND / rate - 1 for earlier, later in zip(sent, sent[most:], strict=False)
    )


def test_a_burst_within_the_rate_is_not_spread_out() -> None:
    purse = Purse(Budget(max_rate_per_s=3), 0)
    assert [purse.ask(now) for now in (5, 5, 6)] == [Go()] * 3
    assert purse.ask(7) == Wait(SECOND - 2, "max_rate_per_s")


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 6), st.integers(1, 12))
def test_open_windows_never_share_a_channel_range_while_there_is_one(
    takes: list[bool], width: int, room: int
) -> None:
    width = min(width, room)
    marks = Watermarks(Payload(channels=width, channel_min=1, channel_max=room))
    possible = sum(room - narrow + 1 for narrow in range(1, width + 1))
    taken: list[tuple[int, int]] = []
    for take in takes:
        if take and len(taken) < possible:
            mark = marks.take()
            assert mark not in taken
            assert 1 <= mark[0] <= mark[1] <= room
            taken.append(mark)
        elif taken:
            marks.give_back(taken.pop(0))


def test_a_range_given_back_is_used_again_as_late_as_possible() -> None:
    marks = Watermarks(Payload(channels=2, channel_min=1, channel_max=5))
    first = marks.take()
    marks.give_back(first)
    assert [marks.take() for _ in range(4)][-1] == first


def refuse(refusals: Refusals, times: int, now_ns: int = 0) -> list[int]:
    found = [refusals.refused(Outcome.UNAVAILABLE_503, now_ns) for _ in range(times)]
    return [one.refusals for one in found if one is not None]


def test_equal_refusals_in_a_row_suspend_and_one_user_at_a_time_probes() -> None:
    refusals = Refusals(3, 2 * SECOND)
    assert refuse(refusals, 2) == []
    assert refusals.wait_ns(0) == 0
    assert refuse(refusals, 1) == [3]
    assert refusals.wait_ns(SECOND) == SECOND
    assert refusals.wait_ns(2 * SECOND) == 0  # the probe
    assert refusals.wait_ns(2 * SECOND) > 0  # everybody else
    assert refuse(refusals, 1, 2 * SECOND) == [4]
    assert refusals.wait_ns(3 * SECOND) == SECOND
    assert refusals.wait_ns(4 * SECOND) == 0
    refusals.gave_up()
    assert refusals.wait_ns(4 * SECOND) == 0  # somebody else may probe
    refusals.accepted()
    assert refusals.wait_ns(4 * SECOND) == refusals.wait_ns(4 * SECOND) == 0


def test_answers_on_their_way_do_not_suspend_twice() -> None:
    refusals = Refusals(3, 2 * SECOND)
    assert refuse(refusals, 8) == [3]


def test_another_refusal_or_a_storm_never_suspends() -> None:
    refusals = Refusals(2, SECOND)
    for _ in range(5):
        assert refusals.refused(Outcome.UNAVAILABLE_503, 0) is None
        assert refusals.refused(Outcome.SERVER_5XX, 0) is None
    storm = Refusals(2, SECOND, storm=True)
    assert refuse(storm, 50) == []
    assert storm.wait_ns(0) == 0


@given(st.lists(st.integers(1, 10**6), max_size=8), st.randoms(use_true_random=False))
def test_messages_survive_any_cutting_of_the_stream(windows: list[int], chance: object) -> None:
    asks = [Play(window=window, hold_s=window / 7) for window in windows]
    data = b"".join(map(packed, asks))
    inbox, got, at = Inbox(), [], 0
    while at < len(data):
        size = chance.randint(1, 40)  # type: ignore[attr-defined]
        got += [unpacked_ask(body) for body in inbox.feed(data[at : at + size])]
        at += size
    assert got == asks


def test_an_impossible_length_is_refused() -> None:
    with pytest.raises(ValueError, match="no message of ours"):
        list(Inbox().feed(b"\xff\xff\xff\xff"))
