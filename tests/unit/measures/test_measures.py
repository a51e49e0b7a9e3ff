"""Measures: documented, lawful, and the same from files as live."""

import re
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.history.events import (
    FaultChanged,
    FaultStep,
    FirstFrame,
    LeftoverSeen,
    Outcome,
    ProcessEnded,
    Record,
    WatcherState,
    WindowClosed,
)
from harness.history.live import LiveReceiver, LiveSender, Second
from harness.history.reader import read_history
from harness.history.samples import ACCEPTED, ARRIVALS, ATTEMPTS, FRAMES, SENT
from harness.history.writer import HistoryWriter
from harness.measures.catalogue import BY_NAME, LEFTOVER_WATCH, MEASURES
from harness.measures.gate import Status, gate_status
from harness.measures.measure import Measured, Tally, measure
from harness.measures.portion import Portion, of_arrivals, of_record, of_records, of_samples, of_second

PAGE = Path(__file__).parents[3] / "docs" / "measures.md"


def test_every_measure_has_its_row_and_every_row_its_measure() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| ([^|]+) \| (run|phases) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE
    )
    told = [(m.name, m.unit, "run" if m.whole_run else "phases", m.about) for m in MEASURES]
    assert [tuple(cell.strip() for cell in row) for row in rows] == told


def test_names_are_unique_and_plain() -> None:
    assert len(BY_NAME) == len(MEASURES)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in BY_NAME)


@pytest.mark.parametrize("definition", MEASURES, ids=lambda m: m.name)
def test_nothing_measured_is_no_value_and_never_passes(definition: Any) -> None:
    measured = measure(definition, [Portion()])
    assert measured == Measured(None, 0)
    assert all(
        gate_status(measured, op, 0, 0) == Status.UNJUDGED for op in ("<", "<=", "==", "!=", ">=", ">")
    )


# --- laws -----------------------------------------------------------------------------------------

outcomes = st.sampled_from([ACCEPTED, *map(str, Outcome)])
spans = st.integers(0, 60_000_000_000)


@st.composite
def portions(draw: st.DrawFn) -> Portion:
    latencies = draw(
        st.dictionaries(
            st.tuples(st.sampled_from(["configure", "ack"]), outcomes), st.lists(spans, min_size=1)
        )
    )
    lags = draw(st.lists(spans))
    late = draw(st.lists(spans))
    fates = draw(st.dictionaries(st.sampled_from([SENT, "max_jobs"]), st.integers(1, 9)))
    events = draw(
        st.lists(
            st.one_of(
                st.builds(
                    FirstFrame,
                    at_ns=spans,
                    window=st.integers(1, 9),
                    job_id=st.just("1-1"),
                    since_accept_ns=spans,
                ),
                st.builds(
                    WindowClosed,
                    at_ns=spans,
                    window=st.integers(1, 9),
                    job_id=st.just("1-1"),
                    outcome=st.sampled_from(Outcome),
                ),
                st.builds(
                    FaultChanged,
                    at_ns=spans,
                    entry=st.sampled_from("abc"),
                    fault=st.just("f"),
                    experiment=st.sampled_from(["x", "y"]),
                    step=st.sampled_from(FaultStep),
                ),
                st.builds(
                    ProcessEnded,
                    at_ns=spans,
                    process=st.sampled_from(["engine", "chaos-x"]),
                    pid=st.just(1),
                    exit_code=st.sampled_from([0, -9, -15, 1]),
                ),
                st.builds(
                    WatcherState,
                    at_ns=spans,
                    watcher=st.sampled_from(["pods", LEFTOVER_WATCH]),
                    seeing=st.booleans(),
                ),
                st.builds(LeftoverSeen, at_ns=spans, object_kind=st.just("Job"), name=st.just("j")),
            ),
            max_size=8,
        )
    )
    return Portion(
        attempts={key: len(values) for key, values in latencies.items()},
        latencies_ns={key: np.array(values, dtype=np.int64) for key, values in latencies.items()},
        planned_ns={key: np.array(values, dtype=np.int64) for key, values in latencies.items()},
        arrivals=fates,
        lateness_ns=np.array(late, dtype=np.int64),
        frames=len(lags),
        lags_ns=np.array(lags, dtype=np.int64),
        lag_max_ns=max(lags, default=None),
        records=tuple(Record(writer="w", seq=n, event=event) for n, event in enumerate(events, start=1)),
        open_certain=draw(st.none() | st.integers(0, 40)),
        holes=draw(st.none() | st.just(()) | st.just(("a hole",))),
    )


@settings(max_examples=12, deadline=None)
@given(st.lists(portions(), min_size=1, max_size=4), st.sampled_from(["", "x", ACCEPTED, "unavailable_503"]))
def test_a_run_may_be_measured_in_any_pieces(parts: list[Portion], of: str) -> None:
    for definition in MEASURES:
        states = [definition.step(definition.start(), part, of) for part in parts]
        left = definition.start()
        for state in states:
            left = definition.merge(left, state)
        right = definition.start()
        for state in reversed(states):
            right = definition.merge(state, right)
        whole = measure(definition, parts, of)
        assert definition.result(left) == definition.result(right) == whole, definition.name
        assert definition.result(definition.merge(definition.start(), states[0])) == definition.result(
            states[0]
        )


@settings(max_examples=25, deadline=None)
@given(portions())
def test_shares_are_shares_and_counts_do_not_exceed_their_samples(portion: Portion) -> None:
    for definition in MEASURES:
        measured = measure(definition, [portion])
        assert measured.samples >= 0
        assert (measured.value is None) == (measured.samples == 0), definition.name
        if definition.unit == "share" and measured.value is not None:
            assert 0 <= measured.value <= 1
        if measured.value is not None:
            assert measured.value >= 0


@given(
    st.floats(allow_nan=False),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from(["<", "<=", "==", "!=", ">=", ">"]),
)
def test_a_gate_is_judged_exactly_when_it_has_its_samples(
    value: float, limit: float, samples: int, needed: int, op: str
) -> None:
    status = gate_status(Measured(value, samples), op, limit, needed)
    assert (status == Status.UNJUDGED) == (samples < max(1, needed))


def test_an_unknown_comparison_is_unjudged() -> None:
    assert gate_status(Measured(1.0, 1), "~", 1, 1) == Status.UNJUDGED


def test_quantiles_are_values_that_were_measured() -> None:
    portion = Portion(
        latencies_ns={("configure", ACCEPTED): np.array([1_000_000_000, 2_000_000_000, 9_000_000_000])},
        attempts={("configure", ACCEPTED): 3},
    )
    assert measure(BY_NAME["create_p50"], [portion]).value == 2.0
    assert measure(BY_NAME["create_p95"], [portion]).value == 9.0


def test_other_operations_are_no_creates() -> None:
    portion = Portion(attempts={("ack", "ok"): 7, ("configure", "unavailable_503"): 1})
    assert measure(BY_NAME["creates"], [portion]) == Measured(1.0, 1)
    assert measure(BY_NAME["ratio_503"], [portion]) == Measured(1.0, 1)


def test_nothing_left_needs_somebody_who_looked() -> None:
    assert measure(BY_NAME["leftovers"], [of_records([])]).samples == 0
    looked = Record(writer="c", seq=1, event=WatcherState(at_ns=1, watcher=LEFTOVER_WATCH, seeing=True))
    assert measure(BY_NAME["leftovers"], [of_record(looked)]) == Measured(0.0, 1)


# --- files and live -------------------------------------------------------------------------------

SAME_LIVE = [
    definition.name
    for definition in MEASURES
    if definition.name
    not in {
        "open_windows",
        "open_windows_possible",
        "recovery_max",
        "record_holes",
    }
    and not re.match(r"(create|create_planned|refusal|frame_lag|arrival_lateness)_p\d", definition.name)
]


def test_what_is_judged_from_files_equals_what_the_live_path_counts(tmp_path: Path) -> None:
    receiver = LiveReceiver(tmp_path / "live")
    sender = LiveSender(tmp_path / "live")
    writer = HistoryWriter(tmp_path / "history", "engine", sender)
    attempts, frames = writer.samples(ATTEMPTS), writer.samples(FRAMES)
    arrivals = writer.samples(ARRIVALS)
    rng = Random(7)
    tallies = {name: Tally(BY_NAME[name]) for name in SAME_LIVE}
    for second in range(5):
        for outcome, count in ((ACCEPTED, 3), ("unavailable_503", 2 * second), ("read_timeout", 1)):
            for _ in range(count):
                at = second * 1_000_000_000 + rng.randrange(1_000_000_000)
                row = (
                    at,
                    at,
                    at + rng.randrange(2_000_000_000),
                    1,
                    attempts.text("configure"),
                    attempts.text(outcome),
                )
                attempts.add((*row, 0, 0, attempts.text(""), 0))
        attempts.add((1, 1, 2, 0, attempts.text("ack"), attempts.text("ok"), 200, 2, attempts.text(""), 0))
        arrivals.add((second, second + 5, 1, 1, arrivals.text(SENT)))
        arrivals.add((second, 0, 1, second, arrivals.text("max_open_windows")))
        for row_index in range(20):
            frames.add((second * 1_000_000_000, 1, 0, row_index, 10, 174_000, rng.randrange(5_000_000)))
        writer.event(
            FirstFrame(
                at_ns=second, window=second, job_id="1-1", since_accept_ns=rng.randrange(2_000_000_000)
            )
        )
        writer.event(WindowClosed(at_ns=second, window=second, job_id="1-1", outcome=Outcome.STREAM_BROKEN))
        writer.flush()
        while (message := receiver.receive(0.05)) is not None:
            live = of_second(message) if isinstance(message, Second) else of_record(message)
            for tally in tallies.values():
                tally.add(live)
    writer.close()
    sender.close()
    receiver.close()
    history = read_history(tmp_path / "history")
    read = history.samples["attempts"]
    came = history.samples["arrivals"]
    from_files = [
        of_samples(read, read.rows, history.samples["frames"].rows),
        of_arrivals(came, came.rows),
        of_records(history.events),
    ]
    for name, tally in tallies.items():
        assert tally.measured == measure(BY_NAME[name], from_files), name
    assert tallies["creates"].measured == Measured(40.0, 40)
    assert tallies["frames"].measured.samples == 100
