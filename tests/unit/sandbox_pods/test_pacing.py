"""Rows are due on absolute instants, and readers get them as the mode says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sandbox.pods.pacing import BACKLOG_S, HistoricCursor, LiveCursor


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_reader_in_time_gets_every_row_at_its_instant() -> None:
    clock = Clock()
    cursor = LiveCursor(100.0, 0.1, clock)
    for row in range(50):
        taken, due = cursor.take()
        assert taken == row
        assert due == pytest.approx(100.0 + row * 0.1)
        clock.now = due + 0.03


def test_a_late_reader_begins_with_the_next_row() -> None:
    clock = Clock()
    clock.now = 103.04
    assert LiveCursor(100.0, 0.1, clock).take()[0] == 31


def test_a_reader_behind_by_more_than_the_backlog_loses_rows() -> None:
    clock = Clock()
    cursor = LiveCursor(100.0, 0.1, clock)
    assert cursor.take()[0] == 0
    clock.now += BACKLOG_S * 0.8
    assert cursor.take()[0] == 1
    clock.now = 110.0
    assert cursor.take()[0] == 100


@given(st.lists(st.floats(0, 3), max_size=40), st.floats(0.01, 2))
def test_rows_never_repeat_and_never_come_early(pauses: list[float], dt: float) -> None:
    clock = Clock()
    cursor = LiveCursor(100.0, dt, clock)
    last = -1
    for pause in pauses:
        clock.now += pause
        row, due = cursor.take()
        assert row > last
        assert due == pytest.approx(100.0 + row * dt)
        last = row


def test_a_recording_of_eighty_rows_is_eight_messages() -> None:
    cursor = HistoricCursor(80, 10)
    messages = list(iter(cursor.take, None))
    assert len(messages) == 8
    assert [row for rows in messages for row in rows] == list(range(80))


def test_two_readers_of_one_cursor_split_a_recording() -> None:
    cursor = HistoricCursor(80, 10)
    shares: tuple[list[range], list[range]] = ([], [])
    for turn in range(8):
        rows = cursor.take()
        assert rows is not None
        shares[turn % 2].append(rows)
    assert (len(shares[0]), len(shares[1])) == (4, 4)
    assert cursor.take() is None
