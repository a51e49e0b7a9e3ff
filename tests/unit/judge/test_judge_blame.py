"""Every failure has one cause, found from what was seen: a person sees why."""

from collections import Counter

import pytest
from run_story import WATCHERS, Story

from harness.history.events import JobSeen, NodeSeen, Outcome, PodSeen, WatcherState
from harness.judge.findings import BlameGroup, Limit


def only(story: Story) -> BlameGroup:
    story.end(60)
    [group] = story.judged().failures
    return group


def test_at_the_limit_a_refusal_suggests_the_limit() -> None:
    story = Story(max_windows=2).begin()
    story.window(1, None)
    story.window(1, None)
    story.refused(10, 10.1, "opaque body")
    group = only(story)
    assert (group.limit, group.cause, group.body) == (Limit.AT_LIMIT, "max_windows", "opaque body")
    assert (group.open.certain, group.open.possible) == (2, 2)


def test_below_the_limit_with_all_well_a_refusal_is_unexplained() -> None:
    story = Story(max_windows=3).begin()
    story.window(1, None)
    story.refused(10, 10.1)
    group = only(story)
    assert (group.limit, group.cause) == (Limit.BELOW, "unexplained")


def test_a_request_does_not_count_itself_as_an_open_window() -> None:
    story = Story(max_windows=1).begin()
    story.refused(10, 10.1)
    assert only(story).limit == Limit.BELOW


def test_creates_in_flight_make_the_limit_a_perhaps() -> None:
    story = Story(max_windows=2).begin()
    story.window(1, None)
    story.refused(10, 12)
    story.refused(10, 12)
    group = only(story)
    assert (group.limit, group.count, group.cause) == (Limit.PERHAPS, 2, "max_windows")


def test_a_dependency_seen_down_is_named_with_its_evidence() -> None:
    story = Story().begin()
    story.depends(0, "mongodb", up=True)
    story.depends(9, "mongodb", up=False)
    story.refused(10, 10.1)
    group = only(story)
    assert group.cause == "mongodb_unavailable"
    identity = group.evidence[0]
    assert identity in {f"{r.writer}:{r.seq}" for r in story.history().events if r.event.at_ns == story.at(9)}


def test_no_free_share_and_no_schedulable_share_are_different_causes() -> None:
    story = Story().begin()
    story.shares(5, 0, 0)
    story.refused(10, 10.1)
    assert only(story).cause == "gpu_exhausted"
    story = Story().begin()
    story.shares(5, 20, 0)
    story.refused(10, 10.1)
    assert only(story).cause == "worker_unavailable"


def test_a_job_that_waits_for_its_share_has_claimed_it() -> None:
    def last_share_waited_for(*, placed: bool) -> Story:
        story = Story().begin()
        story.shares(5, 21, 1)
        story.say(
            JobSeen(at_ns=story.at(6), job="grpc-job-1-2", job_id="1-2", exists=True, state="active"),
            "observe",
        )
        if placed:
            pod = PodSeen(
                at_ns=story.at(7),
                pod="grpc-job-1-2-abcde",
                role="stream",
                exists=True,
                phase="Pending",
                ready=False,
                node="w",
                job_id="1-2",
                gpu=1,
            )
            story.say(pod, "observe")
        story.refused(10, 10.1)
        return story

    assert only(last_share_waited_for(placed=False)).cause == "worker_unavailable"
    assert only(last_share_waited_for(placed=True)).cause == "unexplained"


def test_no_ready_pod_of_focus_server_is_focus_server_down() -> None:
    story = Story().begin()
    for at_s, ready in ((0, True), (9, False), (20, True)):
        story.say(
            PodSeen(
                at_ns=story.at(at_s), pod="f", role="focus_server", exists=True, phase="Running", ready=ready
            ),
            "observe",
        )
    story.refused(10, 10.1)
    assert only(story).cause == "focus_server_down"


def test_in_a_blind_spot_the_answer_is_unknown_never_not_the_cluster() -> None:
    story = Story().begin()
    story.say(WatcherState(at_ns=story.at(9), watcher="pods", seeing=False), "observe")
    story.refused(10, 10.1)
    group = only(story)
    assert (group.cause, group.blind) == ("unknown", ("pods",))


def test_who_cannot_ask_a_broker_that_is_there_is_blind_to_it() -> None:
    story = Story().begin(sees=tuple(name for name in WATCHERS if name != "broker"))
    story.say(WatcherState(at_ns=0, watcher="broker", seeing=False, detail="never answered"), "observe")
    story.say(PodSeen(at_ns=1, pod="b", role="broker", exists=True, phase="Running", ready=True), "observe")
    story.refused(10, 10.1)
    assert only(story).cause == "unknown"


def test_perhaps_at_the_limit_is_no_answer_for_the_blind() -> None:
    story = Story(max_windows=2).begin(sees=())
    story.window(1, 4, service=False)
    story.refused(10, 12)
    story.refused(10, 12)
    group = only(story)
    assert (group.limit, group.cause) == (Limit.PERHAPS, "unknown")


def test_refusals_are_grouped_by_their_circumstances_and_every_one_is_in_one_group() -> None:
    story = Story().begin()
    story.depends(20, "mongodb", up=False)
    for second in range(3, 33):
        story.refused(second, second + 0.1)
    story.fault("kill-mongo", injected=19, undone=25, verified=26)
    story.end(60)
    findings = story.judged()
    assert sum(group.count for group in findings.failures) == findings.refused_503 == 30
    named = Counter()
    for group in findings.failures:
        named[group.cause, group.during] += group.count
    assert named == {("unexplained", ()): 16, ("mongodb_unavailable", ("kill-mongo",)): 14}


def test_the_circumstances_do_not_depend_on_what_was_injected() -> None:
    def told(*, faults: bool) -> list[tuple[object, ...]]:
        story = Story().begin()
        story.depends(9, "mongodb", up=False)
        story.refused(10, 10.1)
        story.refused(3, 3.1)
        if faults:
            story.fault("cordon", injected=2, undone=25, verified=26)
        story.end(60)
        return sorted((g.cause, g.also, g.limit, g.behind, g.count) for g in story.judged().failures)

    assert told(faults=True) == told(faults=False)


def test_a_target_without_a_broker_has_no_blind_spot_there() -> None:
    story = Story().begin(sees=tuple(name for name in WATCHERS if name != "broker"))
    story.say(
        NodeSeen(
            at_ns=0, node="w", exists=True, ready="True", unschedulable=False, worker=True, gpu_allocatable=20
        ),
        "observe",
    )
    story.refused(10, 10.1)
    group = only(story)
    assert (group.blind, group.cause) == ((), "unexplained")


@pytest.mark.parametrize("lag_s", [3.9, 4.9])
def test_a_long_stall_of_our_own_loop_is_ours_however_far_back_it_reaches(lag_s: float) -> None:
    story = Story().begin()
    for second in range(1, 11):
        story.load(second)
    story.load(15, lag_s=lag_s)
    story.window(2, 30, gone_s=31)
    story.attempt(10.2, 14.97, Outcome.READ_TIMEOUT)
    assert only(story).cause == "generator"
