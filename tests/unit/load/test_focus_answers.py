"""Answers: liberal about what is accepted, exact about what was odd, never anything but a value or `BrokenAnswer`."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.focus.answers import (
    BrokenAnswer,
    ConfigureResponse,
    Span,
    parse_channels,
    parse_configure,
    parse_live_metadata,
    parse_recordings,
)

DECEMBER: dict[str, Any] = {
    "status": "",
    "frequencies_list": [0.0, 0.976, 1.952],
    "lines_dt": 0.25,
    "channel_to_stream_index": {"101": 0, "102": 0, "103": 1, "104": 1, "105": 2},
    "stream_amount": 3,
    "job_id": "4-2051",
    "frequencies_amount": 3,
    "channel_amount": 5,
    "stream_port": 12304,
    "stream_url": "http://192.0.2.13",
    "view_type": 0,
    "metadata": {"layer_type": "smart_recorder"},
}


def parsed(**changes: Any) -> ConfigureResponse:
    return parse_configure(json.dumps({**DECEMBER, **changes}).encode())


def test_the_december_answer_is_read_without_drift() -> None:
    answer = parsed()
    assert answer == ConfigureResponse(
        job_id="4-2051",
        host="192.0.2.13",
        port=12304,
        streams=3,
        lines_dt_s=0.25,
        channels_by_stream=((101, 102), (103, 104), (105,)),
        frequencies_hz=(0.0, 0.976, 1.952),
        frequencies_amount=3,
        channel_amount=5,
        view_type="0",
    )
    assert answer.address == "192.0.2.13:12304"
    assert answer.slot_and_counter == (4, 2051)


@pytest.mark.parametrize(
    ("changes", "drift"),
    [
        ({"stream_port": "12323"}, "stream_port_str"),
        ({"frequencies_list": {}, "frequencies_amount": 0}, "frequencies_list_object"),
        ({"frequencies_list": None, "frequencies_amount": 0}, "frequencies_list_missing"),
        ({"frequencies_amount": 7}, "frequencies_amount_differs"),
        ({"view_type": "0"}, "view_type_string"),
        ({"stream_url": "192.0.2.13"}, "stream_url_without_scheme"),
        ({"stream_url": "http://192.0.2.13:5000/"}, "stream_url_with_port"),
        ({"channel_to_stream_index": {}}, "channel_mapping_missing"),
        ({"channel_to_stream_index": {"1": 0, "2": 9}}, "channel_mapping_odd"),
        ({"channel_to_stream_index": {"1": 0, "2": 0}}, "channel_mapping_odd"),
        ({"lines_dt": None}, "lines_dt_missing"),
        ({"status": "configured"}, "status_set"),
        ({"stream_amount": 3.0}, "stream_amount_float"),
        ({"channel_amount": None}, "channel_amount_missing"),
    ],
)
def test_each_quirk_of_the_field_is_read_and_named(changes: dict[str, Any], drift: str) -> None:
    answer = parsed(**changes)
    assert answer.drift == (drift,)
    assert (answer.job_id, answer.host, answer.streams) == ("4-2051", "192.0.2.13", 3)


def test_missing_metadata_is_drift_and_its_content_is_never_kept() -> None:
    without = {key: value for key, value in DECEMBER.items() if key != "metadata"}
    assert parse_configure(json.dumps(without).encode()).drift == ("metadata_missing",)
    assert "secret" not in repr(parsed(metadata={"cmd": "amqp://user:secret@broker"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"job_id": ""},
        {"job_id": None},
        {"job_id": 7},
        {"stream_url": None},
        {"stream_url": ""},
        {"stream_port": 0},
        {"stream_port": "many"},
        {"stream_port": None},
        {"stream_port": True},
        {"stream_amount": 0},
        {"stream_amount": 10**9},
    ],
)
def test_an_answer_without_a_job_an_address_or_a_stream_is_broken(changes: dict[str, Any]) -> None:
    with pytest.raises(BrokenAnswer):
        parsed(**changes)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"<html>", b'"configured"'])
def test_what_is_no_object_is_broken(body: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        parse_configure(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(DECEMBER)), JSON, max_size=5))
def test_whatever_a_server_puts_into_a_field_is_a_value_or_a_broken_answer(changes: dict[str, Any]) -> None:
    try:
        answer = parsed(**changes)
    except BrokenAnswer:
        return
    assert 0 < answer.port < 65536
    assert answer.streams > 0
    assert answer.lines_dt_s >= 0
    assert len(answer.channels_by_stream) in (0, answer.streams)
    assert all(answer.channels_by_stream)


@given(st.binary(max_size=60))
def test_no_bytes_escape_the_parsers(body: bytes) -> None:
    for parse in (parse_configure, parse_channels, parse_live_metadata, parse_recordings):
        try:
            parse(body)
        except BrokenAnswer:
            pass


def test_recordings_are_read_bare_and_wrapped() -> None:
    spans = (Span(10.5, 50.6), Span(49.0, None))
    bare = parse_recordings(b"[[10.5, 50.6], [49, -1]]")
    wrapped = parse_recordings(b'{"recordings": [[10.5, 50.6], [49, -1]]}')
    assert bare.spans == wrapped.spans == spans
    assert (bare.drift, wrapped.drift) == ((), ("recordings_wrapped",))


@given(JSON)
def test_recordings_of_any_shape_are_spans_or_broken(raw: Any) -> None:
    try:
        found = parse_recordings(json.dumps(raw).encode())
    except BrokenAnswer:
        return
    assert all(isinstance(span, Span) for span in found.spans)


def test_the_waiting_state_is_known_by_prr_or_version() -> None:
    assert not parse_live_metadata(b'{"prr": 2000.0, "sw_version": "11.17"}').waiting_for_fiber
    assert parse_live_metadata(b'{"prr": 0.0, "sw_version": "11.17"}').waiting_for_fiber
    waiting = parse_live_metadata(
        b'{"prr": null, "sw_version": "waiting for fiber", "number_of_channels": 2447.75}'
    )
    assert waiting.waiting_for_fiber
    assert waiting.drift == ("number_of_channels_float",)


def test_channels_are_read() -> None:
    channels = parse_channels(b'{"lowest_channel": 1, "highest_channel": 2337}')
    assert (channels.lowest, channels.highest) == (1, 2337)
