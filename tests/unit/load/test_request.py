"""Requests: what no Focus Server could serve is refused before anything is sent; what is sent is what was asked for."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Exit
from harness.focus.request import ConfigureRequest, InvalidRequest

SEED_SAMPLE = {
    "displayTimeAxisDuration": 10,
    "nfftSelection": 1024,
    "channels": {"min": 0, "max": 50},
    "frequencyRange": {"min": 0, "max": 500},
    "start_time": None,
    "end_time": None,
    "view_type": 0,
}


def test_the_seeds_sample_is_understood_and_its_view_type_sent_as_a_string() -> None:
    request = ConfigureRequest.from_body(SEED_SAMPLE)
    assert request.live
    assert json.loads(request.body()) == {**SEED_SAMPLE, "view_type": "0"}


requests = st.builds(
    lambda low, more, times, height, frequency: ConfigureRequest(
        channel_min=low,
        channel_max=low + more,
        height=height,
        start_s=times and times[0],
        end_s=times and times[0] + times[1],
        frequency_min_hz=frequency and frequency[0],
        frequency_max_hz=frequency and frequency[0] + frequency[1],
    ),
    st.integers(0, 5000),
    st.integers(0, 5000),
    st.none() | st.tuples(st.integers(1, 2**31), st.integers(1, 10_000)),
    st.none() | st.integers(1, 2000),
    st.none() | st.tuples(st.integers(0, 500), st.integers(1, 500)),
)


@given(requests)
def test_a_request_survives_its_own_body(request: ConfigureRequest) -> None:
    assert ConfigureRequest.from_body(request.body()) == request


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"channel_min": -1}, "channels.min"),
        ({"channel_min": 60}, "channels.max"),
        ({"duration_s": 0}, "duration"),
        ({"nfft": -8}, "nfft"),
        ({"height": 0}, "height"),
        ({"frequency_min_hz": 500}, "frequencyRange"),
        ({"frequency_min_hz": None}, "frequencyRange"),
        ({"start_s": 5}, "start_time and end_time"),
        ({"start_s": 5, "end_s": 5}, "end_time"),
        ({"view_type": "7"}, "view_type"),
    ],
)
def test_an_impossible_window_is_refused_with_the_value_that_is_wrong(
    changes: dict[str, Any], word: str
) -> None:
    with pytest.raises(InvalidRequest, match=word) as caught:
        ConfigureRequest(**{"channel_min": 1, "channel_max": 50, **changes})
    assert caught.value.code is Exit.USAGE


@pytest.mark.parametrize("body", ["{}", "[]", "{", '{"channels": {"min": 1}}', '{"channels": 5}'])
def test_a_body_that_is_no_window_is_refused(body: str) -> None:
    with pytest.raises(InvalidRequest):
        ConfigureRequest.from_body(body)
