"""The admission limit on the page: each violation's counter-example as a small timeline. Called by `page`; pure."""

from dataclasses import dataclass

from harness.judge.findings import AdmissionFinding, AdmissionViolation, Citation


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a counter-example: where it lies on the timeline, in per cent."""

    what: str
    from_ns: int
    to_ns: int
    left: float
    width: float
    evidence: tuple[str, ...]


MOST_BARS = 12
"""More lines than this are not drawn: thirty-one windows at once look alike."""


def bars(violation: AdmissionViolation) -> tuple[Bar, ...]:
    """Return the lines of a counter-example, drawn to one scale; at most `MOST_BARS` of them."""
    start = min(one.from_ns for one in violation.proof)
    span = max(1, max(one.to_ns for one in violation.proof) - start)
    return tuple(
        Bar(
            what=one.what,
            from_ns=one.from_ns,
            to_ns=one.to_ns,
            left=round(100 * (one.from_ns - start) / span, 2),
            evidence=one.evidence,
            width=round(max(0.4, 100 * (one.to_ns - one.from_ns) / span), 2),
        )
        for one in violation.proof[:MOST_BARS]
    )


def shown(found: AdmissionFinding) -> tuple[Citation, ...]:
    """Return the records that the drawn lines rest on."""
    wanted = {one for violation in found.violations for bar in bars(violation) for one in bar.evidence}
    return tuple(one for one in found.cited if one.identity in wanted)
