"""Findings on whether a run proves anything. Made by `judge.validity`."""

from harness.judge.findings.finding import Finding
from harness.measures.gate import Status


class ValidityCheck(Finding, frozen=True, kw_only=True):
    """One thing without which a run proves nothing."""

    name: str
    status: Status
    """passed, unjudged (outside its bound), or passed without a value where the record has nothing of the kind."""
    value: float | None
    bound: float
    default: float
    """The bound as it comes; the campaign may set another, which is said."""
    unit: str
    sentence: str


class ValidityFinding(Finding, frozen=True, kw_only=True):
    """Whether the run may be judged at all."""

    valid: bool
    checks: tuple[ValidityCheck, ...]
