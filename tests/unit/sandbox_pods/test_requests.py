"""What is understood and what is refused for its form, by mode."""

from typing import Any

import pytest
from pydantic import ValidationError

from harness.sandbox.pods.focus_server.requests import ConfigureBody, Refused, Wish, understand
from harness.sandbox.settings import Settings

SEED, FIELD = Settings.make("seed", "fast"), Settings.make("field", "fast")

SAMPLE: dict[str, Any] = {
    "displayTimeAxisDuration": 10,
    "nfftSelection": 1024,
    "channels": {"min": 0, "max": 50},
    "frequencyRange": {"min": 0, "max": 500},
    "start_time": None,
    "end_time": None,
    "view_type": 0,
}
REAL = SAMPLE | {
    "displayInfo": {"height": 600},
    "displayTimeAxisDuration": 300,
    "channels": {"min": 1, "max": 50},
}


def asked(settings: Settings, **changes: Any) -> Wish:
    body = {key: value for key, value in (REAL | changes).items() if value is not ...}
    return understand(ConfigureBody.model_validate(body), settings)


def status_of(settings: Settings, **changes: Any) -> int:
    with pytest.raises(Refused) as caught:
        asked(settings, **changes)
    return caught.value.status


def test_the_seed_mode_understands_the_seed_s_sample() -> None:
    wish = understand(ConfigureBody.model_validate(SAMPLE), SEED)
    assert not wish.historic
    assert (wish.view.first_channel, wish.view.last_channel, wish.view.streams) == (0, 50, 3)
    assert wish.view.lines_dt_s == 0.1


def test_the_field_refuses_the_seed_s_sample_for_want_of_a_height() -> None:
    with pytest.raises(Refused) as caught:
        understand(ConfigureBody.model_validate(SAMPLE), FIELD)
    assert caught.value.status == 422
    assert caught.value.body["detail"][0]["loc"] == ["body", "displayInfo"]


@pytest.mark.parametrize("settings", [SEED, FIELD], ids=["seed", "field"])
@pytest.mark.parametrize("view_type", ["0", 0, "1", 1])
def test_view_types_come_as_text_or_number(settings: Settings, view_type: object) -> None:
    assert asked(settings, view_type=view_type).view_type == int(str(view_type))


@pytest.mark.parametrize("view_type", ["multichannel", 7, True, None])
def test_other_view_types_are_not_parsed(view_type: object) -> None:
    with pytest.raises(ValidationError):
        asked(SEED, view_type=view_type)


def test_missing_channels_are_not_parsed() -> None:
    with pytest.raises(ValidationError):
        asked(FIELD, channels=...)


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": {"min": 5, "max": 4}},
        {"channels": {"min": -1, "max": 4}},
        {"displayInfo": {"height": 0}},
        {"nfftSelection": 0},
        {"displayTimeAxisDuration": -3},
        {"frequencyRange": {"min": 10, "max": 5}},
        {"start_time": 5},
        {"start_time": 5, "end_time": 5},
    ],
    ids=str,
)
def test_the_seed_mode_refuses_values_without_meaning(changes: dict[str, Any]) -> None:
    assert status_of(SEED, **changes) == 422


@pytest.mark.parametrize(
    "changes",
    [
        {"displayInfo": {"height": -100}},
        {"displayInfo": {"height": 0}},
        {"nfftSelection": 1000},
        {"channels": {"min": 1, "max": 2501}},
        {"frequencyRange": {"min": 0, "max": 5000}},
        {"start_time": 5},
    ],
    ids=str,
)
def test_the_field_accepts_nearly_everything(changes: dict[str, Any]) -> None:
    assert asked(FIELD, **changes).view.lines_dt_s > 0


@pytest.mark.parametrize("missing", ["frequencyRange", "displayTimeAxisDuration", "nfftSelection"])
def test_the_field_cannot_parse_omitted_options(missing: str) -> None:
    with pytest.raises(Refused) as caught:
        asked(FIELD, **{missing: None})
    assert (caught.value.status, caught.value.body) == (500, "Error parsing configuration")


@pytest.mark.parametrize("settings", [SEED, FIELD], ids=["seed", "field"])
def test_waterfall_is_effectively_unsupported(settings: Settings) -> None:
    assert status_of(settings, view_type="2") == 500


@pytest.mark.parametrize(
    "changes",
    [
        {"nfftSelection": 1000},
        {"nfftSelection": 4096},
        {"channels": {"min": 1, "max": 2501}},
        {"frequencyRange": {"min": 0, "max": 1001}},
    ],
    ids=str,
)
def test_strict_validation_applies_the_limits_once_decided(changes: dict[str, Any]) -> None:
    assert status_of(Settings.make("field", "fast", ["strict_validation=true"]), **changes) == 400


def test_one_time_of_two_is_live_in_the_field() -> None:
    assert not asked(FIELD, start_time=1765119503, end_time=None).historic
    assert asked(FIELD, start_time=1765119503, end_time=1765126703).historic
