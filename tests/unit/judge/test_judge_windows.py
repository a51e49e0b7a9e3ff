"""Open windows: whose they are, and the interval their count lies in."""

import msgspec
import pytest
from run_story import Story

from harness.history.events import Outcome, Phase, WatcherState
from harness.judge.windows import RELEASE_NS


def test_a_window_is_possibly_open_from_its_request_and_certainly_from_its_service() -> None:
    story = Story().begin()
    story.window(2.5, 8.0, gone_s=12.0)
    story.end(15)
    rows = {second.at_s: second.open for second in story.judged().seconds}
    assert (rows[1].certain, rows[1].possible) == (0, 0)
    assert (rows[2].certain, rows[2].possible) == (0, 1)  # within the second it went from none to one
    assert (rows[4].certain, rows[4].possible) == (1, 1)
    assert (rows[9].certain, rows[9].possible) == (1, 1)  # closed by the client, slot still held
    assert (rows[11].certain, rows[11].possible) == (0, 1)  # its end may have been seen late
    assert (rows[13].certain, rows[13].possible) == (0, 0)


def test_without_sight_of_the_cluster_a_closed_window_may_hold_its_slot_for_three_minutes() -> None:
    story = Story().begin(sees=())
    story.window(1, 3, service=False)
    story.end(400)
    findings = story.judged()
    assert findings.windows.foreign is None
    assert [row.open.certain for row in findings.seconds[1:5]] == [0, 1, 0, 0]
    assert findings.open_windows.certain_max == 1
    until_s = 3 + RELEASE_NS // 1_000_000_000
    assert findings.seconds[until_s - 1].open.possible == 1
    assert findings.seconds[until_s + 1].open.possible == 0


def test_a_window_nobody_of_us_asked_for_is_foreign_and_counts() -> None:
    story = Story().begin()
    story.service("9-999", 1, None)
    story.window(2, 5, gone_s=6)
    story.end(8)
    findings = story.judged()
    assert (findings.windows.own, findings.windows.foreign) == (1, 1)
    assert findings.open_windows.certain_max == 2
    assert findings.seconds[7].open.certain == 1


def test_a_lost_answer_is_own_unknown_and_claims_the_job_that_appeared_meanwhile() -> None:
    story = Story().begin()
    story.lost(2, 7)
    story.service("4-704", 3, 9)
    story.end(12)
    found = story.judged().windows
    assert (found.own, found.own_unknown, found.own_unknown_found, found.foreign) == (0, 1, 1, 0)


def test_a_window_that_appeared_while_a_create_was_refused_may_be_ours_and_is_not_called_foreign() -> None:
    story = Story().begin()
    story.refused(2, 4)
    story.service("4-704", 2.5, 6)
    story.service("5-705", 8, 9)
    story.end(12)
    findings = story.judged()
    assert (findings.windows.halfway, findings.windows.foreign) == (1, 1)
    assert findings.seconds[3].open.certain == 1


def test_a_lost_answer_without_a_job_in_the_cluster_stays_possibly_open_for_a_while_only() -> None:
    story = Story().begin()
    story.lost(2, 7)
    story.end(40)
    findings = story.judged()
    assert findings.windows.own_unknown_found == 0
    assert findings.open_windows.certain_max == 0
    assert findings.seconds[10].open.possible == 1
    assert findings.seconds[30].open.possible == 0


@pytest.mark.parametrize("said_again", [False, True])
def test_a_slot_that_was_given_back_while_nobody_looked_is_not_certainly_held_in_between(
    said_again: bool,
) -> None:
    story = Story().begin()
    story.window(1, 3, gone_s=20.0)
    story.say(WatcherState(at_ns=story.at(5), watcher="services", seeing=False), "observe")
    if said_again:
        story.say(WatcherState(at_ns=story.at(15), watcher="services", seeing=False), "observe")
    story.say(WatcherState(at_ns=story.at(20), watcher="services", seeing=True), "observe")
    story.end(25)
    rows = story.judged().seconds
    assert rows[4].open.certain == 1
    assert rows[10].open.certain == 0
    assert rows[10].open.possible == 1
    assert rows[10].blind == ("services",)


def test_windows_are_counted_by_how_they_ended() -> None:
    story = Story().begin()
    story.window(1, 4, gone_s=5)
    story.window(1, 9, gone_s=10, outcome=Outcome.PENDING_NO_START)
    story.window(2, None)
    story.refused(3, 3.1)
    story.phase(0.5, Phase.BASELINE)
    story.end(12)
    found = story.judged().windows
    assert found.outcomes == {"pending_no_start": 1, "streaming": 1, "unavailable_503": 1}
    assert (found.own, found.still_open, found.ready, found.first_frame) == (3, 1, 2, 2)


def test_a_job_id_that_is_given_again_is_another_window() -> None:
    story = Story(max_windows=1).begin()
    story.window(2, 10, gone_s=11)
    story.window(100, 110, gone_s=111)
    again = {"2-702": "1-701", "grpc-service-2-702": "grpc-service-1-701"}
    names = ("job_id", "service")
    story.events = [
        (
            writer,
            msgspec.structs.replace(
                event,
                **{name: again[getattr(event, name)] for name in names if getattr(event, name, "") in again},
            ),
        )
        for writer, event in story.events
    ]
    story.end(150)
    found = story.judged()
    assert (found.open_windows.certain_max, found.seconds[50].open.possible) == (1, 0)
    assert found.admission.violations == ()
    assert found.reclaim is not None
    assert (found.reclaim.windows, found.reclaim.reclaim_p95_s) == (2, 1.0)
