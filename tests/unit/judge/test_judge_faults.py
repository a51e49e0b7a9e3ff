"""Faults: their instants, what clients felt, recovery, and what gates make of it."""

from run_story import Story

from harness.errors import Exit
from harness.history.events import FaultStep, Note, Outcome, Phase, ProcessEnded, ProcessStarted, WatcherState
from harness.history.run import GatePlan, PlannedStep
from harness.judge.findings import Findings, Status


def outage(**changes: object) -> Story:
    """MongoDB is killed at 10 s, back at 14 s; windows are asked for every second, refused from 10.5 to 14.5 s."""
    story = Story(max_windows=30, **changes).begin()  # type: ignore[arg-type]
    story.phase(1, Phase.BASELINE)
    story.phase(10, Phase.HOLD, "kill-mongo")
    story.phase(14, Phase.RECOVER, "kill-mongo")
    story.phase(25, Phase.DRAIN)
    for second in range(1, 24):
        if 10 <= second <= 14:
            story.refused(second + 0.4, second + 0.5, "opaque")
        else:
            story.window(
                second, second + 0.9 if second != 9 else None, frame_s=second + 0.5, gone_s=second + 2
            )
    story.depends(0, "mongodb", up=True)
    story.depends(11.0, "mongodb", up=False)
    story.depends(14.2, "mongodb", up=True)
    story.fault("kill-mongo", injected=10, undone=14, verified=15.5)
    return story


def test_a_fault_has_its_instants_its_effects_and_its_recovery() -> None:
    story = outage()
    story.end(30)
    [fault] = story.judged().faults
    assert (fault.opened_ns, fault.injected_ns, fault.undone_ns, fault.verified_ns) == (
        9_800_000_000,
        10_000_000_000,
        14_000_000_000,
        15_500_000_000,
    )
    assert (fault.from_ns, fault.to_ns) == (10_000_000_000, 15_500_000_001)
    assert (fault.first_effect_ns, fault.last_effect_ns) == (10_500_000_000, 14_500_000_000)
    assert fault.refusals_503 == 5
    assert fault.outcomes == {"accepted": 1, "unavailable_503": 5}
    assert fault.first_success_after_undo_ns == 15_500_000_000
    assert fault.recovery_s == 1.5
    assert fault.baseline_success == 1.0
    assert fault.baseline_after_s is not None
    assert 0 < fault.baseline_after_s < 1.5
    assert not fault.never_recovered


def test_a_success_is_the_first_frame_not_the_200() -> None:
    story = Story(max_windows=30).begin()
    story.refused(10.5, 10.6)
    story.fault("f", injected=10, undone=12, verified=13)
    story.window(12.5, 20, outcome=Outcome.PENDING_NO_START)
    story.window(21, 24)
    story.end(30)
    [fault] = story.judged().faults
    assert fault.first_accepted_after_undo_ns == story.at(12.6)
    assert fault.first_success_after_undo_ns == story.at(22)
    assert fault.recovery_s == 10.0


def test_a_fault_nobody_recovered_from_is_kept_as_such_and_lasts_until_the_drain() -> None:
    story = Story(max_windows=30).begin()
    story.phase(1, Phase.HOLD)
    story.phase(20, Phase.DRAIN)
    story.refused(10.5, 10.6)
    story.refused(15.5, 15.6)
    story.fault("f", injected=10, undone=12, verified=13)
    story.end(30)
    [fault] = story.judged().faults
    assert fault.never_recovered
    assert fault.recovery_s is None
    assert fault.to_ns == story.at(20)
    assert fault.refusals_503 == 2


def test_a_fault_without_effect_has_no_recovery_time() -> None:
    story = Story(max_windows=30).begin()
    story.fault("f", injected=10, undone=12, verified=13)
    story.window(14, 16)
    story.end(30)
    [fault] = story.judged().faults
    assert (fault.first_effect_ns, fault.recovery_s, fault.never_recovered) == (None, None, False)


def test_broken_streams_are_effects() -> None:
    story = Story(max_windows=30).begin()
    story.window(5, 11, outcome=Outcome.STREAM_BROKEN)
    story.fault("kill-node", injected=10, undone=12, verified=13)
    story.end(30)
    [fault] = story.judged().faults
    assert fault.streams_broken == 1
    assert fault.first_effect_ns == story.at(11)


def test_a_window_accepted_and_never_served_is_an_effect_of_the_time_it_was_accepted_in() -> None:
    story = Story(max_windows=None).begin()
    story.fault("cordon", injected=10, undone=14, verified=15)
    story.window(11, 28, outcome=Outcome.PENDING_NO_START)
    story.window(16, 20)
    story.end(30)
    [fault] = story.judged().faults
    assert (fault.windows_unserved, fault.streams_broken, fault.refusals_503) == (1, 0, 0)
    assert fault.first_effect_ns == story.at(11.1)


# --- gates and verdict ----------------------------------------------------------------------------


def gate(measure: str, op: str, limit: float, *during: str, of: str = "", min_samples: int = 1) -> GatePlan:
    return GatePlan(
        name=measure, measure=measure, op=op, limit=limit, during=during, of=of, min_samples=min_samples
    )


def test_a_gate_on_a_fault_sees_what_happened_from_injected_to_recovered_only() -> None:
    story = outage(
        gates=(
            gate("refusals", ">=", 5, "fault:kill-mongo"),
            gate("refusals", "==", 0, "baseline"),
            gate("creates", ">=", 20),
            gate("recovery_max", "<=", 2, of="kill-mongo"),
        )
    )
    story.refused(2, 2.1)
    story.end(30)
    gates = story.judged().gates
    assert [gate.status for gate in gates if not gate.built_in] == [
        Status.PASSED,
        Status.FAILED,
        Status.PASSED,
        Status.PASSED,
    ]
    assert (gates[0].value, gates[0].samples) == (5, 6)
    assert gates[-1].built_in


def judged_with(story: Story) -> Findings:
    story.end(30)
    return story.judged()


def test_a_gate_without_data_is_unjudged_and_so_is_the_run() -> None:
    findings = judged_with(outage(gates=(gate("refusals", "==", 0, "warm-up"),)))
    assert findings.gates[0].status == Status.UNJUDGED
    assert findings.verdict.status == Status.UNJUDGED
    assert findings.verdict.exit_code == Exit.UNJUDGED
    assert findings.verdict.retry_makes_sense


def test_gates_ignore_warm_up_and_drain_unless_they_name_them() -> None:
    story = outage(gates=(gate("refusals", "==", 5), gate("refusals", "==", 1, "warm-up", "drain")))
    story.refused(0.1, 0.2)
    assert [g.status for g in judged_with(story).gates[:2]] == [Status.PASSED, Status.PASSED]


def test_an_unknown_measure_or_stretch_is_unjudged_and_says_so() -> None:
    story = outage(gates=(gate("beauty", ">", 1), gate("creates", ">", 1, "fault:other")))
    gates = judged_with(story).gates
    assert [g.status for g in gates[:2]] == [Status.UNJUDGED, Status.UNJUDGED]
    assert "beauty" in gates[0].reason
    assert "fault:other" in gates[1].reason


def test_a_fault_somebody_else_ended_proves_nothing() -> None:
    story = outage(gates=(gate("refusals", ">=", 1, "fault:kill-mongo"),))
    story.fault_step("kill-mongo", 12, FaultStep.NOT_HELD)
    findings = judged_with(story)
    assert findings.gates[0].status == Status.UNJUDGED
    assert "not held" in findings.gates[0].reason


def test_a_run_whose_gates_pass_passes_with_zero() -> None:
    findings = judged_with(outage(gates=(gate("refusals", ">=", 1, "fault:kill-mongo"),)))
    assert (findings.verdict.status, findings.verdict.exit_code) == (Status.PASSED, Exit.OK)


def test_a_fault_not_verified_outranks_every_gate() -> None:
    story = outage(gates=(gate("creates", ">", 10_000),))
    story.fault("cordon", injected=16, undone=18)
    verdict = judged_with(story).verdict
    assert verdict.exit_code == Exit.BROKEN
    assert "harness undo" in verdict.reason
    assert any("gate failed" in reason for reason in verdict.reasons)


def test_an_injection_that_failed_and_was_undone_ends_with_four() -> None:
    story = outage()
    story.fault_step("cordon", 16, FaultStep.OPENED)
    story.fault_step("cordon", 17, FaultStep.FAILED, detail="403")
    verdict = judged_with(story).verdict
    assert verdict.exit_code == Exit.INJECTION
    assert "403" in verdict.reason


def test_a_stopped_run_is_unjudged_with_eight() -> None:
    story = outage()
    story.end(30, "stopped")
    verdict = story.judged().verdict
    assert (verdict.exit_code, verdict.status) == (Exit.STOPPED, Status.UNJUDGED)


# --- completeness ---------------------------------------------------------------------------------


def test_a_record_without_its_end_fails_the_gate_nobody_can_switch_off() -> None:
    findings = outage().judged()
    assert findings.gates[-1].status == Status.FAILED
    assert "conductor" in findings.incomplete[0]
    assert findings.verdict.exit_code == Exit.FAILED


def test_a_planned_step_without_its_records_is_a_hole() -> None:
    planned = (
        PlannedStep(experiment="kill-mongo", at_s=10, hold_s=4),
        PlannedStep(experiment="cordon", at_s=20, hold_s=4),
    )
    findings = judged_with(outage(steps=planned))
    assert findings.incomplete == (
        "experiment cordon: planned 1, recorded opened 0, injected 0, undone 0, verified 0",
    )


def test_a_step_after_the_stop_is_no_hole() -> None:
    story = outage(steps=(PlannedStep(experiment="later", at_s=40, hold_s=4),))
    story.end(30, "stopped")
    assert story.judged().incomplete == ()


def test_a_process_that_was_killed_is_a_hole_and_a_death() -> None:
    story = outage()
    story.say(ProcessEnded(at_ns=story.at(20), process="engine", pid=7, exit_code=-9))
    findings = judged_with(story)
    assert findings.deaths[0].process == "engine"
    assert any("engine died" in hole for hole in findings.incomplete)


def test_a_process_that_wrote_nothing_is_a_hole() -> None:
    story = outage()
    for pid, process in enumerate(("load", "chaos-1", "guard"), start=1):
        story.say(ProcessStarted(at_ns=story.at(1), process=process, pid=pid))
        story.say(ProcessEnded(at_ns=story.at(29), process=process, pid=pid, exit_code=0))
    story.say(Note(at_ns=story.at(3), level="info", text="here"), "chaos-1")
    assert judged_with(story).incomplete == ("process guard has written no record",)


def test_a_blind_watcher_is_a_gap_and_no_hole() -> None:
    story = outage()
    story.say(WatcherState(at_ns=story.at(11), watcher="pods", seeing=False, detail="timeout"), "observe")
    story.say(WatcherState(at_ns=story.at(13), watcher="pods", seeing=True), "observe")
    findings = judged_with(story)
    [gap] = findings.gaps
    assert (gap.watcher, gap.from_ns, gap.to_ns, gap.detail) == (
        "pods",
        story.at(11),
        story.at(13),
        "timeout",
    )
    assert findings.faults[0].blind == ("pods",)
    assert findings.gates[-1].reason.endswith("not seen: pods 11.0-13.0 s")
    assert findings.incomplete == ()
