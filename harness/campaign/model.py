"""The campaign file as a frozen value (`schema: 1`); docs/campaigns.md explains every key to people."""

import itertools
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue

from harness.campaign.conditions import StopCondition
from harness.documents import Document, Seconds
from harness.history.events import Phase

Bound = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A bound can be moved, not taken away."""


Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Persona = Literal[
    "live_viewer",
    "historic_analyst",
    "waterfall_watcher",
    "single_channel",
    "abandoner",
    "churner",
    "slow_reader",
    "zombie",
    "metadata_poller",
    "invalid_client",
]
"""Kinds of users (docs/load.md)."""


class Span(Document):
    """From `min` to `max`, both included."""

    min: Seconds
    max: Seconds

    @model_validator(mode="after")
    def _ordered(self) -> "Span":
        if self.max < self.min:
            raise ValueError(f"max ({self.max:g}s) is less than min ({self.min:g}s)")
        return self


class Stage(Document):
    """From `at` on this many windows are wanted open."""

    at: Seconds
    open_windows: int = Field(ge=0, le=10_000)
    own_users: int | None = Field(default=None, ge=0, le=100_000)
    """How many users of the locustfile are wanted; as many as before unless given."""


class ArrivalStage(Document):
    """From `at` on windows are asked for at `rate` (per second): at once (a step), evenly within `over` (a ramp), in `steps`, or only `for` a time."""

    at: Seconds
    rate: float = Field(ge=0, le=10_000, allow_inf_nan=False)
    over: Seconds = 0.0
    steps: int = Field(default=0, ge=0, le=1000)
    """With `over`: the rate goes there in so many equal steps, each held as long as the others (a staircase)."""
    lasts: Seconds | None = Field(default=None, alias="for")
    """After that the rate before it comes back (a spike)."""

    @model_validator(mode="after")
    def _whole(self) -> "ArrivalStage":
        if self.steps and not self.over:
            raise ValueError("steps need `over`: how long all of them take")
        if self.lasts is not None and self.lasts <= 0:
            raise ValueError("a stage `for` no time is none; leave it out")
        return self

    @property
    def ends(self) -> float:
        """When its own rate is reached and, with `for`, over again."""
        return self.at + self.over + (self.lasts or 0.0)


class Arrivals(Document):
    """Windows that are asked for at planned instants, whatever became of those before."""

    process: Literal["constant", "poisson"] = "poisson"
    stages: tuple[ArrivalStage, ...] = Field(min_length=1)
    late_after: Seconds = 0.01
    """An arrival that is sent later than this after its instant is late."""

    @field_validator("stages")
    @classmethod
    def _in_order(cls, stages: tuple[ArrivalStage, ...]) -> tuple[ArrivalStage, ...]:
        for earlier, later in itertools.pairwise(stages):
            if later.at < earlier.ends or later.at <= earlier.at:
                raise ValueError(
                    f"stages overlap: the one at {earlier.at:g}s goes on until {earlier.ends:g}s, the next begins at {later.at:g}s"
                )
        if not any(stage.rate for stage in stages):
            raise ValueError("no stage has a rate above 0: nothing would arrive")
        return stages


class Range(Document):
    """Lowest and highest value, both included."""

    min: int
    max: int


class Request(Document):
    """What every window asks for; `channels` is the range the windows' own ranges are cut from."""

    duration_s: int = Field(default=10, ge=1, alias="displayTimeAxisDuration")
    nfft: int = Field(default=1024, ge=1, alias="nfftSelection")
    height: int = Field(default=100, ge=1)
    channels: Range = Range(min=1, max=50)
    frequency: Range = Range(min=0, max=500)


class FileOrMore(Document):
    """A file, written as its name alone or as a mapping that says more about it."""

    file: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _spelled_out(cls, given: object) -> object:
        return {"file": given} if isinstance(given, str) else given

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(core)]}


class Locustfile(FileOrMore):
    """People's own users: a locustfile, which of its classes play, and what decides how many."""

    users: tuple[str, ...] = ()
    """Its user classes that play; all that are defined in it unless given."""
    shape: str = ""
    """Its LoadTestShape that decides how many there are; else the stages' `own_users`."""
    tags: tuple[str, ...] = ()
    exclude_tags: tuple[str, ...] = ()


class Feed(FileOrMore):
    """Rows for own users: a file with one JSON object per line, and in which order they are handed out."""

    order: Literal["unique", "round_robin", "random"] = "unique"


class Load(Document):
    """Who asks for windows, how many, how fast, and what they do when refused."""

    stages: tuple[Stage, ...] = ()
    """Users: how many windows are kept open."""
    arrivals: Arrivals | None = None
    """Beside them, or instead: windows at planned instants."""
    locustfile: Locustfile | None = None
    """Own users, beside ours."""
    feed: Feed | None = None
    """Rows for own users."""
    creates_in_flight: int = Field(default=4, ge=1, le=1000)
    hold: Span
    """How long a window is consumed before it is closed."""
    after_refusal: Seconds = 1.0
    suspend_after: int = Field(default=20, ge=1)
    """Equal refusals in a row after which the scenario only probes."""
    storm: bool = False
    """Keep asking whatever the answers are."""
    historic_share: float = Field(default=0.0, ge=0, le=1)
    """Short for `personas` of live viewers and historic analysts."""
    personas: dict[Persona, Weight] = Field(default_factory=dict)
    """Kinds of users by weight; the users of `stages` share out accordingly."""
    transport: Literal["reference", "lean"] = "reference"
    """What carries the streams."""
    full_checks: float = Field(default=0.01, ge=0, le=1)
    """Share of the frames whose every row is looked at."""
    reference_share: float = Field(default=0.2, ge=0, le=1)
    """With `lean`: the share of windows that stay on the reference, so that both can be compared."""
    request: Request = Request()

    @field_validator("stages")
    @classmethod
    def _in_order(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        for earlier, later in itertools.pairwise(stages):
            if later.at <= earlier.at:
                raise ValueError(f"stages are not in order: {later.at:g}s comes after {earlier.at:g}s")
        return stages

    @model_validator(mode="after")
    def _somebody(self) -> "Load":
        own = self.locustfile
        if not self.stages and self.arrivals is None and (own is None or not own.shape):
            raise ValueError("nobody asks for windows: give `stages` (users), `arrivals`, or both")
        counted = any(stage.own_users is not None for stage in self.stages)
        if counted and own is None:
            raise ValueError("own_users are users of a locustfile, and there is none: give `locustfile`")
        if counted and own is not None and own.shape:
            raise ValueError(
                "the locustfile's shape decides how many of its users play: leave `own_users` out"
            )
        if own is not None and not own.shape and not counted:
            raise ValueError(
                "nobody says how many users of the locustfile play: give `own_users` in a stage, or its `shape`"
            )
        if self.feed is not None and own is None:
            raise ValueError("a feed is for users of a locustfile, and there is none: give `locustfile`")
        if self.personas and self.historic_share:
            raise ValueError("historic_share is short for personas: give one of them")
        if self.personas and not any(self.personas.values()):
            raise ValueError("personas: no weight is above 0: nobody would ask")
        if self.personas and not self.stages:
            raise ValueError("personas are users, and there are none: give `stages`")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Kinds of users by weight, `historic_share` spelled out."""
        if self.personas:
            return {str(name): weight for name, weight in self.personas.items()}
        return {"live_viewer": 1 - self.historic_share, "historic_analyst": self.historic_share}


class Step(Document):
    """One experiment on the timeline: when its fault goes in, and how long it stays."""

    experiment: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    at: Seconds
    hold: Seconds = Field(gt=0)
    refuses: bool = False
    """Whether this fault must cause at least one refusal; adds a gate that says so."""
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict, alias="with")
    """Fills the experiment's `configuration`."""


class Gate(Document):
    """`measure` over the phases or the fault in `during` must be `op` `limit`; too few samples is `unjudged`."""

    name: str | None = None
    measure: str
    of: str = ""
    """Narrows the measure, for example to one outcome."""
    during: tuple[str, ...] = ()
    """Phases, or `fault:<experiment>`; empty means every phase but warm-up and drain."""
    op: Literal["<", "<=", "==", "!=", ">=", ">"]
    limit: float
    min_samples: int = Field(default=1, ge=0)

    @field_validator("during", mode="before")
    @classmethod
    def _one_or_many(cls, during: object) -> object:
        return (during,) if isinstance(during, str) else during

    @field_validator("during")
    @classmethod
    def _known(cls, during: tuple[str, ...]) -> tuple[str, ...]:
        phases = {phase.value for phase in Phase}
        for name in during:
            if name not in phases and not name.startswith("fault:"):
                raise ValueError(
                    f"{name!r} is neither a phase ({', '.join(sorted(phases))}) nor fault:<experiment>"
                )
        return during

    @property
    def title(self) -> str:
        """The gate's name, or one made from what it says."""
        where = f" during {', '.join(self.during)}" if self.during else ""
        what = f"{self.measure} of {self.of}" if self.of else self.measure
        return self.name or f"{what} {self.op} {self.limit:g}{where}"


class Leaks(Document):
    """What is done about things that windows and faults leave behind."""

    later_s: Seconds = Field(default=180.0, ge=0, alias="later")
    """If something of ours is left when `drain` is over, how long it is waited for more before it is a leak."""
    gate: bool = True
    """Whether a leak of ours fails the run. A campaign that leaks on purpose says false; leaks are reported all the same."""


class Campaign(Document):
    """Load, a timeline of experiments, gates and stop conditions. It names no host, but what `stop_when` asks."""

    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str = ""
    seed: int = Field(default=0, ge=0, lt=2**63)
    variables: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Defaults of `${NAME}`; `--set NAME=value` overrides them."""
    warm_up: Seconds = 0.0
    recover: Seconds = 15.0
    """How long after each undo recovery is watched, at most until the next step."""
    duration: Seconds = Field(gt=0)
    drain: Seconds = 30.0
    """How long, after the load has stopped, windows may take to disappear from the cluster."""
    load: Load
    timeline: tuple[Step, ...] = ()
    gates: tuple[Gate, ...] = ()
    stop_when: tuple[StopCondition, ...] = ()
    leaks: Leaks = Leaks()
    validity: dict[str, Bound] = Field(default_factory=dict)
    """Bounds outside of which the run is unjudged, by the check's name (docs/validity.md); looser ones are said in the report."""

    @field_validator("stop_when")
    @classmethod
    def _told_apart(cls, conditions: tuple[StopCondition, ...]) -> tuple[StopCondition, ...]:
        names = [condition.name for condition in conditions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two conditions are called {twice[0]!r}; events and reasons tell them by name")
        return conditions

    @model_validator(mode="after")
    def _fits(self) -> "Campaign":
        problems = [
            f"timeline: {step.experiment} is held until {step.at + step.hold:g}s, the campaign ends at "
            f"{self.duration:g}s; make `duration` longer"
            for step in self.timeline
            if step.at + step.hold >= self.duration
        ]
        names = {f"fault:{step.experiment}" for step in self.timeline}
        for gate in self.gates:
            problems.extend(
                f"gate {gate.title!r}: {where} is not on the timeline"
                for where in gate.during
                if where.startswith("fault:") and where not in names
            )
        arrivals = self.load.arrivals
        if arrivals is not None and (ends := max(stage.ends for stage in arrivals.stages)) > self.duration:
            problems.append(
                f"load.arrivals goes on until {ends:g}s, the campaign ends at {self.duration:g}s; make `duration` longer"
            )
        if self.warm_up >= self.duration:
            problems.append(
                f"warm_up ({self.warm_up:g}s) leaves nothing of the duration ({self.duration:g}s)"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self
