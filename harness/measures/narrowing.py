"""What may narrow a measure: its `of`, and whether it can be looked at over part of a run. Read where a campaign's gates are checked."""

from harness.history.events import Outcome
from harness.history.samples import ACCEPTED

OUTCOMES: tuple[str, ...] = (ACCEPTED, *(str(outcome) for outcome in Outcome))

OF: dict[str, str] = {
    **dict.fromkeys(
        (
            "creates",
            "create_ratio",
            "create_p50",
            "create_p95",
            "create_p99",
            "create_planned_p50",
            "create_planned_p95",
            "create_planned_p99",
            "windows",
        ),
        "an outcome",
    ),
    **dict.fromkeys(
        (
            "faults_injected",
            "faults_verified",
            "faults_not_verified",
            "faults_not_held",
            "recovery_max",
            "baseline_after_max",
            "stream_survival",
            "dirty_error_ratio",
        ),
        "an experiment",
    ),
    **dict.fromkeys(("failures", "cause_ratio"), "a cause"),
    **dict.fromkeys(
        ("own_requests", "own_failed_ratio", "own_request_p50", "own_request_p95", "own_request_p99"),
        "a request's name",
    ),
    "arrivals": "a fate",
    "not_offered_ratio": "why",
    "admission_violations": "a kind of violation",
    "leftovers": "a kind of object, or its owner",
    "leaks": "a kind of thing",
    "watcher_blind": "a watcher",
    "capacity": "what is sought",
}
"""What `of` may name, by measure; every other measure takes none."""

NEEDS_OF = frozenset({"cause_ratio", "capacity"})
"""Measures that mean nothing without `of`."""

UNDIVIDED = frozenset(
    {
        "admission_violations",
        "validity_breaches",
        "record_holes",
        "recovery_max",
        "baseline_after_max",
        "stream_survival",
        "dirty_error_ratio",
        "reclaim_p50",
        "reclaim_p95",
        "sustainable_rate",
        "stream_gap_p99",
        "stream_stalls",
        "rows_lost",
        "capacity",
    }
)
"""Measures that are concluded for the whole run; they take no `during`."""
