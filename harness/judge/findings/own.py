"""What people's own users asked, and which rows of a feed they took."""

from harness.judge.findings.finding import Finding


class RequestRow(Finding, frozen=True, kw_only=True):
    """All requests of one type and name."""

    type: str
    name: str
    count: int
    failed: int
    p50_s: float
    """Of how long they took, failed or not."""
    p95_s: float
    p99_s: float
    max_s: float
    rate_per_s: float
    """Over the time from the first request of all to the end of the last."""
    errors: dict[str, int]
    """Failures by the exception's class and status."""


class FeedFinding(Finding, frozen=True, kw_only=True):
    """What became of the rows that were at hand."""

    file: str
    order: str
    """unique, round_robin or random."""
    rows: int
    """How many there are."""
    taken: int
    """How many times one was handed out."""
    different: int
    """How many of them were handed out at all."""
    users: dict[str, int]
    """How many each class of users took."""


class OwnFinding(Finding, frozen=True, kw_only=True):
    """People's own users: their requests, most numerous first, and their feed."""

    count: int
    failed: int
    requests: tuple[RequestRow, ...]
    feed: FeedFinding | None = None
