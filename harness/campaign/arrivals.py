"""Stages of arrivals made definite: stretches of time over which the rate is even, or changes evenly. Pure."""

from harness.campaign.model import Arrivals, ArrivalStage

Stretch = tuple[float, float, float, float]
"""Begin and end (seconds since the load's start), rate at the begin and at the end (per second)."""


def stretches(arrivals: Arrivals, duration_s: float) -> tuple[Stretch, ...]:
    """Return what the stages say until the load ends after `duration_s`; stretches without arrivals are left out."""
    found: list[Stretch] = []
    before = 0.0
    for number, stage in enumerate(arrivals.stages):
        later = arrivals.stages[number + 1 :]
        until_s = later[0].at if later else duration_s
        found += _change(stage, before)
        reached_s = stage.at + stage.over
        if stage.lasts is None:
            found.append((reached_s, until_s, stage.rate, stage.rate))
            before = stage.rate
        else:
            found.append((reached_s, stage.ends, stage.rate, stage.rate))
            found.append((stage.ends, until_s, before, before))
    return tuple(one for one in found if one[1] > one[0] and (one[2] or one[3]))


def _change(stage: ArrivalStage, before: float) -> list[Stretch]:
    """Return how a stage's rate is reached."""
    if not stage.steps:
        return [(stage.at, stage.at + stage.over, before, stage.rate)]
    each_s = stage.over / stage.steps
    levels = [before + (stage.rate - before) * step / stage.steps for step in range(1, stage.steps + 1)]
    return [
        (stage.at + number * each_s, stage.at + (number + 1) * each_s, level, level)
        for number, level in enumerate(levels)
    ]
