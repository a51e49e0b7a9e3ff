"""What clients send to Focus Server, and when it is refused for its form.

Used by the application's routes. The models are written here independently of the harness' client. Two strictnesses,
both settings: `basic_validation` refuses values without meaning (422), `strict_validation` applies the limits that
were once decided and never built (400). It looks at nothing but the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator

from harness.sandbox.pods.derived import View, lines_dt_s, stream_amount
from harness.sandbox.settings import Settings

MAX_STRICT_NFFT = 2048
MAX_STRICT_CHANNELS = 2500
WATERFALL = 2


class Refused(Exception):
    """A request that is answered with an error of its own: a status and a body."""

    def __init__(self, status: int, body: Any) -> None:
        self.status = status
        self.body = body
        super().__init__(f"{status} {body}")


class DisplayInfo(BaseModel):
    """The display's size in pixels."""

    height: int


class Channels(BaseModel):
    """Channels of a view, both ends included."""

    min: int
    max: int


class FrequencyRange(BaseModel):
    """Frequencies of a view in Hz."""

    min: float
    max: float


def _view_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


ViewType = Annotated[Literal["0", "1", "2"], BeforeValidator(_view_text)]


class ConfigureBody(BaseModel):
    """`POST /configure`: times in epoch seconds, both null for live."""

    channels: Channels
    view_type: ViewType
    displayInfo: DisplayInfo | None = None  # noqa: N815 - the wire's name
    displayTimeAxisDuration: int | None = None  # noqa: N815
    nfftSelection: int | None = None  # noqa: N815
    frequencyRange: FrequencyRange | None = None  # noqa: N815
    start_time: int | None = None
    end_time: int | None = None


class TimeRange(BaseModel):
    """`POST /recordings_in_time_range`: epoch seconds."""

    start_time: int
    end_time: int


@dataclass(frozen=True)
class Wish:
    """A configure request that has been understood; times in epoch seconds, None when live."""

    view: View
    view_type: int
    start_time: int | None
    end_time: int | None
    payload: dict[str, Any]

    @property
    def historic(self) -> bool:
        """Return whether recordings are asked for."""
        return self.start_time is not None


def understand(body: ConfigureBody, settings: Settings) -> Wish:
    """Return what a body asks for; raise Refused with the error shapes of the mode."""
    _check_presence(body, settings)
    if settings.basic_validation:
        _check_meaning(body)
    if settings.strict_validation:
        _check_limits(body, settings)
    height = body.displayInfo.height if body.displayInfo else settings.default_height
    duration_s = settings.default_duration_s
    if body.displayTimeAxisDuration is not None:
        duration_s = body.displayTimeAxisDuration
    nfft = settings.default_nfft if body.nfftSelection is None else body.nfftSelection
    frequencies = body.frequencyRange or FrequencyRange(min=0, max=settings.prr / 4)
    if body.channels.max < body.channels.min:
        raise Refused(500, "Internal Server Error")
    view_type = int(body.view_type)
    # The field accepts heights of 0 and below; rows then come at the default height's rate.
    view = View(
        first_channel=body.channels.min,
        last_channel=body.channels.max,
        nfft=max(1, nfft),
        frequency_min=frequencies.min,
        frequency_max=frequencies.max,
        lines_dt_s=lines_dt_s(max(1, duration_s), height if height > 0 else settings.default_height),
        streams=stream_amount(view_type, body.channels.max - body.channels.min + 1, settings.stream_amount),
        prr=settings.prr,
        decimation=settings.decimation,
    )
    both = body.start_time is not None and body.end_time is not None
    return Wish(
        view=view,
        view_type=view_type,
        start_time=body.start_time if both else None,
        end_time=body.end_time if both else None,
        payload=body.model_dump(),
    )


def _check_presence(body: ConfigureBody, settings: Settings) -> None:
    if settings.require_height and body.displayInfo is None:
        raise Refused(422, {"detail": [_missing("displayInfo")]})
    if int(body.view_type) == WATERFALL and not settings.waterfall_supported:
        raise Refused(500, "Error parsing configuration")
    if settings.parse_errors_500:
        needed = (body.displayTimeAxisDuration, body.nfftSelection, body.frequencyRange)
        if any(value is None for value in needed):
            raise Refused(500, "Error parsing configuration")


def _check_meaning(body: ConfigureBody) -> None:
    problems = []

    def require(holds: bool, field: str, says: str) -> None:
        if not holds:
            problems.append(
                {"type": "value_error", "loc": ["body", *field.split(".")], "msg": f"Value error, {says}"}
            )

    require(body.channels.min >= 0, "channels.min", "channels begin at 0")
    require(body.channels.max >= body.channels.min, "channels.max", "max is below min")
    if body.displayInfo is not None:
        require(body.displayInfo.height > 0, "displayInfo.height", "height must be above 0")
    if body.displayTimeAxisDuration is not None:
        require(body.displayTimeAxisDuration > 0, "displayTimeAxisDuration", "duration must be above 0")
    if body.nfftSelection is not None:
        require(body.nfftSelection > 0, "nfftSelection", "nfft must be above 0")
    if body.frequencyRange is not None:
        require(body.frequencyRange.min >= 0, "frequencyRange.min", "frequencies begin at 0")
        require(body.frequencyRange.max >= body.frequencyRange.min, "frequencyRange.max", "max is below min")
    require((body.start_time is None) == (body.end_time is None), "end_time", "give both times or none")
    if body.start_time is not None and body.end_time is not None:
        require(body.end_time > body.start_time, "end_time", "end is not after start")
    if problems:
        raise Refused(422, {"detail": problems})


def _check_limits(body: ConfigureBody, settings: Settings) -> None:
    nfft = body.nfftSelection or settings.default_nfft
    count = body.channels.max - body.channels.min + 1
    if nfft > MAX_STRICT_NFFT or nfft & (nfft - 1):
        raise Refused(400, {"error": f"nfftSelection {nfft} is not a power of two up to {MAX_STRICT_NFFT}"})
    if count > MAX_STRICT_CHANNELS:
        raise Refused(400, {"error": f"{count} channels are more than {MAX_STRICT_CHANNELS}"})
    if body.frequencyRange is not None and body.frequencyRange.max > settings.prr / 2:
        raise Refused(400, {"error": f"frequencyRange.max is above {settings.prr / 2:g} Hz"})


def _missing(field: str) -> dict[str, Any]:
    return {"type": "missing", "loc": ["body", field], "msg": "Field required"}
