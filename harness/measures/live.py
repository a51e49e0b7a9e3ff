"""Which measures can be told while a run goes on, and what feeds them: stop conditions may use these and no others.

Nothing is defined here. Values come from the definitions in `catalogue.py`, fed with what the live path carries; this says of
each measure what its silence means. Every measure stands either in `LIVE` or in `NOT_LIVE`, which a test checks.
"""

from enum import StrEnum
from typing import Final

from harness.measures.narrowing import UNDIVIDED


class Feed(StrEnum):
    """What a measure lives on."""

    ANSWERS = "answers"
    """Answers to creates: a load that is short of windows gets some."""
    FRAMES = "frames"
    """Frames: every open stream yields some."""
    WINDOWS = "windows"
    """What single windows tell of themselves: may be rare, and silence means nothing."""
    OWN = "own"
    """Requests of people's own users: silence means nothing, since nobody knows when they ask."""
    LOAD = "load"
    """The load's own word, once a second."""
    SLOTS = "slots"
    """The cluster's counts, told when they change: one stands until the next."""
    RUN = "run"
    """Rare events; counted over the whole run so far."""


LIVE: Final[dict[str, Feed]] = {
    **dict.fromkeys(
        (
            "creates",
            "accepted",
            "refusals",
            "ratio_503",
            "failed_creates",
            "failed_ratio",
            "accepted_ratio",
            "create_ratio",
            "unknown_creates",
            "first_frames",
            "arrivals",
            "not_offered_ratio",
        ),
        Feed.ANSWERS,
    ),
    **dict.fromkeys(("frames", "bytes", "frame_lag_max"), Feed.FRAMES),
    **dict.fromkeys(
        (
            "windows",
            "window_success",
            "streams_broken",
            "phantom_windows",
            "ready_p50",
            "ready_p95",
            "ready_p99",
            "first_frame_p50",
            "first_frame_p95",
            "first_frame_p99",
        ),
        Feed.WINDOWS,
    ),
    **dict.fromkeys(
        ("own_requests", "own_failed_ratio"),
        Feed.OWN,
    ),
    **dict.fromkeys(("streams_open", "generator_lag_max", "generator_cpu_max"), Feed.LOAD),
    **dict.fromkeys(("running_pods", "pending_pods", "slots_held"), Feed.SLOTS),
    **dict.fromkeys(("faults_not_held", "watcher_blind", "processes_died", "drift"), Feed.RUN),
}
"""The measures that can be told live, and what feeds each."""

NOT_LIVE: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            "create_p50",
            "create_p95",
            "create_p99",
            "create_planned_p50",
            "create_planned_p95",
            "create_planned_p99",
            "arrival_lateness_p99",
            "own_request_p50",
            "own_request_p95",
            "own_request_p99",
            "refusal_p95",
            "refusal_p99",
            "frame_lag_p50",
            "frame_lag_p99",
        ),
        "single latencies are not told while the run goes on",
    ),
    **dict.fromkeys(
        (
            "open_windows",
            "open_windows_possible",
            *sorted(UNDIVIDED),
            "failures",
            "cause_ratio",
            "unexplained_ratio",
            "unknown_ratio",
        ),
        "only judging the record can tell it",
    ),
    **dict.fromkeys(("leftovers", "leaks"), "it is looked for when the load is over"),
    **dict.fromkeys(
        ("faults_injected", "faults_verified", "faults_not_verified"),
        "it changes by the plan alone",
    ),
}
"""The others, each with the reason."""
