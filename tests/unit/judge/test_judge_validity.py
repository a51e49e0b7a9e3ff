"""A run outside its bounds is unjudged, never passed; and the field's run that "passed" does not."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from run_story import Story, ns

from harness.campaign.model import Bound
from harness.errors import Exit
from harness.history.events import (
    CanarySeen,
    FaultStep,
    LoadState,
    NodeSeen,
    Outcome,
    Phase,
    ProcessEnded,
    RunEnded,
    WatcherState,
)
from harness.history.run import GatePlan
from harness.judge.findings import Findings, Status
from harness.judge.judge import judge
from harness.judge.validity import CHECKS, NAMES
from harness.measures.catalogue import BY_NAME


def run(
    length_s: int = 60,
    *,
    lag_s: float = 0.01,
    cpu: float = 0.2,
    canary_s: float = 0.01,
    still_s: tuple[int, int] = (0, 0),
) -> Story:
    """A run in which all is well, unless its arguments say otherwise; it says nothing of its load during `still_s`."""
    story = Story(max_windows=10).begin()
    story.phase(1, Phase.BASELINE)
    story.node(0.1)
    story.pod(0.1, role="focus_server", image="focus:1")
    for second in range(1, length_s):
        story.frames.append((story.at(second), 1, 100, 0))
        if still_s[0] <= second < still_s[1]:
            continue
        state = LoadState(
            at_ns=story.at(second),
            streams_open=1,
            opening=0,
            creates=0,
            unknown=0,
            lag_ns=ns(lag_s),
            cpu=cpu,
            wanted=2,
        )
        story.say(state, "engine")
        story.say(CanarySeen(at_ns=story.at(second), frames=10, lost=0, lag_ns=ns(canary_s)), "engine")
    story.window(1, length_s - 2, gone_s=length_s - 1)
    return story


def broken(story: Story, length_s: int = 60) -> list[str]:
    """Return the names of the checks that a run does not pass."""
    if not any(isinstance(event, RunEnded) for _, event in story.events):
        story.end(length_s)
    found = story.judged()
    assert found.validity is not None
    assert found.validity.valid or found.verdict.status is not Status.PASSED
    return [check.name for check in found.validity.checks if check.status is not Status.PASSED]


def test_a_run_in_which_all_is_well_passes_every_check() -> None:
    assert broken(run()) == []


@pytest.mark.parametrize(
    ("story", "name"),
    [
        (run(lag_s=0.6), "generator_lag"),
        (run(cpu=0.95), "generator_cpu"),
        (run(canary_s=0.7), "canary_lag"),
    ],
)
def test_a_load_that_is_late_busy_or_reads_late_proves_nothing(story: Story, name: str) -> None:
    assert broken(story) == [name]


def test_frames_that_the_canary_lost_prove_that_others_may_be_lost() -> None:
    story = run()
    story.say(CanarySeen(at_ns=story.at(20.5), frames=9, lost=1, lag_ns=0), "engine")
    assert broken(story) == ["canary_lost"]


def test_a_wall_clock_that_was_set_under_way_is_noticed() -> None:
    story = run()
    story.say(RunEnded(at_ns=story.at(60), reason="planned", wall_step_s=-3.0))
    assert broken(story) == ["clock_step"]


def test_a_worker_that_died_makes_the_run_worthless() -> None:
    story = run()
    story.say(ProcessEnded(at_ns=story.at(30), process="load", pid=7, exit_code=-9))
    assert "processes_died" in broken(story)


def test_a_watcher_that_looked_away_for_long_is_a_breach_and_one_that_never_saw_is_not() -> None:
    for seconds, expected in ((20, ["blind_share"]), (5, [])):
        story = run()
        story.say(WatcherState(at_ns=story.at(20), watcher="pods", seeing=False), "observe")
        story.say(WatcherState(at_ns=story.at(20 + seconds), watcher="pods", seeing=True), "observe")
        assert broken(story) == expected
    story = run()
    story.say(WatcherState(at_ns=0, watcher="logs", seeing=False, detail="forbidden"), "observe")
    assert broken(story) == []


def test_an_api_server_that_was_down_blinds_nobody_of_ours() -> None:
    story = run()
    story.depends(20, "kubernetes_api", up=False)
    story.say(WatcherState(at_ns=story.at(20.1), watcher="pods", seeing=False), "observe")
    story.depends(45, "kubernetes_api", up=True)
    story.say(WatcherState(at_ns=story.at(45.5), watcher="pods", seeing=True), "observe")
    assert broken(story) == []


def test_a_fault_that_was_not_held_proves_nothing() -> None:
    story = run()
    story.fault("cordon", injected=20, undone=30, verified=31)
    story.fault_step("cordon", 25, FaultStep.NOT_HELD)
    assert broken(story) == ["faults_not_held"]


def test_another_image_or_another_node_under_way_is_noticed_unless_a_fault_of_ours_did_it() -> None:
    story = run()
    story.pod(30, role="focus_server", name="focus-2", image="focus:2")
    assert broken(story) == ["images_changed"]

    def node_goes(fault: str = "", target: str = "") -> list[str]:
        story = run()
        if fault:
            story.fault(fault, injected=28, undone=35, verified=36, target=target)
        gone = NodeSeen(
            at_ns=story.at(30),
            node="w",
            exists=False,
            ready="",
            unschedulable=False,
            worker=True,
            gpu_allocatable=0,
        )
        story.say(gone, "observe")
        return broken(story)

    assert node_goes() == ["nodes_changed"]
    assert node_goes("worker-crash", "w, w-2 (100ms each way)") == []
    assert node_goes("worker-crash", "w-2") == ["nodes_changed"], "it names another node"
    assert node_goes("kill-mongo", "mongodb-0") == ["nodes_changed"], (
        "what has nothing to do with nodes excuses none"
    )


def test_a_load_that_stopped_streaming_holds_nothing_open_whatever_it_counts() -> None:
    story = run(120)
    story.frames = [frame for frame in story.frames if frame[0] < story.at(60)]
    assert broken(story, 120) == ["silent"]


def test_a_load_that_stood_still_is_missed_although_its_one_late_second_is_rare() -> None:
    story = run(600, still_s=(200, 230))
    before = next(event for _, event in story.events if isinstance(event, LoadState))
    late = msgspec.structs.replace(before, at_ns=story.at(230), lag_ns=ns(30))
    story.events = [*story.events, ("engine", late)]
    assert broken(story, 600) == ["load_silent", "canary_silent"]


def test_a_load_that_says_nothing_is_not_taken_for_one_that_was_never_late() -> None:
    story = run(lag_s=2.0, still_s=(0, 60))
    story.end(60)
    info = msgspec.structs.replace(story.run(), planned_s=60.0)
    found = judge(info, story.history()).validity
    assert found is not None
    assert "load_silent" in [check.name for check in found.checks if check.status is not Status.PASSED]


@pytest.mark.parametrize("from_s", [0, 10])
def test_a_canary_that_died_or_never_sang_is_missed(from_s: int) -> None:
    story = run()
    story.events = [
        (writer, event)
        for writer, event in story.events
        if not isinstance(event, CanarySeen) or event.at_ns < story.at(from_s)
    ]
    story.say(CanarySeen(at_ns=0, frames=0, lost=0, lag_ns=0), "engine")
    assert broken(story) == ["canary_silent"]


def test_half_a_fault_that_nobody_saw_is_a_breach_however_long_the_run() -> None:
    for blind_s, expected in ((12, ["fault_blind"]), (8, [])):
        story = run(600)
        story.fault("cordon", injected=200, undone=220, verified=221)
        story.say(WatcherState(at_ns=story.at(200), watcher="pods", seeing=False), "observe")
        story.say(WatcherState(at_ns=story.at(200 + blind_s), watcher="pods", seeing=True), "observe")
        assert broken(story, 600) == expected


def test_windows_that_were_accepted_and_never_streamed_prove_nothing() -> None:
    story = run()
    story.frames = []
    assert broken(story) == ["silent"]


@pytest.mark.parametrize("bound", [float("nan"), float("inf"), -1.0])
def test_a_bound_can_be_moved_but_not_taken_away(bound: float) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Bound).validate_python(bound)
    assert TypeAdapter(Bound).validate_python(7.0) == 7.0


def test_an_invalid_run_is_unjudged_and_says_why_first_even_when_every_gate_passes() -> None:
    story = run(lag_s=2.0)
    story.gates = (GatePlan(name="windows", measure="windows", op=">=", limit=1),)
    story.end(60)
    verdict = story.judged().verdict
    assert (verdict.status, verdict.exit_code) == (Status.UNJUDGED, Exit.UNJUDGED)
    assert "this run proves nothing: generator lag: 2 s" in verdict.reason


def test_a_campaign_may_set_other_bounds_and_the_finding_says_so() -> None:
    story = run(lag_s=0.6)
    story.end(60)
    info = msgspec.structs.replace(story.run(), validity={"generator_lag": 1.0})
    found = judge(info, story.history()).validity
    assert found is not None
    assert found.valid
    [lag] = [check for check in found.checks if check.name == "generator_lag"]
    assert (lag.bound, lag.default) == (1.0, 0.5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 50), st.integers(0, 50), st.floats(0, 3))
def test_seeing_less_never_makes_a_run_valid(from_s: int, length_s: int, lag_s: float) -> None:
    """A load that is late all the time cannot hide it by keeping silent for a while, nor by keeping silent always."""
    before = broken(run(lag_s=lag_s))
    after = broken(run(lag_s=lag_s, still_s=(from_s, from_s + length_s)))
    assert not before or after


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 3), st.floats(0, 2), st.floats(0, 3))
def test_more_lag_never_makes_a_run_valid(lag_s: float, cpu: float, more: float) -> None:
    before = broken(run(lag_s=lag_s, cpu=cpu))
    after = broken(run(lag_s=lag_s + more, cpu=cpu + more))
    assert set(before) <= set(after)


def test_every_check_has_a_name_a_reason_and_a_measure() -> None:
    assert len(set(NAMES)) == len(CHECKS)
    assert all(check.reason and check.unit for check in CHECKS)
    assert "validity_breaches" in BY_NAME


# --- the field's run that "passed" ----------------------------------------------------------------


def field_run(*, healthy: bool = False) -> Findings:
    """Forty historic windows opened one after another, as our engine would have recorded the field's run of December 2025.

    Streams end some thirty seconds after they began; at most about ten windows are open at once. Five never yield a frame, two carry
    another job's 874 frames each, and nothing comes at all in the last fifty seconds. `healthy` leaves these defects out.
    """
    gates = (
        GatePlan(name="at least 32 connections", measure="first_frames", op=">=", limit=32),
        GatePlan(name="frames came", measure="frames", op=">=", limit=1),
        GatePlan(name="creates succeed", measure="accepted_ratio", op=">=", limit=0.95),
    )
    story = Story(max_windows=None, gates=gates).begin()
    story.phase(0.5, Phase.BASELINE)
    silent, foreign = {8, 19, 27, 35, 36}, {1, 2}
    sent_s = 1.0
    for number in range(1, 41):
        outcome = Outcome.COMPLETE
        if not healthy and number in silent:
            outcome = Outcome.STREAM_NO_FRAME
        elif not healthy and number in foreign:
            outcome = Outcome.FOREIGN_STREAM
        window = story.window(sent_s, sent_s + 38, outcome=outcome, frame_s=sent_s + 8, gone_s=sent_s + 40)
        frames = 874 if outcome is Outcome.FOREIGN_STREAM else 0 if outcome is Outcome.STREAM_NO_FRAME else 8
        story.frames += [
            (story.at(sent_s + 8 + 0.002 * frame), window, 174_000, 0) for frame in range(1, frames)
        ]
        sent_s += 8 if number % 2 else 9
    last_s = int(sent_s) + 60
    for second in range(1, last_s):
        state = LoadState(
            at_ns=story.at(second),
            streams_open=5,
            opening=0,
            creates=0,
            unknown=0,
            lag_ns=0,
            cpu=0.1,
            wanted=40,
        )
        story.say(state, "engine")
    if healthy:
        story.frames += [(story.at(second), 40, 174_000, 0) for second in range(int(sent_s), last_s)]
    story.end(last_s)
    return story.judged()


def test_the_fields_forty_of_forty_run_does_not_pass_here() -> None:
    found = field_run()
    lenient = [gate for gate in found.gates if not gate.built_in]
    assert all(gate.status is Status.PASSED for gate in lenient), "the field's own gates let it pass"
    assert found.verdict.status is Status.FAILED
    reasons = " ".join(found.verdict.reasons)
    assert "another job's frames" in reasons
    assert "silent" in reasons
    assert found.windows.outcomes[Outcome.STREAM_NO_FRAME] == 5
    assert found.open_windows.certain_max < 12, "forty were claimed"
    assert {group.cause for group in found.failures} >= {"foreign_load"}


def test_the_same_run_without_its_defects_passes() -> None:
    assert field_run(healthy=True).verdict.status is Status.PASSED


def test_a_pause_in_which_nothing_is_wanted_is_no_silence() -> None:
    for pause, breached in ((True, False), (False, True)):
        story = Story(max_windows=10).begin()
        story.phase(1, Phase.BASELINE)
        story.window(2, 119, gone_s=120)
        for second in range(1, 120):
            story.load(second, wanted=0 if pause and 20 <= second < 100 else 3)
            if second < 20 or second > 101:
                story.frames.append((story.at(second), 1, 100, 0))
        story.end(121)
        broken = [check.name for check in story.judged().validity.checks if check.status is not Status.PASSED]
        assert ("silent" in broken) == breached


def test_a_gate_that_fails_on_a_run_that_proves_nothing_is_unjudged() -> None:
    story = run(lag_s=3)
    story.gates = (GatePlan(name="quick", measure="create_p95", op="<=", limit=0.001, min_samples=0),)
    story.end(60)
    found = story.judged()
    [gate] = [gate for gate in found.gates if gate.name == "quick"]
    assert gate.status is Status.UNJUDGED
    assert found.verdict.exit_code == Exit.UNJUDGED


def test_two_images_that_were_there_from_the_start_have_not_changed() -> None:
    for at_s, changed in ((0.2, 0.0), (30, 1.0)):
        story = run()
        story.pod(at_s, role="focus_server", name="other", image="focus:2")
        story.end(60)
        [check] = [check for check in story.judged().validity.checks if check.name == "images_changed"]
        assert check.value == changed
