"""Open arrivals, judged: all accounted for, both latencies, and a load that did not come as planned proves nothing."""

import pytest
from run_story import Story

from harness.errors import Exit
from harness.history.events import Outcome, Phase
from harness.history.run import GatePlan
from harness.judge.findings import Findings, Status
from harness.report.sentences import lead


def stalled() -> Story:
    """Ten arrivals a second for 20 s; from 10 s on the server stands still for 5 s and then answers all at once."""
    story = Story(max_windows=500).begin()
    story.phase(0, Phase.BASELINE)
    story.plan(200)
    for number in range(200):
        at_s = number / 10
        done_s = 15.0 + number / 1e4 if 10 <= at_s < 15 else at_s + 0.005
        story.arrival(at_s, at_s + 0.001, done_s, Outcome.UNAVAILABLE_503)
    story.end(20.1)
    return story


def check(found: Findings, name: str) -> float | None:
    assert found.validity is not None
    (value,) = [one.value for one in found.validity.checks if one.name == name]
    return value


def test_every_arrival_is_on_time_late_or_not_offered() -> None:
    story = Story().begin()
    story.plan(10)
    story.arrival(1, 1.002, 1.1)
    story.arrival(2, 2.5, 2.6)
    story.arrival(3, 3.02, 3.1)
    story.not_offered(4, "max_open_windows", 2)
    story.not_offered(6, "ended", 5)
    story.end(7)
    found = story.judged()
    came = found.arrivals
    assert came is not None
    assert (came.planned, came.on_time, came.late, came.unaccounted) == (10, 1, 2, 0)
    assert came.not_offered == {"ended": 5, "max_open_windows": 2}
    assert came.lateness_max_s == 0.5
    assert check(found, "arrivals_lost") == 0
    assert check(found, "arrivals_withheld") == pytest.approx(0.4), (
        "what the load's end left out is nobody's fault"
    )
    assert "Of 10 arrivals that were planned 1 came on time, 2 late (by up to 500 ms)" in " ".join(
        lead(found)
    )


@pytest.mark.parametrize("wrong", ["missing", "twice", "one of each"])
def test_one_that_is_missing_or_there_twice_makes_the_run_unjudged(wrong: str) -> None:
    story = Story().begin()
    story.plan(2 if wrong == "twice" else 3)
    story.arrival(1, 1, 1.1)
    story.arrival(2, 2, 2.1)
    if wrong != "missing":
        story.arrivals.append(story.arrivals[-1])
    story.end(3)
    found = story.judged()
    assert found.arrivals is not None
    assert found.arrivals.unaccounted == check(found, "arrivals_lost") == (2 if wrong == "one of each" else 1)
    assert found.verdict.exit_code is Exit.UNJUDGED


def test_a_stall_is_in_the_time_since_the_plan_and_hidden_by_nothing() -> None:
    """Of 200 arrivals 50 waited, the first 5 s and each one less: the exact p99 is that of the 198th, 4.8 s."""
    story = stalled()
    gate = GatePlan(name="p", measure="create_planned_p99", of="unavailable_503", op="<", limit=1.0)
    story.gates = (gate,)
    found = story.judged()
    by_name = {one.measure: one for one in found.spreads if not one.phase}
    truth_s = sorted(15.0 + n / 1e4 - n / 10 for n in range(100, 150))[-2 - 1]
    assert by_name["configure_refused_planned"].p99 == pytest.approx(truth_s, rel=0.02)
    assert by_name["configure_refused_planned"].p99 > by_name["configure_refused"].p99
    assert found.gates[0].status is Status.FAILED


def test_a_load_that_did_not_come_as_planned_proves_nothing() -> None:
    story = Story().begin()
    story.phase(0, Phase.BASELINE)
    story.plan(100)
    for number in range(90):
        story.arrival(number / 10, number / 10, number / 10 + 0.005, Outcome.UNAVAILABLE_503)
    for number in range(90, 100):
        story.arrival(number / 10, number / 10 + 0.2, number / 10 + 0.3, Outcome.UNAVAILABLE_503)
    story.end(11)
    found = story.judged()
    assert check(found, "arrivals_withheld") == pytest.approx(0.1)
    assert found.verdict.exit_code is Exit.UNJUDGED
    assert "arrivals withheld" in " ".join(found.verdict.reasons)


def test_without_a_plan_there_is_nothing_to_say() -> None:
    story = Story().begin()
    story.window(1, 4, gone_s=5)
    story.end(6)
    found = story.judged()
    assert found.arrivals is None
    assert check(found, "arrivals_lost") is None
    assert not [one for one in found.spreads if one.measure.endswith("_planned")]
