"""What the command line asked for, checked and made definite before anything is touched.

`prepare` reads campaign and target, finds the experiments, checks every name in them, and says all that is wrong at once.
Nothing is contacted here except the command a target file names for its variables.
"""

import difflib
from dataclasses import dataclass, field
from pathlib import Path

from harness import chaos
from harness.campaign import Campaign, Gate, MeasureCondition, Plan, plan, read_campaign
from harness.conduct.asking import tls_of
from harness.conduct.assignment import arrivals_of
from harness.conduct.capacity_order import CapacityOrder
from harness.conduct.experiments import find_experiments
from harness.conduct.own import problems_of_own
from harness.conduct.things import KINDS
from harness.documents import line_of
from harness.errors import FileProblems, InputError, Problem
from harness.judge.admission import VIOLATIONS
from harness.judge.blame import NAMES
from harness.judge.validity import NAMES as CHECK_NAMES
from harness.load.plan import ROUNDING
from harness.measures.catalogue import BY_NAME
from harness.measures.live import LIVE, NOT_LIVE, Feed
from harness.measures.narrowing import NEEDS_OF, OF, OUTCOMES, UNDIVIDED
from harness.target import Target, find_target, load_target


@dataclass(frozen=True, slots=True)
class Order:
    """One `harness run`: what to play, on what, with which changes, and where the record goes."""

    campaign: Path
    target: str | None = None
    overrides: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    out: Path | None = None
    reports: Path = Path("reports")
    metrics_port: int = 0
    wait_lock_s: float = 0.0
    """How long another run on the target is waited for."""
    guard_only: bool = False
    """Play without the reverter in the cluster."""
    sandbox: str = ""
    """Name of the sandbox that was started for this run alone, if one was."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An order that can be played."""

    order: Order
    target_file: Path
    target: Target
    plan: Plan
    experiments: dict[str, Path]
    capacity: CapacityOrder | None = None
    """A search for what the target sustains, in place of a timeline."""


def check_campaign(file: Path, overrides: dict[str, str] | None = None) -> tuple[Plan, dict[str, Path]]:
    """Read and check a campaign without a target; raise `FileProblems` with everything that is wrong."""
    campaign = read_campaign(file, overrides)
    experiments, problems = _experiments(file, campaign)
    problems += _measures(file, campaign)
    problems += _conditions(file, campaign)
    problems += problems_of_own(file, campaign)
    problems += [
        Problem(
            str(file),
            line_of(file, ("validity", name)),
            f"validity.{name}: there is no such check; {_near(name, list(CHECK_NAMES))}",
        )
        for name in campaign.validity
        if name not in CHECK_NAMES
    ]
    if problems:
        raise FileProblems(problems)
    return plan(campaign), experiments


def _experiments(file: Path, campaign: Campaign) -> tuple[dict[str, Path], list[Problem]]:
    found: dict[str, Path] = {}
    problems = []
    for index, step in enumerate(campaign.timeline):
        try:
            found |= find_experiments([step.experiment], file)
            chaos.check_settings(found[step.experiment], dict(step.settings))
        except InputError as error:
            problems.append(Problem(str(file), line_of(file, ("timeline", index)), str(error)))
    return found, problems


def _measures(file: Path, campaign: Campaign) -> list[Problem]:
    problems = []
    for index, gate in enumerate(campaign.gates):
        wrong = _wrong_measure(gate, [step.experiment for step in campaign.timeline])
        if wrong:
            key, text = wrong
            problems.append(
                Problem(str(file), line_of(file, ("gates", index, key)), f"gates.{index}.{key}: {text}")
            )
    return problems


def _conditions(file: Path, campaign: Campaign) -> list[Problem]:
    problems = []
    for index, condition in enumerate(campaign.stop_when):
        if not isinstance(condition, MeasureCondition):
            continue
        wrong = _wrong_measure(condition, [step.experiment for step in campaign.timeline])
        if wrong := wrong or _not_live(condition):
            key, text = wrong
            line = line_of(file, ("stop_when", index, key))
            problems.append(Problem(str(file), line, f"stop_when.{index}.{key}: {text}"))
    return problems


def _not_live(condition: MeasureCondition) -> tuple[str, str] | None:
    """Return the key of a condition that cannot be told while the run goes on, and why; None when all is well."""
    if why := NOT_LIVE.get(condition.measure):
        return (
            "measure",
            f"{condition.measure} cannot stop a run: {why}. Those that can: {', '.join(LIVE)}",
        )
    if LIVE[condition.measure] is Feed.RUN and condition.over is not None:
        return "over", f"{condition.measure} is counted over the whole run so far; leave `over` out"
    return None


def _wrong_measure(gate: Gate | MeasureCondition, experiments: list[str]) -> tuple[str, str] | None:
    """Return the key of a gate or condition that names nothing, and what to write instead; None when all is well."""
    if gate.measure not in BY_NAME:
        return "measure", f"{gate.measure!r} is not a measure; {_near(gate.measure, list(BY_NAME))}"
    if gate.measure in UNDIVIDED and isinstance(gate, Gate) and gate.during:
        return "during", f"{gate.measure} is concluded for the whole run; leave `during` out"
    if not gate.of:
        if gate.measure in NEEDS_OF:
            return "measure", f"{gate.measure} needs `of`: {OF[gate.measure]}"
        return None
    kind = OF.get(gate.measure)
    if kind is None:
        return "of", f"{gate.measure} takes no `of`; those that do: {', '.join(OF)}"
    known = {
        "an outcome": list(OUTCOMES),
        "an experiment": experiments,
        "a cause": list(NAMES),
        "a kind of violation": list(VIOLATIONS),
        "a kind of thing": list(KINDS),
    }.get(kind)
    if known is not None and gate.of not in known:
        return "of", f"{gate.of!r} is not {kind}; {_near(gate.of, known)}"
    return None


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known) or 'none'}"


def prepare(order: Order) -> Prepared:
    """Make an order definite; raise `InputError` or `TargetError` for what is wrong with it."""
    planned, experiments = check_campaign(order.campaign, order.overrides)
    target_file = find_target(order.target, beside=order.campaign.resolve().parent)
    target = load_target(target_file)
    _fits(planned, target)
    for condition in planned.campaign.stop_when:
        if not isinstance(condition, MeasureCondition):
            tls_of(condition)
    return Prepared(order, target_file.resolve(), target, planned, experiments)


def prepare_capacity(order: Order, capacity: CapacityOrder) -> Prepared:
    """Make a search for capacity definite: a run without a timeline, whose gates are what is required."""
    target_file = find_target(order.target)
    target = load_target(target_file)
    prepared = Prepared(order, target_file.resolve(), target, plan(capacity.campaign), {}, capacity)
    _fits(prepared.plan, target)
    return prepared


def _fits(planned: Plan, target: Target) -> None:
    if planned.moments and target.kubernetes == "none":
        raise InputError(
            f"target {target.name} has `kube: none`: faults need a cluster. Remove the timeline, or name the cluster in the target file"
        )
    if planned.duration_s > target.budget.max_duration_s:
        raise InputError(
            f"the campaign lasts {planned.duration_s:g} s, target {target.name} allows {target.budget.max_duration_s:g} s "
            "(budget.max_duration)"
        )
    arrivals = arrivals_of(planned, 0.0)
    if arrivals is not None and arrivals.busiest > target.budget.max_rate_per_s * ROUNDING:
        raise InputError(
            f"windows arrive at up to {arrivals.busiest:g}/s, target {target.name} allows {target.budget.max_rate_per_s:g}/s "
            "(budget.max_rate_per_s)"
        )
    most = max((stage.open_windows for stage in planned.campaign.load.stages), default=0)
    if most > target.budget.max_open_windows:
        raise InputError(
            f"the campaign wants {most} open windows, target {target.name} allows {target.budget.max_open_windows} "
            "(budget.max_open_windows)"
        )
    for moment in planned.moments:
        if moment.undo_s - moment.inject_s > target.limits.max_hold_s:
            raise InputError(
                f"{moment.experiment} is held for {moment.undo_s - moment.inject_s:g} s, target {target.name} allows "
                f"{target.limits.max_hold_s:g} s (limits.max_hold)"
            )
