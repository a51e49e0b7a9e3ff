"""Derived display values against the numbers observed in the field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sandbox.pods.analyzer_arguments import Assignment, parse
from harness.sandbox.pods.derived import View, lines_dt_s, split, stream_amount


def view(nfft: int = 1024, fmax: float = 500, decimation: int = 1) -> View:
    return View(1, 50, nfft, 0, fmax, 0.5, 3, 2000.0, decimation)


@pytest.mark.parametrize(
    ("duration", "height", "expected"), [(300, 600, 0.5), (30, 768, 0.0390625), (10, 1000, 0.01)]
)
def test_row_time_is_duration_over_height(duration: int, height: int, expected: float) -> None:
    assert lines_dt_s(duration, height) == expected


@pytest.mark.parametrize(
    ("nfft", "fmax", "decimation", "bins"),
    [(1024, 500, 1, 256), (1024, 500, 4, 64), (512, 500, 4, 32), (256, 500, 4, 16), (256, 500, 1, 64)],
)
def test_bins_are_those_observed(nfft: int, fmax: float, decimation: int, bins: int) -> None:
    assert view(nfft, fmax, decimation).bins == bins


def test_frequency_axis_of_the_recorded_run() -> None:
    frequencies = view().frequencies
    assert frequencies[1] == 1.951219512195122
    assert round(frequencies[-1], 2) == 497.56


def test_row_width_of_the_recorded_run() -> None:
    assert view().width(0) == 4352
    assert view().spans == ((1, 17), (18, 34), (35, 50))


def test_eight_channels_split_three_three_two() -> None:
    assert [last - first + 1 for first, last in split(101, 108, 3)] == [3, 3, 2]


@given(st.integers(0, 3000), st.integers(1, 3000), st.integers(1, 8))
def test_split_covers_every_channel_once_and_nearly_equally(first: int, count: int, streams: int) -> None:
    spans = split(first, first + count - 1, streams)
    assert [c for a, b in spans for c in range(a, b + 1)] == list(range(first, first + count))
    sizes = [b - a + 1 for a, b in spans]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) - min(sizes) <= 1


def test_a_single_channel_view_has_one_stream() -> None:
    assert stream_amount(1, 6, 3) == 1
    assert stream_amount(0, 50, 3) == 3
    assert stream_amount(0, 2, 3) == 2


@given(
    st.integers(0, 2000),
    st.integers(1, 500),
    st.sampled_from([128, 1024, 2048]),
    st.floats(1, 1000),
    st.floats(0.001, 10),
    st.one_of(st.none(), st.tuples(st.integers(0, 2**31), st.integers(0, 2**31))),
)
def test_the_stream_program_understands_what_focus_server_wrote(first, count, nfft, fmax, dt, times) -> None:
    made = Assignment(
        "12-70788",
        View(first, first + count, nfft, 0, float(f"{fmax:g}"), dt, 1),
        times[0] if times else None,
        times[1] if times else None,
        recorded_rows=80,
    )
    assert parse(tuple(made.args()), made.env()) == made
    assert ("--time-start" in made.args()) == made.historic


def test_a_missing_flag_is_named() -> None:
    with pytest.raises(ValueError, match="--roi"):
        parse(("--sg-range", "0", "1"), {})
