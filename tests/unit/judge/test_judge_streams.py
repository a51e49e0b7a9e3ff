"""What came over the streams: gaps against their pace, stalls, skipped rows, and whose gaps count."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_story import Story, ns

from harness.errors import Exit
from harness.history.events import Outcome, WindowAccepted, WindowClosed, WindowReady
from harness.history.reader import History, Samples
from harness.history.samples import ATTEMPTS, FRAMES
from harness.judge.findings import StreamsFinding
from harness.judge.record import RunRecord
from harness.judge.streams import streams

Frame = tuple[float, int, int, int, int]
"""When (s), window, stream, first row, rows."""


def told(frames: list[Frame], lines_dt_s: float = 0.1, **personas: int) -> StreamsFinding | None:
    """What is concluded of some frames; `personas` says which window is whose, the others are live viewers'."""
    story = Story().begin()
    whose = {window: name for name, window in personas.items()}
    for window in sorted({frame[1] for frame in frames}):
        accepted = WindowAccepted(
            at_ns=0,
            window=window,
            job_id=f"{window}-1",
            streams=3,
            latency_ns=1,
            lines_dt_s=lines_dt_s,
            persona=whose.get(window, "live_viewer"),
        )
        story.say(accepted, "engine")
    rows = [(ns(at), window, stream, first, count, 100, 0) for at, window, stream, first, count in frames]
    samples = {
        "attempts": Samples(ATTEMPTS, np.empty(0, ATTEMPTS.dtype), ()),
        "frames": Samples(FRAMES, np.array(rows, dtype=FRAMES.dtype), ()),
    }
    return streams(RunRecord(story.run(), History(story.history().events, samples)))


def even(window: int, stream: int = 0, frames: int = 50, from_s: float = 1.0) -> list[Frame]:
    return [(from_s + n / 10, window, stream, n, 1) for n in range(frames)]


def test_even_streams_have_their_pace_as_their_gap_and_nothing_else() -> None:
    found = told([*even(1), *even(1, 1), *even(2)])
    assert found is not None
    fleet = found.fleet
    assert (fleet.streams, fleet.frames, fleet.rows, fleet.bytes) == (3, 150, 150, 15_000)
    assert (fleet.lost_rows, fleet.stalls, fleet.stalled_s) == (0, 0, 0.0)
    assert fleet.gap_p50_s == fleet.gap_max_s == 0.1
    assert abs(fleet.late_p99_s or 0) < 1e-6
    assert not found.worst


def test_a_stall_is_a_gap_of_a_second_and_of_five_times_the_pace() -> None:
    slow = [(1.0 + 2 * n, 3, 0, n, 1) for n in range(5)]
    found = told(
        [*even(1, frames=10), *[(at + 3, *rest) for at, *rest in even(1, frames=10, from_s=2.0)]][:20]
    )  # type: ignore[misc]
    assert found is not None
    assert (found.fleet.stalls, round(found.fleet.stalled_s, 3)) == (1, 3.1)
    assert found.fleet.late_p99_s == found.fleet.gap_max_s - 0.1  # type: ignore[operator]
    assert [(one.window, one.stream, one.stalls) for one in found.worst] == [(1, 0, 1)]
    paced = told(slow, lines_dt_s=2.0)
    assert paced is not None
    assert paced.fleet.stalls == 0, "two seconds are its pace"
    recorded = told(slow, lines_dt_s=0.0)
    assert recorded is not None
    assert (recorded.fleet.stalls, recorded.fleet.late_p99_s) == (0, None), "a recording has none"


def test_skipped_rows_are_counted_and_rows_that_came_in_one_frame_are_not_late() -> None:
    frames = [(1.0, 1, 0, 0, 1), (1.1, 1, 0, 1, 1), (1.6, 1, 0, 5, 2), (1.9, 1, 0, 7, 3)]
    found = told(frames)
    assert found is not None
    assert (found.fleet.lost_rows, found.fleet.stalls) == (3, 0)


def test_who_reads_at_its_own_pace_says_nothing_of_the_streams() -> None:
    frames = [*even(1), *[(1.0 + 5 * n, 2, 0, n, 1) for n in range(5)], *even(3)]
    found = told(frames, slow_reader=2, churner=3)
    assert found is not None
    assert (found.fleet.streams, found.fleet.stalls) == (2, 0)
    assert [(one.persona, one.frames) for one in found.personas] == [("churner", 50), ("live_viewer", 50)]
    assert told(frames[50:55], slow_reader=2) is None


def carried(*, broken: int = 0, slower: float = 1.0, gap_s: float = 0.0, windows: int = 20) -> Story:
    """Windows on both transports, ten seconds each; those on the lean one fare otherwise as told."""
    story = Story(max_windows=500).begin()
    for window in range(1, 2 * windows + 1):
        lean = window > windows
        job, frames = f"{window}-1", int(100 / slower) if lean else 100
        outcome = Outcome.STREAM_BROKEN if lean and window - windows <= broken else Outcome.STREAMING
        story.say(
            WindowAccepted(at_ns=ns(1), window=window, job_id=job, streams=1, latency_ns=1, lines_dt_s=0.1)
        )
        ready = WindowReady(
            at_ns=ns(2),
            window=window,
            job_id=job,
            since_accept_ns=1,
            transport="lean" if lean else "reference",
        )
        story.say(ready)
        story.say(WindowClosed(at_ns=ns(12), window=window, job_id=job, outcome=outcome, frames=frames))
        for number in range(frames):
            late_s = gap_s if lean and number == frames - 1 else 0.0
            story.frames.append((ns(2 + number / 10 + late_s), window, 100, 0))
    story.end(14)
    return story


@pytest.mark.parametrize(
    ("how", "value"),
    [({}, 0.0), ({"broken": 6}, 0.3), ({"slower": 2.0}, 0.5), ({"windows": 19, "broken": 19}, None)],
)
def test_transports_that_differ_make_a_run_unjudged(how: dict[str, Any], value: float | None) -> None:
    found = carried(**how).judged()
    assert found.streams is not None
    assert {one.transport for one in found.streams.transports} == {"reference", "lean"}
    assert found.validity is not None
    (check,) = [one for one in found.validity.checks if one.name == "transports_differ"]
    assert check.value == pytest.approx(value) if value is not None else check.value is None
    assert (check.status.value == "unjudged") is (value is not None and value > 0.25)
    if value is not None and value > 0.25:
        assert found.verdict.exit_code is Exit.UNJUDGED


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 400), st.integers(1, 3)),
        min_size=1,
        max_size=60,
    )
)
def test_the_fleet_is_the_sum_of_its_streams_in_whatever_order_they_were_written(
    steps: list[tuple[int, int, int, int]],
) -> None:
    """Against the plainest way to count: stream by stream."""
    at_s: dict[tuple[int, int], float] = {}
    row: dict[tuple[int, int], int] = {}
    frames: list[Frame] = []
    stalls, lost = 0, 0
    for window, stream, gap, rows in steps:
        key = window, stream
        first = row.get(key, 0) + (gap % 3 if key in row else 0)
        lost += gap % 3 if key in row else 0
        now_s = at_s.get(key, 0.0) + gap / 100 + 0.01
        stalls += key in at_s and round(now_s - at_s[key], 6) >= max(1.0, 5 * 0.1 * rows)
        at_s[key], row[key] = now_s, first + rows
        frames.append((round(now_s, 6), window, stream, first, rows))
    found = told(sorted(frames, key=lambda frame: -frame[0]))
    assert found is not None
    fleet = found.fleet
    assert (fleet.streams, fleet.frames, fleet.lost_rows, fleet.stalls) == (
        len(at_s),
        len(frames),
        lost,
        stalls,
    )
