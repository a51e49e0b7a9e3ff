"""What a target was found to sustain."""

from harness.judge.findings.finding import Finding
from harness.judge.sequential import Decision


class CapacityLevel(Finding, frozen=True, kw_only=True):
    """One level that was tried, all its probes together."""

    level: float
    decision: Decision
    probes: int
    held: int
    """Of those, how many held the level; a rate's probes are not judged one by one."""
    windows: int
    """Creates that were sent and whose fate was known in time."""
    unsuccessful: int
    """Not answered 200, without a frame of their own, or broken."""
    slow: int
    """Later ready than the objective allows, or not at all."""
    stalled: int
    success_share: float | None
    success_low: float | None
    """95 % interval of the share (Wilson)."""
    success_high: float | None
    ready_p95_s: float | None
    """From sending the create to a ready stream."""
    achieved: float | None
    """Windows opened, at once or per second; None where it says nothing."""


class SlotCeiling(Finding, frozen=True, kw_only=True):
    """What no rate can exceed for long, whatever the objectives: slots by their mean life."""

    per_s: float
    slots: int
    life_s: float
    """Mean, from sending the create to the slot given back: ready + hold + reclaim."""
    lives: int
    """How many slots' lives were seen from end to end."""


class CapacitySearch(Finding, frozen=True, kw_only=True):
    """One search: the true value is at least `value` and, where it is known, below `above`."""

    sought: str
    """windows, creates or rate."""
    unit: str
    value: float
    """The highest level shown to be held; 0 when none was."""
    above: float | None
    """The lowest level above it shown not to be held; None when none was tried."""
    most: float
    """The highest level that was allowed."""
    converged: bool
    """Whether `value` and `above` are neighbours, or nothing above `value` was allowed."""
    levels: tuple[CapacityLevel, ...]
    """By level."""
    ceiling: SlotCeiling | None = None
    """Of a rate, where slots were seen; None for anything else."""

    @property
    def top(self) -> float:
        """The greatest value that was not ruled out."""
        return top_of(self.sought, self.above)


def top_of(sought: str, above: float | None) -> float:
    """Return the greatest value that is not ruled out where `above` was not held."""
    if above is None:
        return float("inf")
    return above if sought == "rate" else above - 1


class CapacityFinding(Finding, frozen=True, kw_only=True):
    """What was sought, by which objectives, and what was found."""

    success: float
    ready_within_s: float
    unstalled: float
    confidence: float
    precision: float
    hold_s: float
    searches: tuple[CapacitySearch, ...]
