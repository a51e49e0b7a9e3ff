"""The checkable function of job, stream and row, written out a second time."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sandbox.pods.payload import Samples, global_maximum, matches, parse_job_id


def written_out(slot: int, counter: int, stream: int, row: int, width: int) -> list[float]:
    values = [0.25 * ((17 * i + 257 * stream + 31 * counter + 7 * slot) % 1021) for i in range(width)]
    head = [
        row % 256,
        row // 256 % 256,
        row // 65536 % 256,
        slot % 256,
        counter % 256,
        counter // 256 % 256,
        stream,
    ]
    head.append(global_maximum(row))
    return (head + values[8:])[:width]


@given(
    st.integers(1, 300), st.integers(0, 10**6), st.integers(0, 7), st.integers(0, 10**7), st.integers(1, 5000)
)
def test_rows_are_the_documented_formula(slot, counter, stream, row, width) -> None:
    data = Samples(slot, counter, stream, width).row(row)
    assert list(struct.unpack(f"<{width}f", data)) == written_out(slot, counter, stream, row, width)
    assert matches(f"{slot}-{counter}", stream, row, data)


@given(st.integers(1, 30), st.integers(0, 10**5), st.integers(0, 2), st.integers(0, 10**5))
def test_another_job_stream_or_row_does_not_match(slot, counter, stream, row) -> None:
    data = Samples(slot, counter, stream, 100).row(row)
    assert not matches(f"{slot}-{counter + 1}", stream, row, data)
    assert not matches(f"{slot + 1}-{counter}", stream, row, data)
    assert not matches(f"{slot}-{counter}", stream + 1, row, data)
    assert not matches(f"{slot}-{counter}", stream, row + 1, data)


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_the_running_maximum_never_decreases_and_is_the_largest_sample(a, b) -> None:
    first, later = sorted((a, b))
    assert global_maximum(first) <= global_maximum(later)
    assert max(struct.unpack("<1100f", Samples(3, 9, 1, 1100).row(a))) == global_maximum(a)


def test_a_job_id_is_slot_and_counter() -> None:
    assert parse_job_id("12-70788") == (12, 70788)
    with pytest.raises(ValueError, match="slot"):
        parse_job_id("12")
