"""Plan a campaign: every moment of it, the gates it will be judged by, and the longest it can take. Pure.

The conductor plays the plan; `harness run --dry-run` and `harness check --explain` print it.
"""

import hashlib
from dataclasses import dataclass

from harness.campaign.model import Campaign, Gate

UNDO_BOUND_S = 60.0
"""Replay of the undo journal gives up after this long and says what is left."""
FINISH_BOUND_S = 30.0
"""Stopping the load, reading the world once more, judging and drawing the report."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A step of the timeline with absolute times, in seconds since the load's start."""

    experiment: str
    inject_s: float
    undo_s: float
    recovered_s: float
    """Until here recovery is watched."""
    refuses: bool
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A campaign made definite."""

    campaign: Campaign
    moments: tuple[Moment, ...]
    gates: tuple[Gate, ...]
    duration_s: float
    longest_s: float
    digest: str


def plan(campaign: Campaign) -> Plan:
    """Make a campaign definite; equal campaigns give equal plans and digests."""
    starts = sorted(step.at for step in campaign.timeline)
    moments = []
    for step in sorted(campaign.timeline, key=lambda step: step.at):
        undo_s = step.at + step.hold
        until = min(
            [start for start in starts if start > step.at and start >= undo_s], default=campaign.duration
        )
        moments.append(
            Moment(
                step.experiment,
                step.at,
                undo_s,
                min(undo_s + campaign.recover, until, campaign.duration),
                step.refuses,
                tuple((key, str(value)) for key, value in sorted(step.settings.items())),
            )
        )
    longest_s = campaign.duration + campaign.drain + campaign.leaks.later_s + UNDO_BOUND_S + FINISH_BOUND_S
    digest = hashlib.sha256(campaign.model_dump_json(by_alias=True).encode()).hexdigest()[:16]
    return Plan(campaign, tuple(moments), _gates(campaign), campaign.duration, longest_s, digest)


def _gates(campaign: Campaign) -> tuple[Gate, ...]:
    """Add to the stated gates those that follow from the timeline."""
    implied = [
        Gate(
            name=f"{step.experiment} refused at least one window",
            measure="refusals",
            during=(f"fault:{step.experiment}",),
            op=">=",
            limit=1,
        )
        for step in campaign.timeline
        if step.refuses
    ]
    if campaign.timeline:
        implied.append(
            Gate(
                name="every fault was undone and verified",
                measure="faults_not_verified",
                op="==",
                limit=0,
                min_samples=1,
            )
        )
    return (*campaign.gates, *implied)
