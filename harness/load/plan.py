"""A load as a value: what is wanted open at which second, how windows look, what it may cost. Pure.

The conductor writes one from a campaign, `locustfile.py` makes one from a target file and the command line; both are played by
`harness.load.session`. JSON and back without loss.
"""

import random
from pathlib import Path

import msgspec

from harness.errors import InputError
from harness.focus.arrivals import Arrivals
from harness.focus.endpoint import Endpoint
from harness.focus.seam import Begin, Budget, Payload, Transport
from harness.load.feed import FeedPlan

PERSONAS = (
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
)
"""Kinds of users; `harness.load.users` plays them."""


ROUNDING = 1 + 1e-9


class Step(msgspec.Struct, frozen=True):
    """From `at_s` seconds after the clock's start on, `open_windows` windows are wanted open."""

    at_s: float
    open_windows: int
    own_users: int = 0
    """How many users of the locustfile are wanted, unless a shape of it decides."""


class OwnPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A locustfile of somebody's own, played beside ours."""

    file: str
    users: tuple[str, ...] = ()
    """Which of its user classes; empty: all that are defined in it."""
    shape: str = ""
    """Which of its shapes decides how many of its users there are; empty: the stages' `own_users`."""
    tags: tuple[str, ...] = ()
    exclude_tags: tuple[str, ...] = ()


class OwnSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What `python -m harness.load --look` says of a locustfile: what is in it, or what is wrong (file, line, words)."""

    users: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    problems: tuple[tuple[str, int, str], ...] = ()


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a load process needs to know (`schema` 1)."""

    schema: int = 1
    endpoint: Endpoint
    budget: Budget = Budget()
    payload: Payload = Payload()
    max_windows: int | None = None
    """The server's own limit where it is known; the load does not heed it, it is what is being tested."""
    stages: tuple[Step, ...] = ()
    """Empty: Locust's own user count decides."""
    arrivals: Arrivals | None = None
    """Windows that are asked for at planned instants, whatever became of those before; beside the users of `stages`."""
    arrivals_gate: str = ""
    """A file that will hold the second of the run from which on the arrivals' instants count; empty: they count from 0.

    `<file>.ready` is made when nothing but this file is waited for; once `<file>.closed` is there no more are sent.
    """
    own: OwnPlan | None = None
    """User classes of a locustfile, beside ours."""
    feed: FeedPlan | None = None
    """Rows for them."""
    end_s: float | None = None
    """When the load ends by itself, in seconds of the run; None: when it is told to."""
    creates_in_flight: int = 5
    hold_s: tuple[float, float] = (30.0, 60.0)
    """How long a live window streams: least and most, drawn evenly."""
    historic_hold_s: float = 120.0
    """When a historic window that does not end by itself is closed."""
    historic_back_s: float = 86_400.0
    """How far back recordings are looked for."""
    after_refusal_s: float = 1.0
    suspend_after: int = 20
    """Equal refusals in a row after which a scenario only probes."""
    suspend_s: float = 3.0
    """How often a suspended scenario probes, with one user."""
    storm: bool = False
    """Never suspend: go on asking, whatever the server says."""
    personas: dict[str, float] = msgspec.field(default_factory=lambda: {"live_viewer": 1.0})
    """How the users of `stages` share out, by weight: names of `PERSONAS`."""
    spawn_rate_per_s: float = 100.0
    seed: int = 0
    history: str = "history"
    clock_start_ns: int = 0
    live_socket: str | None = None
    load_writer: str = "load-1"
    engine_writer: str = "engine-1"
    window_base: int = 0
    """Added to the window numbers of this load, so that several loads of one run do not collide."""
    transport: Transport = "reference"
    reference_share: float = 0.2
    """With the lean transport: the share of windows that stay on the reference."""
    part: int = 0
    parts: int = 1
    """Several workers play one plan: this is what number `part` of them plays (see `harness.load.shares`)."""
    full_checks: float = 0.01
    """Share of the frames whose every row is looked at."""
    check_payload: bool = False
    """Check every sample row against the sandbox's formula; only a sandbox passes."""

    def __post_init__(self) -> None:
        problems = [text for wrong, text in self._checks() if wrong]
        if problems:
            raise InputError("this load cannot be played: " + "; ".join(problems))

    def _checks(self) -> tuple[tuple[bool, str], ...]:
        times = [step.at_s for step in self.stages]
        return (
            (self.schema != 1, f"schema {self.schema} is not 1"),
            (times != sorted(times), "stages are not in the order of their times"),
            (
                any(step.open_windows < 0 or step.own_users < 0 for step in self.stages),
                "a stage wants a negative number of windows or users",
            ),
            (
                self.arrivals is not None
                and self.arrivals.busiest / self.arrivals.parts > self.budget.max_rate_per_s * ROUNDING,
                f"arrivals come at up to {self.arrivals.busiest / self.arrivals.parts if self.arrivals else 0:g}/s, the budget's max_rate_per_s is {self.budget.max_rate_per_s:g}{self._each}",
            ),
            (not 0 <= self.reference_share <= 1, f"reference_share {self.reference_share} is no share"),
            (not 0 <= self.full_checks <= 1, f"full_checks {self.full_checks} is no share"),
            (self.creates_in_flight < 1, f"creates_in_flight {self.creates_in_flight} is below 1"),
            (not 0 <= self.hold_s[0] <= self.hold_s[1], f"hold {self.hold_s} is not least, most"),
            (self.after_refusal_s < 0, f"after_refusal {self.after_refusal_s} s is negative"),
            (self.suspend_after < 1, f"suspend_after {self.suspend_after} is below 1"),
            (not self.suspend_s > 0, f"suspend {self.suspend_s} s is not above 0"),
            (not self.spawn_rate_per_s > 0, f"spawn rate {self.spawn_rate_per_s} is not above 0"),
            (
                not set(self.personas) <= set(PERSONAS),
                f"personas {', '.join(sorted(set(self.personas) - set(PERSONAS)))} are not known",
            ),
            (
                not all(weight >= 0 for weight in self.personas.values())
                or not sum(self.personas.values()) > 0,
                "the personas' weights are no shares",
            ),
        )

    @property
    def _each(self) -> str:
        return f" for this one of {self.parts} workers" if self.parts > 1 else ""

    def begin(self) -> Begin:
        """Return the engine's first message."""
        return Begin(
            endpoint=self.endpoint,
            budget=self.budget,
            payload=self.payload,
            creates_in_flight=self.creates_in_flight,
            history=self.history,
            writer=self.engine_writer,
            clock_start_ns=self.clock_start_ns,
            live=self.live_socket,
            window_base=self.window_base,
            check_payload=self.check_payload,
            full_checks=self.full_checks,
            canary=True,
            transport=self.transport,
            reference_share=self.reference_share,
            part=self.part,
            parts=self.parts,
        )


def wanted_windows(plan: LoadPlan, t_s: float) -> int | None:
    """Return how many windows are wanted open `t_s` seconds into the run; None when the load is over."""
    step = _step(plan, t_s)
    return None if step is None else min(step.open_windows, plan.budget.max_open_windows)


def wanted_own(plan: LoadPlan, t_s: float) -> int | None:
    """Return how many users of the locustfile are wanted `t_s` seconds into the run; None when the load is over."""
    step = _step(plan, t_s)
    return None if step is None else step.own_users


def _step(plan: LoadPlan, t_s: float) -> Step | None:
    if plan.end_s is not None and t_s >= plan.end_s:
        return None
    step = Step(0.0, 0)
    for later in plan.stages:
        if later.at_s > t_s:
            break
        step = later
    return step


def pauses(plan: LoadPlan, scenario: str, user: int) -> random.Random:
    """Return the random numbers of one user: the same for the same seed, scenario and number."""
    return random.Random(f"{plan.seed}:{scenario}:{user * plan.parts + plan.part}")


def write_plan(plan: LoadPlan, file: Path) -> None:
    """Write a plan as JSON."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n")


def read_plan(file: Path) -> LoadPlan:
    """Read a plan; raise `InputError` for what is not one."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=LoadPlan)
    except OSError as error:
        raise InputError(f"cannot read the plan {file}: {error}") from error
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise InputError(f"{file} is not a load plan: {error}") from error
