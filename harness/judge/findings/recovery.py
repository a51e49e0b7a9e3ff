"""Findings on each fault's way back, and on how long slots are held. Made by `judge.recovery` and `judge.reclaim`."""

from harness.judge.findings.finding import Finding


class Instant(Finding, frozen=True, kw_only=True):
    """One moment of a recovery: when it was, and by how much that may be off."""

    name: str
    """first effect, detected, undone, first success, success back, windows back or backlog gone."""
    at_ns: int | None
    """None: it had not come by the end of the record, or there was nothing that could come."""
    resolution_s: float
    """How coarsely whoever saw it looks."""
    seen_in: str
    """Who saw it."""
    due: bool = True
    """Whether it was to be expected at all; one that was due and never came is `never`."""


class Standstill(Finding, frozen=True, kw_only=True):
    """One stream that stalled while a fault was in."""

    window: int
    stream: int
    from_ns: int
    """Its last frame before."""
    to_ns: int | None
    """Its next frame; None: none came before its window ended, or before the end of looking."""
    after_undo_s: float | None
    """From the fault's undo to its next frame, where it stood still at the undo."""


class RecoveryFinding(Finding, frozen=True, kw_only=True):
    """One fault's recovery taken apart, by what clients and watchers saw."""

    entry: str
    experiment: str
    injected_ns: int
    until_ns: int
    """The end of looking: nothing after it is counted."""
    instants: tuple[Instant, ...]
    never: tuple[str, ...] = ()
    """Instants that were due and had not come by the end of looking: censored, not zero."""
    streams_running: int
    """Streams that ran when the fault went in."""
    streams_interrupted: int
    """Of those, how many broke before it was over."""
    survival: float | None
    """The share of them that did not break."""
    rows_lost: int
    """Rows that such streams skipped."""
    seconds_stalled: float
    """Time for which such streams stood still: gaps longer than thrice their usual one, less the usual one."""
    streams_stood_still: int = 0
    """Streams of windows (several each) that ran when the fault went in and then stalled."""
    streams_resumed: int = 0
    """Of those, how many sent frames again."""
    resumed_p50_s: float | None = None
    """From the undo to the next frame, of streams that stood still when it was undone; None where there were none."""
    resumed_max_s: float | None = None
    standstills: tuple[Standstill, ...] = ()
    """The longest of them."""
    failures: dict[str, int]
    """Windows refused, failed or not served meanwhile, by cause."""
    errors: int
    error_p50_s: float | None
    error_p95_s: float | None
    error_max_s: float | None
    clean_errors: int
    """Answers that say plainly that it did not work: 503, 404, 422."""
    dirty_errors: int
    """Other server errors, timeouts, lost connections, answers that cannot be read."""
    made_by_failed: tuple[str, ...] = ()
    """Jobs in the cluster that failed creates may have made: they appeared while one was decided, and no request of ours explains them."""


class ReclaimFinding(Finding, frozen=True, kw_only=True):
    """What rate of windows the limit can sustain, and what bounds it: slots are held while windows get ready, are used, are cleaned up."""

    limit: int | None
    windows: int
    """Windows whose whole life was seen."""
    censored: int
    """Windows that were over and whose slot was not seen to be given back."""
    ready_p50_s: float | None
    ready_p95_s: float | None
    hold_p50_s: float | None
    hold_p95_s: float | None
    reclaim_p50_s: float | None
    """From the client's close to the slot given back, as watches saw it."""
    reclaim_p95_s: float | None
    sustainable_per_s: float | None
    """MaxWindows by the mean life of a slot."""
    bound_by: str
    """ready, hold or reclaim: which part of a slot's life is the longest; empty when not known."""
    measured_per_s: float | None
    """Windows accepted per second, warm-up and drain left out."""
