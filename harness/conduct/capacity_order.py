"""What `harness capacity` was asked for, and the campaign that it is: load without a timeline, gates that are the requirements."""

import re
from dataclasses import dataclass

from pydantic import ValidationError

from harness.campaign import Campaign, Gate
from harness.campaign.capacity import SOUGHT, Objectives, Sought
from harness.errors import InputError
from harness.measures.gate import Status, bounds_status

REQUIREMENT = re.compile(r"\s*(\w+)\s*(<=|>=|==|!=|<|>)\s*([0-9.]+)\s*")


@dataclass(frozen=True, slots=True)
class CapacityOrder:
    """What is sought, by which objectives, and how probes are played."""

    sought: tuple[Sought, ...]
    objectives: Objectives
    requirements: tuple[Gate, ...] = ()
    to_the_edge: frozenset[str] = frozenset()
    """What is sought until its edge is found; else a search ends once what is required of it is decided."""
    budget_s: float = 600.0
    hold_s: float = 5.0
    """How long windows are held in a search for a rate."""
    settle_s: float = 2.0
    """How long all windows of a level have to stream together."""
    reclaim_s: float = 200.0
    """How long windows that were closed are taken for open where the cluster cannot be seen."""
    seed: int = 0

    @property
    def campaign(self) -> Campaign:
        """The search as a campaign: what a load of it looks like, how long it takes, and its gates."""
        return Campaign.model_validate(
            {
                "schema": 1,
                "name": "capacity",
                "description": f"What the target sustains: {', '.join(self.sought)}.",
                "seed": self.seed,
                "duration": f"{self.budget_s}s",
                "load": {
                    "arrivals": {"process": "constant", "stages": [{"at": "0s", "rate": 1}]},
                    "hold": {"min": f"{self.hold_s}s", "max": f"{self.hold_s}s"},
                },
                "gates": [gate.model_dump() for gate in self.requirements],
            }
        )

    def start(self, sought: Sought) -> float | None:
        """Return the level that a requirement names, if one does: the search starts there."""
        return next((gate.limit for gate in self.requirements if gate.of == sought), None)

    def is_decided(self, sought: Sought, low: float, top: float) -> bool:
        """Say whether a search may end where the true value is known to lie between `low` and `top`."""
        gates = [gate for gate in self.requirements if gate.of == sought]
        decided = (bounds_status(low, top, gate.op, gate.limit) is not Status.UNJUDGED for gate in gates)
        return bool(gates) and sought not in self.to_the_edge and all(decided)


def requirement(text: str) -> Gate:
    """Return what `windows >= 30` requires; raise InputError for what is none."""
    match = REQUIREMENT.fullmatch(text)
    if match is None or match[1] not in SOUGHT:
        raise InputError(
            f"--require {text!r}: write what is sought ({', '.join(SOUGHT)}), a comparison and a number, such as 'windows >= 30'"
        )
    sought, op, number = match.groups()
    try:
        limit = float(number)
    except ValueError as error:
        raise InputError(f"--require {text!r}: {number} is no number") from error
    return Gate(name=f"{sought} {op} {limit:g}", measure="capacity", of=sought, op=op, limit=limit)  # type: ignore[arg-type]


def capacity_order(
    sought: tuple[Sought, ...],
    requirements: tuple[str, ...],
    budget: float,
    success: float,
    ready_within: float,
    unstalled: float,
    confidence: float,
    precision: float,
    hold: float,
    reclaim: float,
) -> CapacityOrder:
    """Return an order from what stands on the command line; raise InputError for what makes no sense, all at once."""
    required = tuple(requirement(text) for text in requirements)
    wanted: set[str] = set(sought) or {gate.of for gate in required} or set(SOUGHT)
    problems = [f"--require {gate.title!r} is not among --find" for gate in required if gate.of not in wanted]
    for name, value, least in (("budget", budget, 10.0), ("hold", hold, 0.5)):
        if value < least:
            problems.append(f"--{name} {value:g}s is less than {least:g}s")
    try:
        objectives = Objectives(
            success=success,
            ready_within_s=ready_within,
            unstalled=unstalled,
            confidence=confidence,
            precision=precision,
        )
    except ValidationError as error:
        problems += [
            f"--{str(one['loc'][0]).removesuffix('_s').replace('_', '-')}: {one['msg'].lower()}"
            for one in error.errors()
        ]
    if problems:
        raise InputError("; ".join(problems))
    ordered = tuple(one for one in SOUGHT if one in wanted)
    return CapacityOrder(
        ordered, objectives, required, frozenset(sought), budget_s=budget, hold_s=hold, reclaim_s=reclaim
    )
