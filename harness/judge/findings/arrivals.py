"""What became of planned arrivals."""

from harness.judge.findings.finding import Finding


class ArrivalsFinding(Finding, frozen=True, kw_only=True):
    """Every planned arrival is in exactly one of `on_time`, `late`, `not_offered` and `unaccounted`."""

    planned: int
    process: str
    """constant or poisson."""
    late_after_s: float
    on_time: int
    late: int
    """Sent more than `late_after_s` after their instant."""
    not_offered: dict[str, int]
    """Not sent at all, by why: a limit of the budget, `in_flight`, or `ended` (the load ended before)."""
    unaccounted: int
    """Planned, and of which the record says nothing, or something twice."""
    lateness_p50_s: float | None
    lateness_p99_s: float | None
    lateness_max_s: float | None

    @property
    def withheld(self) -> int:
        """How many did not come as planned, those left out that the load ended before."""
        return self.late + sum(count for why, count in self.not_offered.items() if why != "ended")
