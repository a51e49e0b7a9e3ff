"""The bodies of Focus Server against examples written by hand."""

from typing import Any

import pytest

from harness.sandbox.pods import fibre
from harness.sandbox.pods.analyzer_arguments import Assignment
from harness.sandbox.pods.focus_server import answers
from harness.sandbox.pods.focus_server.requests import ConfigureBody, understand
from harness.sandbox.settings import Settings

BODY: dict[str, Any] = {
    "displayTimeAxisDuration": 150,
    "nfftSelection": 1024,
    "displayInfo": {"height": 600},
    "channels": {"min": 101, "max": 105},
    "frequencyRange": {"min": 0, "max": 6},
    "start_time": None,
    "end_time": None,
    "view_type": "0",
}


def answered(settings: Settings, **changes: Any) -> dict[str, Any]:
    wish = understand(ConfigureBody.model_validate(BODY | changes), settings)
    assignment = Assignment("4-2051", wish.view, wish.start_time, wish.end_time)
    return answers.configured(wish, assignment, "192.0.2.13", 12304, settings)


def test_the_field_s_answer_is_the_faithful_shape() -> None:
    assert answered(Settings.make("field", "production")) == {
        "status": "",
        "frequencies_list": [0.0, 1.951219512195122, 3.902439024390244],
        "lines_dt": 0.25,
        "channel_to_stream_index": {"101": 0, "102": 0, "103": 1, "104": 1, "105": 2},
        "stream_amount": 3,
        "job_id": "4-2051",
        "frequencies_amount": 3,
        "channel_amount": 5,
        "stream_port": 12304,
        "stream_url": "http://192.0.2.13",
        "view_type": 0,
    }


def test_the_seed_s_answer_says_configured_and_a_bare_address() -> None:
    answer = answered(Settings.make("seed", "production"))
    assert (answer["status"], answer["stream_url"]) == ("configured", "192.0.2.13")


def test_a_historic_answer_carries_both_layers_of_metadata_and_no_command_line() -> None:
    answer = answered(Settings.make("field", "production"), start_time=1765119503, end_time=1765126703)
    assert list(answer)[-1] == "metadata"
    assert answer["metadata"]["layer_type"] == "smart_recorder"
    assert answer["metadata"]["cmd"] is None
    assert answer["metadata"]["parent"]["num_samples_per_trace"] == 9791


def test_a_single_channel_answer_counts_one_channel_and_maps_all() -> None:
    answer = answered(Settings.make("field", "production"), view_type="1", channels={"min": 7, "max": 12})
    assert (answer["stream_amount"], answer["channel_amount"]) == (1, 1)
    assert answer["channel_to_stream_index"] == {str(channel): 0 for channel in range(7, 13)}


def test_the_older_build_answers_with_strings() -> None:
    answer = answered(Settings.make("field", "production", ["dialect_strings=true"]))
    assert (answer["stream_port"], answer["view_type"], answer["frequencies_list"]) == ("12304", "0", {})


@pytest.mark.parametrize("waiting", [False, True])
def test_live_metadata_is_200_shaped_whether_healthy_or_waiting(waiting: bool) -> None:
    settings = Settings.make("field", "production")
    body = answers.live_metadata(None if waiting else fibre.metadata(settings), settings)
    assert list(body) == [
        "dx",
        "prr",
        "fiber_start_meters",
        "fiber_length_meters",
        "sw_version",
        "number_of_channels",
        "fiber_description",
    ]
    assert (body["prr"] == 0) == waiting
    assert (body["sw_version"] == "waiting for fiber") == waiting
