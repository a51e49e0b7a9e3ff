"""A stop condition ends a run when it has held for long enough or could not be seen for too long, and never before."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.campaign import MeasureCondition, PromqlCondition
from harness.clock import SECOND_NS, ManualClock, nanoseconds
from harness.conduct.conditions import StopConditions
from harness.conduct.stop import Stop
from harness.conduct.stopping import Lasting, LoadHeard, MeasureWatch, compared, promql_reading
from harness.errors import Exit
from harness.history.events import (
    AnyEvent,
    ConditionState,
    LoadState,
    Outcome,
    ProcessEnded,
    Record,
    ScenarioSuspended,
    SlotsSeen,
    StopConditionChanged,
    WatcherState,
    WindowClosed,
)
from harness.history.live import AttemptCount, Second
from harness.history.reader import read_history
from harness.history.writer import HistoryWriter
from harness.measures.catalogue import MEASURES
from harness.measures.live import LIVE, NOT_LIVE

HOLDS, CLEAR, UNKNOWN = ConditionState.HOLDS, ConditionState.CLEAR, ConditionState.UNKNOWN
LOOK_NS = SECOND_NS // 4


def condition(**changes: object) -> MeasureCondition:
    given_keys = {"name": "c", "measure": "ratio_503", "op": ">", "limit": 0.9, "for": "4s", "over": "4s"}
    return MeasureCondition.model_validate(given_keys | changes)


def answers(refused: int, accepted: int = 0) -> Second:
    counts = ((str(Outcome.UNAVAILABLE_503), refused), ("accepted", accepted))
    attempts = tuple(AttemptCount("configure", name, count, 0.0, ()) for name, count in counts if count)
    return Second(writer="engine", sample="attempts", attempts=attempts)


def record(event: AnyEvent, writer: str = "engine") -> Record:
    return Record(writer=writer, seq=1, event=event)


def word(at_ns: int, *, wanted: int = 8, streams: int = 8) -> Record:
    state = LoadState(
        at_ns=at_ns, streams_open=streams, opening=0, creates=0, unknown=0, lag_ns=0, cpu=0.1, wanted=wanted
    )
    return record(state)


class Listening:
    """A condition that hears what a test says, and is looked at four times a second like the real ones."""

    def __init__(self, **changes: object) -> None:
        self.watch = MeasureWatch(condition(**changes))
        self.load = LoadHeard(begins_ns=0)
        self.lasting = Lasting(nanoseconds(self.watch.condition.for_s))
        self.clock = ManualClock()
        self.states: list[ConditionState] = []

    def hear(self, *messages: Record | Second) -> None:
        for message in messages:
            self.load.hear(self.clock.now(), message)
            self.watch.hear(self.clock.now(), message)

    def second(self, *messages: Record | Second, wanted: int = 8, streams: int = 8) -> Exit | None:
        """Let a second pass in which the load says these things, and its word; return how the run has to end."""
        self.hear(word(self.clock.now(), wanted=wanted, streams=streams), *messages)
        return self.pass_by(1.0)

    def pass_by(self, span_s: float) -> Exit | None:
        ended = None
        for _ in range(round(span_s * 4)):
            self.clock.advance(LOOK_NS)
            reading = self.watch.read(self.clock.now(), self.load)
            self.states.append(reading.state)
            ended = ended or self.lasting.take(self.clock.now(), reading.state)
        return ended

    @property
    def said(self) -> str:
        return self.watch.read(self.clock.now(), self.load).detail


# --- how long -------------------------------------------------------------------------------------

readings = st.lists(
    st.tuples(st.integers(1, 3 * SECOND_NS), st.sampled_from(list(ConditionState))), min_size=1, max_size=40
)
for_ns = st.integers(SECOND_NS, 8 * SECOND_NS)


def taken(told: list[tuple[int, ConditionState]], for_: int, from_ns: int = 0) -> list[Exit | None]:
    lasting, now_ns, found = Lasting(for_), from_ns, []
    for span_ns, state in told:
        now_ns += span_ns
        found.append(lasting.take(now_ns, state))
    return found


@given(readings, for_ns, st.integers(0, 1000 * SECOND_NS))
def test_shifting_all_times_changes_nothing(
    told: list[tuple[int, ConditionState]], for_: int, shift_ns: int
) -> None:
    assert taken(told, for_) == taken(told, for_, shift_ns)


@given(readings, for_ns)
def test_nothing_ends_before_it_has_lasted_and_what_lasts_ends(
    told: list[tuple[int, ConditionState]], for_: int
) -> None:
    now_ns, held_since, unseen_since = 0, None, None
    for (span_ns, state), ending in zip(told, taken(told, for_), strict=True):
        now_ns += span_ns
        held_since = (now_ns if held_since is None else held_since) if state is HOLDS else None
        if state is CLEAR:
            unseen_since = None
        elif state is UNKNOWN and unseen_since is None:
            unseen_since = now_ns
        held = held_since is not None and now_ns - held_since >= for_
        unseen = state is UNKNOWN and unseen_since is not None and now_ns - unseen_since > for_
        assert ending == (Exit.FAILED if held else Exit.UNJUDGED if unseen else None)


def test_seeing_it_hold_now_and_then_is_not_seeing() -> None:
    flickering = [(SECOND_NS, UNKNOWN), (SECOND_NS, HOLDS)] * 5
    assert Exit.UNJUDGED in taken(flickering, 4 * SECOND_NS)
    assert set(taken([(SECOND_NS, UNKNOWN), (SECOND_NS, CLEAR)] * 5, 4 * SECOND_NS)) == {None}


# --- measures -------------------------------------------------------------------------------------


def test_every_measure_can_be_told_live_or_has_its_reason() -> None:
    assert set(LIVE) | set(NOT_LIVE) == {definition.name for definition in MEASURES}
    assert not set(LIVE) & set(NOT_LIVE)


def test_the_page_names_the_measures_that_can_stop_a_run() -> None:
    page = (Path(__file__).parents[3] / "docs" / "measures.md").read_text()
    told = page.split("Live, for stop conditions:")[1].split("\n\n")[0]
    assert {name.strip(" `\n.") for name in told.split(",")} == set(LIVE)


def test_a_share_that_stays_above_its_limit_ends_the_run_after_exactly_its_time() -> None:
    here = Listening()
    for _ in range(6):
        assert here.second(answers(1, 9)) is None
    endings = [here.second(answers(20)) for _ in range(12)]
    began = here.states.index(HOLDS)
    assert Exit.FAILED in endings
    ended_s = 6 + endings.index(Exit.FAILED) + 1
    assert 4.0 <= ended_s - began / 4 <= 5.25
    assert "ratio_503 over 4 s" in here.said
    assert "stops at > 0.9" in here.said


def test_what_was_long_ago_does_not_count() -> None:
    here = Listening(op=">=", limit=1, measure="refusals")
    here.second(answers(5))
    for _ in range(6):
        here.second(answers(0, 3))
    assert here.states[-1] is CLEAR


def test_too_few_samples_are_no_value() -> None:
    here = Listening(min_samples=10)
    for _ in range(9):
        assert here.second(answers(2)) is None
    assert HOLDS not in here.states


@pytest.mark.parametrize(("wanted", "streams"), [(0, 0), (8, 8)])
def test_a_load_that_wants_no_more_windows_is_idle_and_goes_on(wanted: int, streams: int) -> None:
    here = Listening()
    assert {here.second(wanted=wanted, streams=streams) for _ in range(60)} == {None}
    assert set(here.states) == {CLEAR}


def test_a_load_that_asks_and_gets_no_answer_is_a_load_that_cannot_be_judged() -> None:
    here = Listening()
    endings = [here.second(streams=3) for _ in range(20)]
    assert Exit.UNJUDGED in endings
    assert endings.index(Exit.UNJUDGED) >= 10  # over, the grace, and its time
    assert "the load asks for windows and gets no answer" in here.said


def test_windows_that_end_rarely_leave_a_condition_clear() -> None:
    here = Listening(measure="window_success", op="<", limit=0.5)
    assert {here.second(answers(9), streams=0) for _ in range(30)} == {None}
    here.second(record(WindowClosed(at_ns=1, window=1, job_id="1-1", outcome=Outcome.STREAM_BROKEN)))
    assert here.states[-1] is HOLDS


def test_a_load_that_is_not_heard_of_is_unknown_whatever_was_heard_before() -> None:
    here = Listening()
    for _ in range(3):
        here.second(answers(0, 9))
    assert here.states[-1] is CLEAR
    assert here.pass_by(12.0) is Exit.UNJUDGED
    assert "has not been heard of" in here.said


def test_before_the_load_begins_nothing_is_missed() -> None:
    here = Listening()
    here.load.begins_ns = 30 * SECOND_NS
    here.second(wanted=0, streams=0)
    assert here.pass_by(33.0) is None
    assert set(here.states) == {CLEAR}
    assert here.pass_by(10.0) is Exit.UNJUDGED


def test_a_load_that_pauses_after_refusals_does_not_clear_what_held() -> None:
    here = Listening(**{"for": "20s"})
    for _ in range(3):
        here.second(answers(9), streams=0)
    paused = ScenarioSuspended(
        at_ns=here.clock.now(),
        outcome=Outcome.UNAVAILABLE_503,
        refusals=20,
        until_ns=here.clock.now() + 15 * SECOND_NS,
    )
    here.hear(record(paused))
    for _ in range(14):
        here.second(streams=0)
    assert set(here.states[4:]) == {HOLDS}
    assert "pauses after refusals" in here.said


def test_a_count_of_the_cluster_stands_until_the_next_one_and_is_unknown_while_its_watcher_is_blind() -> None:
    here = Listening(measure="slots_held", op=">", limit=30)
    slots = SlotsSeen(at_ns=0, running_pods=31, pending_pods=0, slots=31)
    here.second(record(slots, "watchers"))
    assert [here.second() for _ in range(9)].count(Exit.FAILED)
    assert here.states[-1] is HOLDS
    here.second(record(WatcherState(at_ns=0, watcher="services", seeing=False), "watchers"))
    assert here.states[-1] is UNKNOWN


def test_rare_events_count_over_the_whole_run() -> None:
    here = Listening(measure="processes_died", op=">", limit=0, over=None)
    here.second(record(ProcessEnded(at_ns=0, process="engine", pid=1, exit_code=-9)))
    for _ in range(20):
        here.second()
    assert here.states[-1] is HOLDS


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_a_window_measures_what_the_definition_measures(told: list[tuple[int, int]]) -> None:
    here = Listening(measure="refusals", op=">", limit=1e9, over="6500ms")
    for refused, accepted in told:
        here.second(answers(refused, accepted))
    last = told[-6:]
    measured = here.watch._window.measured(here.clock.now())
    assert measured.samples == sum(sum(pair) for pair in last)
    assert (measured.value or 0.0) == sum(refused for refused, _ in last)


@pytest.mark.parametrize(
    ("answer", "state"),
    [(5.1, HOLDS), (5.0, CLEAR), (float("nan"), UNKNOWN), (float("inf"), HOLDS), ("no series", UNKNOWN)],
)
def test_an_expression_is_compared_or_not_known(answer: float | str, state: ConditionState) -> None:
    asked = PromqlCondition.model_validate(
        {"name": "c", "promql": "x", "url": "http://p", "op": ">", "limit": 5, "for": "5s"}
    )
    assert promql_reading(asked, answer).state is state
    assert compared(None, ">", 5, "x").state is UNKNOWN


# --- the conditions of a run ----------------------------------------------------------------------


def told_by(folder: Path) -> list[StopConditionChanged]:
    return [r.event for r in read_history(folder).events if isinstance(r.event, StopConditionChanged)]


@pytest.fixture
def conducted(tmp_path: Path) -> Iterator[Callable[..., "Conducted"]]:
    """Make a run with these conditions; its record is closed afterwards."""
    with ExitStack() as stack:

        def make(*conditions: MeasureCondition, name: str = "history") -> Conducted:
            run = Conducted(tmp_path / name, *conditions)
            stack.callback(run.writer.close)
            return run

        yield make


class Conducted:
    """The conditions of a run whose clock a test holds; their thread is not started."""

    def __init__(self, folder: Path, *conditions: MeasureCondition) -> None:
        self.folder = folder
        self.writer = HistoryWriter(folder, "conductor")
        self.clock, self.stop = ManualClock(), Stop()
        self.conditions = StopConditions(conditions, self.clock, self.stop)
        self.conditions._writer = self.writer

    def look(self, span_s: float, *messages: Record | Second, streams: int = 8) -> None:
        for _ in range(round(span_s)):
            for message in (word(self.clock.now(), streams=streams), *messages):
                self.conditions.hear(message)
            self.clock.advance(SECOND_NS)
            self.conditions._look(go=False)


def test_every_change_is_recorded_once_and_the_ending_last(conducted: Callable[..., Conducted]) -> None:
    run = conducted(condition(), condition(name="d", limit=2.0))
    run.look(3, answers(0, 5))
    run.look(9, answers(9))
    assert run.conditions.endings.keys() == {Exit.FAILED}
    assert run.stop.reason == run.conditions.endings[Exit.FAILED]
    assert run.stop.reason.startswith("stop condition 'c' held for 4 s: ratio_503 over 4 s")
    assert [(e.name, e.state, e.ended) for e in told_by(run.folder)] == [
        ("c", CLEAR, False),
        ("d", CLEAR, False),
        ("c", HOLDS, False),
        ("c", HOLDS, True),
    ]


def test_a_condition_that_holds_or_is_not_known_at_the_moment_is_a_no_go(
    conducted: Callable[..., Conducted],
) -> None:
    run = conducted(condition(**{"for": "100s"}), name="holds")
    run.look(2, answers(9))
    assert not run.conditions.go()
    assert run.conditions.endings[Exit.FAILED].startswith("no-go: stop condition 'c' holds before the first")
    run = conducted(condition(**{"for": "100s"}), name="unknown")
    run.look(15, streams=2)
    assert not run.conditions.go()
    assert run.conditions.endings[Exit.UNJUDGED].startswith("no-go: stop condition 'c' is not known before")
    run = conducted(condition(), name="clear")
    run.look(3, answers(0, 9))
    assert run.conditions.go()
    run.look(2, answers(99))
    assert run.conditions.go()  # asked and answered: what comes later is for `for` to decide


def test_without_conditions_there_is_nothing_to_wait_for(conducted: Callable[..., Conducted]) -> None:
    run = conducted()
    assert run.conditions.go()
    run.conditions.begin(0, None, run.writer)
    run.conditions.end()
    assert not run.conditions.endings


def test_a_run_that_was_stopped_from_outside_is_not_ended_again(conducted: Callable[..., Conducted]) -> None:
    run = conducted(condition())
    run.stop.ask("stopped by SIGINT")
    run.look(12, answers(9))
    assert not run.conditions.endings


def test_conditions_that_cannot_be_looked_at_end_the_run(conducted: Callable[..., Conducted]) -> None:
    run = conducted(condition())
    run.conditions._lasting.clear()
    run.look(1, answers(9))
    assert run.conditions.endings.keys() == {Exit.INTERNAL}
    assert run.stop.asked


def test_messages_that_cannot_be_taken_in_end_the_run_too(conducted: Callable[..., Conducted]) -> None:
    run = conducted(condition())
    run.conditions._watches[0]._window.add = None  # type: ignore[union-attr, method-assign, assignment]
    run.look(1, answers(9))
    assert run.conditions.endings.keys() == {Exit.INTERNAL}
