"""A recovery taken apart, and what rate of windows the limit can sustain."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_story import Story, ns

from harness.history.events import ClusterEventSeen, LoadState, Outcome, Phase
from harness.judge.findings import Instant, RecoveryFinding


def outage(*, back: bool = True) -> Story:
    """Windows one after another; MongoDB away from 40 s to 50 s, undone then, windows again from 52 s on."""
    story = Story(max_windows=10).begin()
    story.phase(0.5, Phase.BASELINE)
    story.node(0.1)
    for role in ("focus_server", "mongodb"):
        story.pod(0.1, role=role)
    story.depends(0.2, "mongodb", up=True)
    for second in range(1, 39):
        story.window(second, second + 6, gone_s=second + 8)
    story.fault("mongo", injected=40, undone=50, verified=51.5)
    story.pod(40.3, role="mongodb", ready=False)
    story.depends(40.8, "mongodb", up=False)
    for tenth in range(410, 500, 5):
        story.refused(tenth / 10, tenth / 10 + 0.2)
    story.pod(49.8, role="mongodb")
    if back:
        story.depends(50.5, "mongodb", up=True)
        for second in range(52, 90):
            story.window(second, second + 6, gone_s=second + 8)
    story.phase(95, Phase.DRAIN)
    story.end(110)
    return story


def taken_apart(story: Story) -> RecoveryFinding:
    [found] = story.judged().recoveries
    return found


def instants(found: RecoveryFinding) -> dict[str, float | None]:
    return {one.name: None if one.at_ns is None else one.at_ns / 1e9 for one in found.instants}


def test_each_instant_is_when_somebody_saw_it() -> None:
    at = instants(taken_apart(outage()))
    assert at["first effect"] == pytest.approx(41.2)
    assert at["detected"] == pytest.approx(40.3)
    assert at["undone"] == pytest.approx(50)
    assert at["first success"] == pytest.approx(53)
    assert at["success back"] == pytest.approx(50, abs=2.6)
    assert at["windows back"] == pytest.approx(58, abs=1.1)


def test_what_never_came_back_is_said_to_be_missing_and_is_not_zero() -> None:
    found = taken_apart(outage(back=False))
    assert set(found.never) >= {"first success", "success back", "windows back"}
    assert all(instants(found)[name] is None for name in found.never)


@pytest.mark.parametrize(("wanted", "came"), [(6, False), (2, True)])
def test_windows_are_back_when_there_are_as_many_as_the_load_still_wants(wanted: int, came: bool) -> None:
    story = outage(back=False)
    for second in range(52, 90, 3):  # a third as many as before
        story.window(second, second + 6, gone_s=second + 8)
    for second in range(95):
        state = LoadState(
            at_ns=story.at(second),
            streams_open=0,
            opening=0,
            creates=0,
            unknown=0,
            lag_ns=0,
            cpu=0.1,
            wanted=6 if second < 40 else wanted,
        )
        story.say(state, "engine")
    assert (instants(taken_apart(story))["windows back"] is not None) == came


def test_windows_of_planned_arrivals_need_not_come_back() -> None:
    story = outage(back=False)
    assert "windows back" in taken_apart(story).never
    story.plan(60)
    assert "windows back" not in taken_apart(story).never


def test_our_own_word_about_the_fault_is_no_detection() -> None:
    story = outage()
    said = ClusterEventSeen(
        at_ns=story.at(40.01), about="Lease/focus-harness", reason="FaultInjected", text="", warning=True
    )
    story.say(said, "observe")
    assert instants(taken_apart(story))["detected"] == pytest.approx(40.3)


def test_failures_are_told_by_cause_and_errors_by_how_clean_they_were() -> None:
    story = outage()
    story.attempt(44, 49, Outcome.READ_TIMEOUT)
    found = taken_apart(story)
    assert found.failures == {"mongodb_unavailable": 19}
    assert (found.errors, found.clean_errors, found.dirty_errors) == (19, 18, 1)
    assert found.error_p50_s == pytest.approx(0.2)
    assert found.error_max_s == pytest.approx(5.0)


def test_streams_that_ran_are_counted_with_those_that_broke_and_what_they_missed() -> None:
    story = outage()
    kept, lost = (
        story.window(20, 88, gone_s=90),
        story.window(20, 45, gone_s=47, outcome=Outcome.STREAM_BROKEN),
    )
    for window, until in ((kept, 88), (lost, 45)):
        times = [21 + tenth / 10 for tenth in range((until - 21) * 10)]
        story.frames += [(story.at(at), window, 100, 0) for at in times if not 42 < at < 44]
    found = taken_apart(story)
    running = found.streams_running
    assert running >= 2
    assert found.streams_interrupted == 1
    assert found.survival == pytest.approx(1 - 1 / running)
    assert found.seconds_stalled == pytest.approx(2 * 2.0, abs=0.3)


def test_each_stream_that_stalled_is_told_with_when_it_came_again() -> None:
    story = outage()
    resumed, silent, steady = (story.window(20, 88, gone_s=90, lines_dt_s=0.1) for _ in range(3))
    pauses = {(resumed, 1): (42, 51.5), (resumed, 2): (41, 43), (silent, 1): (42, 99), (steady, 1): (0, 0)}
    for (window, stream), (from_s, to_s) in pauses.items():
        times = [21.1 + tenth / 10 for tenth in range(669)]
        story.rows += [(story.at(at), window, stream) for at in times if not from_s < at < to_s]
    found = taken_apart(story)
    assert (found.streams_stood_still, found.streams_resumed) == (3, 2)
    assert found.resumed_p50_s == found.resumed_max_s == pytest.approx(1.5, abs=0.11), "undone at 50"
    told = {(one.window, one.stream): one for one in found.standstills}
    assert told[silent, 1].to_ns is None
    assert told[resumed, 1].to_ns == pytest.approx(story.at(51.5), abs=0.11e9)
    assert told[resumed, 2].after_undo_s is None, "it came again before the undo"
    assert (found.standstills[0].window, found.standstills[0].stream) == (silent, 1), "the longest first"


def test_a_stream_that_ends_soon_after_it_fell_silent_did_not_stand_still_for_the_rest_of_the_run() -> None:
    story = outage()
    brief, long = (
        story.window(20, 45, gone_s=47, lines_dt_s=0.1),
        story.window(20, 88, gone_s=90, lines_dt_s=0.1),
    )
    story.rows += [(story.at(21.1 + tenth / 10), brief, 1) for tenth in range(219)]
    story.rows += [
        (story.at(21.1 + tenth / 10), long, 1) for tenth in range(669) if not 41 < 21.1 + tenth / 10 < 49
    ]
    told = [(one.window, one.to_ns is not None) for one in taken_apart(story).standstills]
    assert told == [(long, True), (brief, False)]


def test_a_job_that_a_failed_create_left_behind_is_named() -> None:
    story = outage()
    story.service("5-99", 45.1, 60)
    assert taken_apart(story).made_by_failed == ("5-99",)


def test_the_rate_that_the_limit_can_sustain_follows_from_the_life_of_a_slot() -> None:
    found = outage().judged().reclaim
    assert found is not None
    assert (found.ready_p50_s, found.hold_p50_s, found.reclaim_p50_s) == pytest.approx((0.7, 5.2, 2.0))
    assert found.sustainable_per_s == pytest.approx(10 / (0.7 + 5.2 + 2.0), rel=1e-3)
    assert found.bound_by == "hold"
    assert found.censored == 0


def test_a_slot_that_was_not_seen_to_be_given_back_is_counted_apart() -> None:
    story = outage()
    story.window(30, 36, gone_s=None)
    found = story.judged().reclaim
    assert found is not None
    assert found.censored == 1


def _times(instant: Instant, by_ns: int) -> tuple[str, int | None]:
    return instant.name, None if instant.at_ns is None else instant.at_ns - by_ns


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3600))
def test_shifting_all_times_shifts_every_instant_and_no_length(by_s: int) -> None:
    told = []
    for shift in (0, by_s):
        story = outage()
        moved = Story(max_windows=10, shift_s=0)
        moved.events = [
            (writer, msgspec.structs.replace(event, at_ns=event.at_ns + ns(shift)))
            for writer, event in story.events
        ]
        moved.attempts = [(row[0] + ns(shift), row[1] + ns(shift), *row[2:]) for row in story.attempts]
        moved.frames = [(frame[0] + ns(shift), *frame[1:]) for frame in story.frames]
        found = taken_apart(moved)
        told.append(([_times(one, ns(shift)) for one in found.instants], found.seconds_stalled, found.errors))
    assert told[0] == told[1]


def test_what_was_amiss_before_the_fault_has_noticed_nothing() -> None:
    story = outage()
    for at_s in (10, 20, 30, 40.05):
        story.depends(at_s, "broker", up=False)
    assert instants(taken_apart(story))["detected"] == pytest.approx(40.3)


def test_a_share_of_nothing_is_no_baseline_to_come_back_to() -> None:
    story = Story(max_windows=10).begin()
    story.phase(0.5, Phase.BASELINE)
    for second in range(10, 90):
        story.refused(second, second + 0.1)
    story.fault("mongo", injected=40, undone=50, verified=51)
    story.end(100)
    found = taken_apart(story)
    assert instants(found)["success back"] is None
    assert "success back" not in found.never


def test_the_load_s_own_ramp_is_no_level_to_come_back_to() -> None:
    story = Story(max_windows=40).begin()
    story.phase(0.5, Phase.BASELINE)
    for tenth in range(300):
        story.load(tenth / 3, wanted=30)
    for number in range(30):
        story.window(10 + number / 10, 41 if number > 5 else 90, gone_s=42 if number > 5 else 91)
    story.fault("mongo", injected=20, undone=45, verified=46)
    story.refused(21, 21.1)
    story.end(100)
    assert "windows back" in taken_apart(story).never


def test_a_stream_that_stays_silent_until_the_end_has_stalled_until_then() -> None:
    story = outage()
    window = story.window(20, 88, gone_s=90)
    story.frames += [(story.at(21 + tenth / 10), window, 100, 0) for tenth in range(210)]  # until 42 s
    assert taken_apart(story).seconds_stalled == pytest.approx(
        53 - 42, abs=0.3
    )  # the fault's time ends at 53 s


def test_a_window_that_never_gets_ready_holds_its_slot_all_the_same() -> None:
    story = Story(max_windows=10).begin()
    story.phase(0.5, Phase.BASELINE)
    for second in range(1, 11):
        story.window(second, second + 60, gone_s=second + 61, outcome=Outcome.PENDING_NO_START)
    story.end(100)
    found = story.judged().reclaim
    assert found is not None
    assert found.sustainable_per_s == pytest.approx(10 / 60.9, rel=1e-3)
    assert found.bound_by == "ready"
