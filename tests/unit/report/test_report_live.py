"""The live state and what reads it: the terminal view and Prometheus metrics."""

import threading

from story import FAULTS, MAX_WINDOWS, run_info, tell

from harness.clock import nanoseconds
from harness.history.events import (
    DependencySeen,
    FaultChanged,
    FaultStep,
    LoadState,
    Note,
    Phase,
    Record,
    WatcherState,
)
from harness.history.live import LATENCY_BOUNDS_S, AttemptCount, Second
from harness.report.live import LABEL_CAP, LiveState


def record(seq: int, event: object, writer: str = "w") -> Record:
    return Record(writer=writer, seq=seq, event=event)  # type: ignore[arg-type]


def step(seq: int, at_s: float, what: FaultStep, entry: str = "e1") -> Record:
    change = FaultChanged(
        at_ns=nanoseconds(at_s),
        entry=entry,
        fault="cordon",
        experiment="cordon-worker",
        step=what,
        target="node",
    )
    return record(seq, change)


def test_the_state_adds_up_to_what_the_story_tells() -> None:
    story, state = tell(), LiveState(run_info())
    for message in story.told:
        state.absorb(message)
    seen = state.snapshot()
    assert seen.asked == len(story.attempts)
    assert seen.refused == sum(1 for row in story.attempts if row[6] == 503)
    assert seen.creates["accepted"] == seen.ready.count == seen.first_frame.count == seen.closed["streaming"]
    assert seen.frames == len(story.frames)
    assert seen.rows == sum(row[4] for row in story.frames)
    assert seen.requests["configure"].count == len(story.attempts)
    assert seen.max_windows == MAX_WINDOWS
    assert seen.phase is Phase.DRAIN
    assert seen.lost == 0
    assert len(seen.faults) == len(FAULTS)
    assert not seen.active_faults


def test_what_was_never_heard_of_is_absent_and_not_zero() -> None:
    seen = LiveState().snapshot()
    assert seen.open_windows == {}
    assert seen.max_windows is None
    assert seen.frame_lag_max_ns is None
    assert seen.phase is None


def test_a_fault_is_active_from_injected_to_undone() -> None:
    state = LiveState()
    life = (FaultStep.OPENED, FaultStep.INJECTED, FaultStep.EFFECTIVE, FaultStep.UNDONE, FaultStep.VERIFIED)
    active = []
    for number, what in enumerate(life, start=1):
        state.absorb(step(number, number, what))
        active.append(bool(state.snapshot().active_faults))
    assert active == [False, True, True, False, False]


def test_a_fault_somebody_else_ended_is_not_active_and_says_so() -> None:
    state = LiveState()
    for number, what in enumerate((FaultStep.OPENED, FaultStep.INJECTED, FaultStep.NOT_HELD), start=1):
        state.absorb(step(number, number, what))
    seen = state.snapshot()
    assert not seen.active_faults
    assert seen.headlines[-1].level == "warning"


def test_a_failed_undo_leaves_the_fault_active() -> None:
    state = LiveState()
    for number, what in enumerate((FaultStep.OPENED, FaultStep.INJECTED, FaultStep.FAILED), start=1):
        state.absorb(step(number, number, what))
    assert len(state.snapshot().active_faults) == 1
    assert state.snapshot().headlines[-1].level == "error"


def test_lost_messages_are_counted_also_when_they_arrive_out_of_order() -> None:
    state = LiveState()
    for seq in (1, 2, 5, 4):
        state.absorb(record(seq, Note(at_ns=seq, level="info", text="x")))
    assert state.snapshot().lost == 1


def test_open_windows_of_several_engines_are_added() -> None:
    state = LiveState()
    for writer, streams in (("engine-1", 4), ("engine-2", 5), ("engine-1", 6)):
        load = LoadState(at_ns=1, streams_open=streams, opening=0, creates=0, unknown=0, lag_ns=0, cpu=0.1)
        state.absorb(record(1, load, writer))
    assert state.snapshot().open_windows == {"streams": 11}


def test_labels_from_outside_stay_bounded() -> None:
    state = LiveState()
    for number in range(LABEL_CAP * 3):
        seen = WatcherState(at_ns=number, watcher=f"w{number}", seeing=True)
        state.absorb(record(number + 1, seen))
    empty = (0,) * len(LATENCY_BOUNDS_S)
    odd = AttemptCount("configure", "teapot", 2, 0.2, (2, *empty))
    state.absorb(Second(writer="w", sample="attempts", attempts=(odd,)))
    snapshot = state.snapshot()
    assert len(snapshot.watchers) == LABEL_CAP + 1
    assert snapshot.creates == {"other": 2}


def test_a_dependency_that_stops_answering_is_a_headline_and_the_first_look_is_not() -> None:
    state = LiveState()
    state.absorb(record(1, DependencySeen(at_ns=1, dependency="mongodb", up=True)))
    assert not state.snapshot().headlines
    state.absorb(record(2, DependencySeen(at_ns=2, dependency="mongodb", up=False)))
    assert state.snapshot().headlines[-1].text == "mongodb does not answer"


def test_messages_may_come_from_many_threads_at_once() -> None:
    state, each = LiveState(), 400

    def feed(writer: str) -> None:
        for seq in range(1, each + 1):
            state.absorb(record(seq, Note(at_ns=seq, level="info", text="x"), writer))
            state.snapshot()

    threads = [threading.Thread(target=feed, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.snapshot().notes == {"info": 4 * each}
    assert state.snapshot().lost == 0
