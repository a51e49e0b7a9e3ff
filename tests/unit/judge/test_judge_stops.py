"""A run that a stop condition ended is judged by it: which one, for how long, with which code, and what it did not reach."""

import msgspec
import pytest
from run_story import Story

from harness.errors import Exit
from harness.history.events import (
    ConditionState,
    FaultStep,
    LoadState,
    Phase,
    ProcessEnded,
    ProcessStarted,
    StopConditionChanged,
)
from harness.history.run import GatePlan, PlannedStep
from harness.judge.findings import Findings, Status
from harness.judge.judge import judge

HOLDS, CLEAR, UNKNOWN = ConditionState.HOLDS, ConditionState.CLEAR, ConditionState.UNKNOWN
WINDOWS = GatePlan(name="many windows", measure="windows", op=">=", limit=100)
REFUSALS = GatePlan(name="few refusals", measure="refusals", op="<=", limit=1)


class Stopped(Story):
    """A run of 40 s in which a window is asked for every second, two of them refused, and `c` is a stop condition."""

    def changed(self, at_s: float, state: ConditionState, value: float | None = None) -> None:
        self.say(
            StopConditionChanged(at_ns=self.at(at_s), name="c", state=state, value=value, detail="seen so")
        )

    def ended_by(
        self, at_s: float, state: ConditionState, reason: str = "stop condition 'c' ..."
    ) -> Findings:
        self.say(StopConditionChanged(at_ns=self.at(at_s), name="c", state=state, detail=reason, ended=True))
        self.phase(at_s + 0.1, Phase.DRAIN)
        self.end(at_s + 20, "stop condition")
        return self.judged()

    def loaded(self, until_s: int = 19) -> "Stopped":
        self.begin()
        self.phase(0.5, Phase.BASELINE)
        for second in range(1, until_s):
            self.window(second, second + 0.9, frame_s=second + 0.5, gone_s=second + 2)
        for at_s in (3.0, 4.0):
            self.refused(at_s, at_s + 0.1)
        return self


def test_one_that_held_ends_a_run_with_10_and_its_own_reason_comes_first() -> None:
    story = Stopped(gates=(WINDOWS,)).loaded()
    story.changed(1, CLEAR, 0.1)
    story.changed(12, HOLDS, 0.95)
    findings = story.ended_by(20, HOLDS, "stop condition 'c' held for 8 s: so it was")
    verdict = findings.verdict
    assert (verdict.exit_code, verdict.status) == (Exit.FAILED, Status.FAILED)
    assert verdict.reason == "stop condition 'c' held for 8 s: so it was"
    assert not any("ended early" in reason for reason in verdict.reasons)
    [stop] = findings.stops
    assert (stop.held, stop.first_held_ns, stop.ended) == (1, 12_000_000_000, True)
    assert stop.held_s == pytest.approx(8.1)
    assert stop.unknown_s == 0


def test_one_that_was_not_known_ends_a_run_with_7_and_what_was_not_reached_is_not_failed() -> None:
    story = Stopped(gates=(WINDOWS,)).loaded()
    story.changed(1, CLEAR)
    story.changed(15, UNKNOWN)
    findings = story.ended_by(20, UNKNOWN)
    assert (findings.verdict.exit_code, findings.verdict.status) == (Exit.UNJUDGED, Status.UNJUDGED)
    assert findings.verdict.retry_makes_sense
    assert any("not reached, the run was cut short" in reason for reason in findings.verdict.reasons)
    assert findings.stops[0].unknown_s == pytest.approx(5.1)


def test_what_a_run_that_was_cut_short_broke_is_broken() -> None:
    story = Stopped(gates=(REFUSALS,)).loaded()
    assert story.ended_by(20, UNKNOWN).verdict.exit_code == Exit.FAILED


def test_what_a_whole_run_did_not_reach_is_failed() -> None:
    story = Stopped(gates=(WINDOWS,)).loaded()
    story.changed(1, HOLDS)
    story.changed(2, CLEAR)
    story.phase(30, Phase.DRAIN)
    story.end(40)
    findings = story.judged()
    assert findings.verdict.reason.startswith("gate failed: many windows")
    assert not findings.stops[0].ended
    assert findings.stops[0].held_s == pytest.approx(1.0)


def test_a_step_whose_time_had_not_come_is_no_hole_however_long_the_run_drained() -> None:
    step = PlannedStep(experiment="cordon", at_s=25, hold_s=9)
    story = Stopped(steps=(step,)).loaded()
    assert story.ended_by(20, HOLDS).incomplete == ()


def test_a_step_that_had_begun_must_have_left_its_records() -> None:
    step = PlannedStep(experiment="cordon", at_s=10, hold_s=9)
    story = Stopped(steps=(step,)).loaded()
    story.phase(15, Phase.INJECT, "cordon")
    assert "experiment cordon: planned 1" in story.ended_by(20, HOLDS).incomplete[0]
    story = Stopped(steps=(step,)).loaded()
    story.phase(15, Phase.INJECT, "cordon")
    story.fault("cordon", injected=15.2, undone=21, verified=22)
    assert story.ended_by(20, HOLDS).incomplete == ()
    assert [f.step for _, f in story.events if hasattr(f, "step") and f.step == FaultStep.VERIFIED]


def test_a_chaos_process_that_was_ended_before_it_began_has_nothing_to_tell() -> None:
    story = Stopped().loaded()
    story.say(ProcessStarted(at_ns=story.at(18), process="chaos-1", pid=7))
    story.say(ProcessEnded(at_ns=story.at(20.5), process="chaos-1", pid=7, exit_code=-15))
    assert story.ended_by(20, UNKNOWN).incomplete == ()
    story.say(ProcessStarted(at_ns=story.at(18), process="helper", pid=8))
    story.say(ProcessEnded(at_ns=story.at(20.5), process="helper", pid=8, exit_code=-15))
    assert "helper has written no record" in story.judged().incomplete[0]


def test_a_load_that_was_ended_before_it_began_has_nothing_to_tell() -> None:
    story = Stopped().begin()
    story.say(ProcessStarted(at_ns=story.at(0.5), process="load", pid=7))
    story.say(ProcessEnded(at_ns=story.at(6.2), process="load", pid=7, exit_code=-15))
    assert story.ended_by(6, UNKNOWN).incomplete == ()


@pytest.mark.parametrize(("wanted", "hole"), [(0, False), (8, True)])
def test_a_run_that_ended_before_its_load_began_needs_no_attempt(wanted: int, hole: bool) -> None:
    story = Stopped().begin()
    for second in range(1, 5):
        state = LoadState(
            at_ns=story.at(second),
            streams_open=0,
            opening=0,
            creates=0,
            unknown=0,
            lag_ns=0,
            cpu=0,
            wanted=wanted,
        )
        story.say(state, "engine")
    story.ended_by(6, UNKNOWN)
    run = msgspec.structs.replace(story.run(), planned_s=80.0)
    missing = judge(run, story.history()).incomplete
    assert any("no attempt" in what for what in missing) == hole
