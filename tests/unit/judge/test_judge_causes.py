"""Each cause claims what it should and leaves alone what it should not: pairs of small runs that differ in one thing."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_story import Story, ns

from harness.history.events import (
    DependencySeen,
    FaultStep,
    JobSeen,
    LoadState,
    LogLineSeen,
    Outcome,
    ServiceSeen,
    WatcherState,
)
from harness.judge.blame import CAUSES, NAMES, Blames, blame
from harness.judge.blame import causes as cause_files
from harness.judge.findings import BlameGroup
from harness.judge.record import RunRecord
from harness.judge.world import World

NGINX = "<html><head><title>503 Service Temporarily Unavailable</title></head><center>nginx</center>"
OWN = '{"detail":"Service Unavailable"}'


def blamed(story: Story, *, logs: bool = True) -> Blames:
    record = RunRecord(story.run(), story.history())
    return blame(record, World(record.records, record.attempts, record.end_ns), logs=logs)


def cause(story: Story) -> str:
    [name] = blamed(story).names
    return name


def group(story: Story) -> BlameGroup:
    story.end(90)
    [found] = story.judged().failures
    return found


def well() -> Story:
    """All is well: everything answers, a worker is there, Focus Server is ready."""
    story = Story(max_windows=10).begin()
    for name in ("focus_server", "kubernetes_api", "server_rights", "mongodb", "broker", "fibre"):
        story.depends(0.1, name, up=True)
    story.node(0.1)
    for role in ("focus_server", "mongodb", "broker", "player"):
        story.pod(0.1, role=role)
    return story


# --- creates --------------------------------------------------------------------------------------


def test_nothing_that_was_seen_explains_a_refusal_when_all_is_well() -> None:
    story = well()
    story.refused(10, 10.1, OWN)
    assert cause(story) == "unexplained"


@pytest.mark.parametrize(
    ("dependency", "name"),
    [
        ("kubernetes_api", "kubernetes_unreachable"),
        ("server_rights", "kubernetes_unreachable"),
        ("mongodb", "mongodb_unavailable"),
        ("broker", "broker_unavailable"),
        ("fibre", "waiting_for_fibre"),
    ],
)
def test_a_dependency_that_did_not_answer_is_the_cause_while_it_does_not_and_not_before_or_after(
    dependency: str, name: str
) -> None:
    story = well()
    story.depends(20, dependency, up=False)
    story.depends(30, dependency, up=True)
    for second in (10, 25, 40):
        story.refused(second, second + 0.1, OWN)
    assert blamed(story).names == ("unexplained", name, "unexplained")


def test_what_went_down_between_two_questions_is_the_cause_of_what_failed_in_between() -> None:
    story = well()
    story.depends(20, "mongodb", up=False)
    story.refused(19.2, 19.3, OWN)
    assert cause(story) == "mongodb_unavailable"


@pytest.mark.parametrize("said_again", [True, False])
def test_what_is_said_to_be_still_down_after_a_refusal_was_down_at_it(said_again: bool) -> None:
    story = well()
    story.depends(20, "mongodb", up=False)
    if said_again:
        story.depends(25.3, "mongodb", up=False)
    story.depends(26, "mongodb", up=True)
    story.depends(20, "kubernetes_api", up=False)
    story.depends(23, "kubernetes_api", up=True)  # the server may not have found it again
    story.say(WatcherState(at_ns=story.at(24), watcher="pods", seeing=False), "observe")
    story.refused(25, 25.1, OWN)
    assert cause(story) == ("mongodb_unavailable" if said_again else "unknown")


@pytest.mark.parametrize(("took_s", "name"), [(0.1, "kubernetes_unreachable"), (2.5, "unknown")])
def test_one_question_that_failed_is_no_outage_where_the_next_one_was_answered_slowly(
    took_s: float, name: str
) -> None:
    story = well()
    for _ in range(9):
        story.window(1, 40)
    story.depends(20, "kubernetes_api", up=False)
    answer = DependencySeen(at_ns=story.at(23.5), dependency="kubernetes_api", up=True, latency_ns=ns(took_s))
    story.say(answer, "observe")
    for _ in range(2):  # with nine windows open, one of two at once may be one too many
        story.refused(20.4, 20.5, OWN)
    assert set(blamed(story).names) == {name}


def test_rights_that_are_gone_and_an_api_that_is_silent_lie_behind_one_cause() -> None:
    told = {}
    for dependency in ("kubernetes_api", "server_rights"):
        story = well()
        story.depends(5, dependency, up=False)
        story.refused(10, 10.1)
        told[dependency] = group(story).behind
    assert told == {
        "kubernetes_api": "the API server did not answer",
        "server_rights": "its service account may not do what it needs",
    }


def test_the_front_that_has_nobody_to_ask_means_focus_server_is_down() -> None:
    story = well()
    story.pod(9.9, role="focus_server", ready=False)
    story.refused(10, 10.1, NGINX)
    story.pod(20, role="focus_server")
    assert cause(story) == "focus_server_down"
    story = well()
    story.pod(9.9, role="focus_server", ready=False)
    story.refused(10, 10.1, OWN)  # it has answered itself: it was just going
    assert group(story).cause == "focus_server_down"


def test_no_connection_while_its_pods_are_well_is_the_way() -> None:
    story = well()
    story.attempt(
        10, 10.1, Outcome.CONNECT_FAILED, "Cannot connect to host 127.0.0.1:80 [Connect call failed]"
    )
    assert cause(story) == "path"
    story = well()
    story.pod(5, role="focus_server", exists=False)
    story.attempt(
        10, 10.1, Outcome.CONNECT_FAILED, "Cannot connect to host 127.0.0.1:80 [Connect call failed]"
    )
    assert cause(story) == "focus_server_down"


@pytest.mark.parametrize(("away", "name"), [(True, "focus_server_down"), (False, "broker_unavailable")])
def test_a_gateway_without_a_server_behind_it_is_no_dependency_s_fault(away: bool, name: str) -> None:
    story = well()
    story.depends(5, "broker", up=False)
    if away:
        story.pod(9.9, role="focus_server", ready=False)
    story.attempt(10, 10.1, Outcome.INGRESS_502_504, "", 502)
    story.depends(12, "broker", up=False)
    assert cause(story) == name


@pytest.mark.parametrize(
    ("seen_while_up", "name"), [(True, "mongodb_unavailable"), (False, "focus_server_down")]
)
def test_a_body_that_came_while_the_server_was_surely_there_is_the_server_s_own(
    seen_while_up: bool, name: str
) -> None:
    story = well()
    if seen_while_up:
        story.refused(30, 30.1, "not now")
    story.depends(40, "mongodb", up=False)
    story.depends(49.9, "mongodb", up=True)
    story.refused(50, 50.1, "not now")
    story.pod(50.2, role="focus_server", ready=False)
    assert blamed(story).names[-1] == name


@pytest.mark.parametrize(("taken_s", "name"), [(20.2, "unexplained"), (21.9, "gpu_exhausted")])
def test_what_is_free_counts_when_the_server_speaks_not_while_it_waits_before(
    taken_s: float, name: str
) -> None:
    story = well()
    story.shares(1, 5, 5)
    story.shares(taken_s - 0.1, 0, 0)
    story.shares(taken_s, 5, 5)
    story.refused(20, 22, OWN)
    assert cause(story) == name


@pytest.mark.parametrize(("ready", "name"), [(True, "path"), (False, "focus_server_down")])
def test_a_connection_that_was_cut_is_the_server_s_only_where_its_pod_went(ready: bool, name: str) -> None:
    story = well()
    story.depends(10.1, "focus_server", up=False)
    story.pod(10.3, role="focus_server", ready=ready)
    story.attempt(10, 10.2, Outcome.UNKNOWN, "Server disconnected")
    assert cause(story) == name


@pytest.mark.parametrize(
    ("outcome", "status", "name"),
    [
        (Outcome.VALIDATION_422, 422, "invalid_request"),
        (Outcome.PARSE_500, 500, "invalid_request"),
        (Outcome.OTHER_STATUS, 400, "invalid_request"),
        (Outcome.OTHER_STATUS, 429, "unexplained"),
        (Outcome.NO_RECORDING_404, 404, "no_recording"),
        (Outcome.NOT_FOUND_404, 404, "path"),
    ],
)
def test_what_the_server_said_itself_is_believed(outcome: Outcome, status: int, name: str) -> None:
    story = well()
    story.attempt(10, 10.1, outcome, "", status)
    assert cause(story) == name


def test_many_creates_in_flight_and_a_server_error_are_overload_and_few_are_not() -> None:
    def crowd(others: int) -> Story:
        story = well()
        for _ in range(others):
            story.window(9, 40)
        story.attempts = [(row[0], story.at(11), *row[2:]) for row in story.attempts]
        story.attempt(9.5, 10, Outcome.SERVER_5XX, "Internal Server Error", 500)
        return story

    assert cause(crowd(5)) == "server_overload"
    assert cause(crowd(2)) == "unexplained"


def test_our_own_lateness_is_our_own_fault_where_no_answer_came() -> None:
    def late(outcome: Outcome, body: str = "") -> Story:
        story = well()
        for second in (*range(1, 11), *range(15, 20)):  # nothing is said while the loop stands still
            lag_ns = ns(4) if second == 15 else 0
            state = LoadState(
                at_ns=story.at(second),
                streams_open=0,
                opening=0,
                creates=1,
                unknown=0,
                lag_ns=lag_ns,
                cpu=1.0,
            )
            story.say(state, "engine")
        story.attempt(11, 15, outcome, body)
        return story

    assert cause(late(Outcome.READ_TIMEOUT)) == "generator"
    assert cause(late(Outcome.UNAVAILABLE_503, OWN)) == "unexplained"
    assert cause(late(Outcome.CONNECT_FAILED, "[Errno 24] Too many open files")) == "generator"


def test_the_limit_is_the_cause_only_where_as_many_windows_may_be_open() -> None:
    story = well()
    for _ in range(10):
        story.window(1, 40)
    story.refused(10, 10.1, OWN)
    assert cause(story) == "max_windows"


def test_slots_of_windows_that_are_long_over_lie_behind_the_limit() -> None:
    story = well()
    for number in range(12):  # these show how soon slots come back
        story.window(1 + number / 10, 4, gone_s=5)
    for _ in range(10):
        story.window(8, 11)
    story.refused(40, 40.1, OWN)
    found = group(story)
    assert (found.cause, found.behind) == (
        "max_windows",
        "slots were still held by windows that were long over",
    )


def test_windows_of_others_lie_behind_the_limit_and_hold_beside_it() -> None:
    story = well()
    for number in range(1, 11):
        name = f"grpc-service-{number}-99"
        story.say(ServiceSeen(at_ns=story.at(2), service=name, job_id=f"{number}-99", exists=True), "observe")
    story.refused(10, 10.1, OWN)
    found = group(story)
    assert (found.cause, found.behind) == ("max_windows", "windows of others held slots")


def test_one_cordoned_worker_with_shares_left_elsewhere_is_no_cause() -> None:
    def cordoned(schedulable: int) -> str:
        story = well()
        story.node(5, cordoned=True)
        story.shares(5, 30, schedulable)
        story.refused(10, 10.1, OWN)
        return cause(story)

    assert cordoned(15) == "unexplained"
    assert cordoned(0) == "worker_unavailable"


def test_a_server_that_has_just_become_ready_may_not_know_the_cluster_yet() -> None:
    story = well()
    story.pod(10, role="focus_server", ready=False)
    story.pod(20, role="focus_server")
    story.refused(21, 21.1, OWN)
    story.refused(24.9, 25.1, OWN)
    story.refused(40, 40.1, OWN)
    assert blamed(story).names == ("server_starting", "server_starting", "unexplained")


@pytest.mark.parametrize(("body", "name"), [(OWN, "server_starting"), (NGINX, "focus_server_down")])
def test_a_server_that_speaks_is_there_however_lately_it_came(body: str, name: str) -> None:
    story = well()
    story.pod(10, role="focus_server", ready=False)
    story.pod(20, role="focus_server")
    story.refused(20.1, 20.5, body)
    assert cause(story) == name


@pytest.mark.parametrize(
    ("opened_s", "name"), [(20.5, "unexplained"), (21.5, "server_starting"), (5, "server_starting")]
)
def test_a_server_that_has_opened_a_window_has_started(opened_s: float, name: str) -> None:
    story = well()
    story.pod(10, role="focus_server", ready=False)
    story.pod(20, role="focus_server")
    story.window(opened_s - 0.1, 40)
    story.refused(21, 21.1, OWN)
    assert cause(story) == name


@pytest.mark.parametrize(
    ("windows", "mongodb", "name"),
    [(9, True, "server_starting"), (10, True, "max_windows"), (3, False, "mongodb_unavailable")],
)
def test_what_was_seen_to_hold_goes_before_a_server_that_is_starting_and_what_merely_may_does_not(
    windows: int, mongodb: bool, name: str
) -> None:
    story = well()
    for _ in range(windows):
        story.window(1, 40)
    story.pod(10, role="focus_server", ready=False)
    story.pod(20, role="focus_server")
    for _ in range(2):  # two creates at once: with nine windows open, one of them might be the last
        story.refused(21, 21.1, OWN)
    if not mongodb:
        story.depends(22, "mongodb", up=False)
    assert set(blamed(story).names) == {name}


def test_the_log_makes_a_cause_likely_and_is_not_looked_at_when_told_so() -> None:
    story = well()
    line = "ERROR: Cannot configure job: missing required fiber metadata fields: prr"
    story.say(LogLineSeen(at_ns=story.at(10.05), pod="f", text=line), "observe")
    story.refused(10, 10.1, OWN)
    assert blamed(story).names == ("waiting_for_fibre",)
    assert blamed(story, logs=False).names == ("unexplained",)


def test_what_is_likely_stands_when_others_are_blind_and_what_is_merely_possible_does_not() -> None:
    def blind_to_the_broker(*, full: bool) -> str:
        story = well()
        story.say(WatcherState(at_ns=story.at(5), watcher="broker", seeing=False), "observe")
        for _ in range(10 if full else 9):
            story.window(1, 40)
        story.refused(10, 12, OWN)
        story.refused(10, 12, OWN)
        names = set(blamed(story).names)
        assert len(names) == 1
        return names.pop()

    assert blind_to_the_broker(full=True) == "max_windows"
    assert blind_to_the_broker(full=False) == "unknown"


# --- windows --------------------------------------------------------------------------------------


def unserved(outcome: Outcome, closed_s: float = 30, *, pod: bool = True) -> tuple[Story, str]:
    """A window accepted at 10.1 s that ended badly, and its job id; its pod came up on worker `w`."""
    story = well()
    window = story.window(10, closed_s, outcome=outcome, frame_s=12)
    job = story.job_of(window)
    if pod:
        story.pod(10.5, job, phase="Pending", ready=False)
        story.pod(11, job)
    return story, job


def test_a_window_whose_pod_is_put_nowhere_wants_a_share_or_a_worker() -> None:
    def waits(free: int, schedulable: int) -> str:
        story, job = unserved(Outcome.PENDING_NO_START, pod=False)
        story.shares(9, free, schedulable)
        story.pod(10.5, job, phase="Pending", ready=False, node="", reason="Unschedulable")
        return cause(story)

    assert waits(0, 0) == "gpu_exhausted"
    assert waits(20, 0) == "worker_unavailable"
    assert waits(20, 20) == "unexplained"


@pytest.mark.parametrize(
    ("placed_s", "name"), [(25, "worker_unavailable"), (32, "worker_unavailable"), (14, "pod_start_failed")]
)
def test_a_place_that_was_found_late_was_wanting_for_most_of_the_wait(placed_s: float, name: str) -> None:
    story, job = unserved(Outcome.PENDING_NO_START, pod=False)
    story.shares(9, 20, 0)
    story.pod(10.5, job, phase="Pending", ready=False, node="", reason="Unschedulable")
    story.shares(placed_s - 0.1, 20, 20)
    story.pod(placed_s, job, phase="Pending", ready=False)
    story.pod(40, job, phase="Failed", ready=False)  # cleanup removed it when nobody came
    assert cause(story) == name


def test_a_pod_without_an_address_and_one_that_cannot_start_are_told_apart() -> None:
    for reason, text, name in (
        (
            "FailedCreatePodSandBox",
            "failed to allocate: no IP addresses available in range",
            "pod_network_exhausted",
        ),
        ("Failed", "Error: ErrImagePull", "pod_start_failed"),
    ):
        story, job = unserved(Outcome.PENDING_NO_START, pod=False)
        waits_for = "ErrImagePull" if name == "pod_start_failed" else "ContainerCreating"
        story.pod(10.5, job, phase="Pending", ready=False, reason=waits_for)
        story.warned(12, job, reason, text)
        assert cause(story) == name


@pytest.mark.parametrize(("ready_s", "name"), [(27, "pod_network_exhausted"), (15, "pod_start_failed")])
def test_an_address_that_came_late_was_wanting_for_most_of_the_wait(ready_s: float, name: str) -> None:
    story, job = unserved(Outcome.PENDING_NO_START, pod=False)
    story.pod(10.5, job, phase="Pending", ready=False, reason="ContainerCreating")
    story.warned(
        12, job, "FailedCreatePodSandBox", "failed to allocate for range 0: no IP addresses available"
    )
    story.pod(ready_s, job)
    assert cause(story) == name


def test_windows_that_were_never_reached_share_the_way_whenever_each_was_given_up() -> None:
    story, _ = unserved(Outcome.PENDING_NO_START)
    for second in (35, 40):
        window = story.window(10, second, outcome=Outcome.PENDING_NO_START)
        story.pod(11, story.job_of(window))
    assert set(blamed(story).names) == {"path"}


@pytest.mark.parametrize(
    ("gone_s", "failed_s", "name"),
    [(29, None, "idle_cleanup"), (29.95, None, "stream_pod_lost"), (29.5, 29.4, "stream_pod_lost")],
)
def test_a_window_that_was_removed_with_its_job_did_not_lose_its_pod(
    gone_s: float, failed_s: float | None, name: str
) -> None:
    story, job = unserved(Outcome.STREAM_BROKEN)
    story.frames.append((story.at(28.8), 1, 174_000, 0))
    story.pod(29.3, job, exists=False)
    for at_s, exists, state in ((failed_s, True, "failed"), (gone_s, False, "")):
        if at_s is not None:
            seen = JobSeen(
                at_ns=story.at(at_s), job=f"grpc-job-{job}", job_id=job, exists=exists, state=state
            )
            story.say(seen, "observe")
    assert cause(story) == name


def test_a_pod_that_runs_and_never_opens_its_port_did_not_start_unless_its_neighbours_share_the_fate() -> (
    None
):
    story, _ = unserved(Outcome.PENDING_NO_START)
    assert cause(story) == "pod_start_failed"
    for _ in range(2):
        window = story.window(10, 30, outcome=Outcome.PENDING_NO_START)
        story.pod(11, story.job_of(window))
    assert set(blamed(story).names) == {"path"}


@pytest.mark.parametrize(("ready_s", "name"), [(29, "pod_start_failed"), (11.5, "path")])
def test_where_others_of_the_node_were_reached_meanwhile_the_way_was_open(ready_s: float, name: str) -> None:
    story, _ = unserved(Outcome.PENDING_NO_START)
    for _ in range(2):
        window = story.window(10, 30, outcome=Outcome.PENDING_NO_START)
        story.pod(11, story.job_of(window))
    served = story.window(10, 40, frame_s=ready_s + 0.2)
    story.pod(11, story.job_of(served))
    assert set(blamed(story).names) == {name}


@pytest.mark.parametrize(("failed_s", "name"), [(20, "generator"), (31, "pod_start_failed")])
def test_a_window_waits_for_nothing_while_our_own_machine_has_no_file_left(
    failed_s: float, name: str
) -> None:
    story, _ = unserved(Outcome.PENDING_NO_START)
    story.attempt(failed_s, failed_s + 0.1, Outcome.CONNECT_FAILED, "[Errno 24] Too many open files")
    assert blamed(story).names == ("generator", name)


def test_a_stream_that_breaks_with_its_pod_or_with_its_node() -> None:
    story, job = unserved(Outcome.STREAM_BROKEN)
    story.frames.append((story.at(29.8), 1, 174_000, 0))
    story.pod(29.9, job, exists=False)
    assert cause(story) == "stream_pod_lost"
    story, _ = unserved(Outcome.STREAM_BROKEN)
    story.node(41, ready="Unknown")  # noticed when its grace is over
    assert cause(story) == "worker_unavailable"


def test_a_stream_that_ran_dry_and_was_removed_was_taken_for_idle_and_says_who_starved_it() -> None:
    def dry(*, player: bool) -> Blames:
        story, job = unserved(Outcome.STREAM_BROKEN)
        if not player:
            story.pod(11.5, role="player", exists=False)
        name = f"grpc-job-{job}"
        story.say(JobSeen(at_ns=story.at(29.5), job=name, job_id=job, exists=False), "observe")
        story.pod(29.6, job, exists=False)
        return blamed(story)

    assert dry(player=True).names == ("idle_cleanup",)
    found = dry(player=False)
    assert {name for name, holds in zip(found.causes, found.held[0], strict=True) if holds} == {
        "idle_cleanup",
        "feed_unavailable",
    }


def test_a_stream_that_had_ended_and_whose_pod_is_killed_was_not_taken_for_idle() -> None:
    """A recording is over long before its reader is: no frame comes for a while, and nothing is wrong with that."""

    def killed(job_gone_s: float) -> Blames:
        story, job = unserved(Outcome.STREAM_BROKEN)
        name = f"grpc-job-{job}"
        story.say(JobSeen(at_ns=story.at(12), job=name, job_id=job, exists=True, state="active"), "observe")
        story.pod(29.9, job, exists=False)
        story.say(JobSeen(at_ns=story.at(job_gone_s), job=name, job_id=job, exists=False), "observe")
        return blamed(story)

    assert killed(35).names == ("stream_pod_lost",)
    assert killed(30.5).names == ("idle_cleanup",)


def test_a_window_without_a_frame_wants_broker_or_player() -> None:
    for role, name in (("broker", "broker_unavailable"), ("player", "feed_unavailable")):
        story, _ = unserved(Outcome.STREAM_NO_FRAME)
        story.pod(8, role=role, exists=False)
        assert cause(story) == name
    story, _ = unserved(Outcome.STREAM_NO_FRAME)
    assert cause(story) == "unexplained"


def test_the_frames_of_another_job_are_foreign_load() -> None:
    story, _ = unserved(Outcome.FOREIGN_STREAM)
    assert cause(story) == "foreign_load"


def test_a_window_that_failed_where_nobody_saw_its_pod_is_unknown() -> None:
    story, _ = unserved(Outcome.STREAM_BROKEN)
    story.say(WatcherState(at_ns=story.at(20), watcher="pods", seeing=False), "observe")
    assert cause(story) == "unknown"


# --- laws -----------------------------------------------------------------------------------------

tenths = st.integers(0, 600).map(lambda tenth: tenth / 10)


@st.composite
def runs(draw: st.DrawFn) -> Story:
    story = Story(max_windows=draw(st.none() | st.integers(0, 3))).begin()
    for _ in range(draw(st.integers(0, 5))):
        name = draw(st.sampled_from(["mongodb", "kubernetes_api", "focus_server", "broker", "fibre"]))
        story.depends(draw(tenths), name, up=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 3))):
        watcher = draw(st.sampled_from(["pods", "nodes", "services", "mongodb"]))
        state = WatcherState(at_ns=story.at(draw(tenths)), watcher=watcher, seeing=draw(st.booleans()))
        story.say(state, "observe")
    failures = [one for one in Outcome if one not in (Outcome.STREAMING, Outcome.COMPLETE, Outcome.CANCELLED)]
    for _ in range(draw(st.integers(1, 6))):
        sent = draw(tenths)
        outcome = draw(st.sampled_from(failures))
        body = draw(st.sampled_from(["", NGINX, OWN, "Too many open files"]))
        if outcome in (Outcome.PENDING_NO_START, Outcome.STREAM_NO_FRAME, Outcome.STREAM_BROKEN):
            story.window(sent, sent + 5, outcome=outcome, service=draw(st.booleans()))
        else:
            story.attempt(sent, sent + draw(tenths) / 10, outcome, body, draw(st.sampled_from([0, 404, 503])))
    return story


@settings(max_examples=60, deadline=None)
@given(runs())
def test_blame_is_total_every_failure_has_exactly_one_cause_and_it_is_among_those_that_held(
    story: Story,
) -> None:
    found = blamed(story)
    assert len(found.names) == len(found.failures) == len(found.held)
    assert set(found.names) <= set(NAMES)
    assert all(found.held[index, primary] for index, primary in enumerate(found.primary.tolist()))
    grouped = story.judged().failures
    assert sum(one.count for one in grouped) == len(found.failures)


@settings(max_examples=40, deadline=None)
@given(runs(), st.lists(st.tuples(tenths, st.sampled_from(list(FaultStep))), max_size=6))
def test_blame_is_the_same_whatever_was_injected(story: Story, steps: list[tuple[float, FaultStep]]) -> None:
    before = blamed(story)
    for number, (at_s, step) in enumerate(steps):
        story.fault_step("kill-mongo", at_s, step, entry=str(number))
    after = blamed(story)
    assert before.names == after.names
    assert (before.held == after.held).all()


def test_no_rule_knows_of_faults() -> None:
    folder = Path(cause_files.__file__).parents[1]
    sources = [
        *folder.rglob("*.py"),
        *(folder.parent / f"{name}.py" for name in ("world", "windows", "slots")),
    ]
    assert len(sources) > len(CAUSES)
    for source in sources:
        text = source.read_text(encoding="utf-8")
        for word in ("FaultChanged", "FaultStep", "ExperimentEnded", "PhaseChanged", "judge.faults"):
            assert word not in text, f"{source.name} knows of {word}"


def test_every_file_of_a_cause_is_in_the_tuple_and_says_its_name() -> None:
    files = {file.stem for file in Path(cause_files.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == {one.name for one in CAUSES}
    assert all(one.heading and one.sentence and one.remedy for one in CAUSES)
    assert msgspec.json.encode(NAMES)
