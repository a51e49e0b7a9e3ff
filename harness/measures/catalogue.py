"""Every measure there is, in one explicit tuple. A new one is an entry here and a row in docs/measures.md (a test compares).

The names are public: campaigns write them into gates. `of` narrows a measure where its text says so.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from harness.history.events import (
    AuditSeen,
    Drift,
    Event,
    FaultChanged,
    FaultStep,
    FirstFrame,
    LeftoverSeen,
    LoadState,
    Outcome,
    ProcessEnded,
    SlotsSeen,
    WatcherState,
    WindowClosed,
    WindowReady,
    WindowUnknown,
    WorkerLost,
)
from harness.history.samples import ACCEPTED, SENT
from harness.measures.concluded import CONCLUDED
from harness.measures.measure import (
    Distinct,
    Keys,
    Largest,
    Measure,
    Pair,
    Peak,
    Quantile,
    Ratio,
    Total,
    peak_of,
)
from harness.measures.portion import Portion, Spans, of_spans

LEFTOVER_WATCH = "leftovers"
"""The watcher that looks for leftovers: a `WatcherState` of it, seeing, says that somebody has looked."""

SUCCESSES = (Outcome.STREAMING, Outcome.COMPLETE)
UNSERVED = (Outcome.PENDING_NO_START, Outcome.STREAM_NO_FRAME)
BROKEN = (Outcome.STREAM_BROKEN, Outcome.STREAM_BROKEN_BEFORE_DATA, Outcome.FOREIGN_STREAM)

Seen = TypeVar("Seen", bound=Event)


def seen(portion: Portion, kind: type[Seen]) -> Iterator[Seen]:
    """Yield the portion's events of one kind."""
    return (record.event for record in portion.records if isinstance(record.event, kind))


# --- creates --------------------------------------------------------------------------------------


def _creates(*outcomes: str) -> Callable[[Portion, str], Pair]:
    def count(portion: Portion, _of: str) -> Pair:
        return (portion.creates(*outcomes), portion.creates())

    return count


def _all_creates(portion: Portion, of: str) -> Pair:
    return (portion.creates(of) if of else portion.creates(), portion.creates())


def _failed_creates(portion: Portion, _of: str) -> Pair:
    everything = portion.creates()
    return (everything - portion.creates(ACCEPTED, Outcome.CANCELLED), everything)


def _latencies(*outcomes: str) -> Callable[[Portion, str], Spans]:
    return lambda portion, of: portion.create_latencies_ns(*([of] if of else outcomes))


def _as_planned(portion: Portion, of: str) -> Spans:
    return portion.create_latencies_ns(of or ACCEPTED, planned=True)


def _arrivals(portion: Portion, of: str) -> Pair:
    everything = sum(portion.arrivals.values())
    return (portion.arrivals.get(of, 0) if of else everything, everything)


def _not_offered(portion: Portion, of: str) -> Pair:
    refused = {why: count for why, count in portion.arrivals.items() if why != SENT and of in ("", why)}
    return (sum(refused.values()), sum(portion.arrivals.values()))


# --- windows --------------------------------------------------------------------------------------


def _closed(*outcomes: str) -> Callable[[Portion, str], Pair]:
    def count(portion: Portion, of: str) -> Pair:
        wanted = (of,) if of else outcomes
        ended = [window.outcome for window in seen(portion, WindowClosed)]
        if not of:  # what its user never meant to watch says nothing of how windows end
            ended = [outcome for outcome in ended if outcome is not Outcome.ABANDONED]
        return (sum(outcome in wanted for outcome in ended), len(ended))

    return count


def _count(kind: type[Event]) -> Callable[[Portion, str], Pair]:
    def count(portion: Portion, _of: str) -> Pair:
        return (sum(1 for _ in seen(portion, kind)), portion.creates())

    return count


def _since_accept(kind: type[WindowReady] | type[FirstFrame]) -> Callable[[Portion, str], Spans]:
    return lambda portion, _of: of_spans(event.since_accept_ns for event in seen(portion, kind))


def _optional(value: float | None) -> Peak:
    return peak_of([] if value is None else [value])


# --- causes ---------------------------------------------------------------------------------------


def _failures(portion: Portion, of: str) -> Pair:
    causes = portion.causes or {}
    if portion.causes is None:
        return (0, 0)
    everything = sum(causes.values())
    return (causes.get(of, 0) if of else everything, portion.creates() + everything)


def _violations(portion: Portion, of: str) -> Pair:
    found = portion.violations
    if found is None:
        return (0, 0)
    return (sum(count for kind, count in found.items() if of in ("", kind)), 1 + sum(found.values()))


def _share_of_cause(name: str) -> Callable[[Portion, str], Pair]:
    def count(portion: Portion, of: str) -> Pair:
        causes = portion.causes or {}
        return (causes.get(of or name, 0), sum(causes.values()))

    return count


# --- faults ---------------------------------------------------------------------------------------


def _entries(step: FaultStep, among: FaultStep = FaultStep.OPENED) -> Callable[[Portion, str], Keys]:
    def keys(portion: Portion, of: str) -> Keys:
        changes = [change for change in seen(portion, FaultChanged) if not of or change.experiment == of]
        return (
            frozenset(change.entry for change in changes if change.step == among),
            frozenset(change.entry for change in changes if change.step == step),
        )

    return keys


def _recoveries(portion: Portion, of: str) -> Peak:
    return peak_of(seconds for experiment, seconds in portion.recoveries if not of or experiment == of)


def _baselines(portion: Portion, of: str) -> Peak:
    return peak_of(
        one.baseline_after_s
        for one in portion.recovered
        if one.baseline_after_s is not None and (not of or one.experiment == of)
    )


def _kept(portion: Portion, of: str) -> Pair:
    chosen = [one for one in portion.recovered if not of or one.experiment == of]
    running = sum(one.streams for one in chosen)
    return (running - sum(one.interrupted for one in chosen), running)


def _dirty(portion: Portion, of: str) -> Pair:
    chosen = [one for one in portion.recovered if not of or one.experiment == of]
    return (sum(one.dirty for one in chosen), sum(one.errors for one in chosen))


# --- the record, the processes, what is left ------------------------------------------------------


def _leftovers(portion: Portion, of: str) -> Pair:
    looked = sum(state.seeing for state in seen(portion, WatcherState) if state.watcher == LEFTOVER_WATCH)
    found = sum(not of or of in (left.object_kind, left.owner) for left in seen(portion, LeftoverSeen))
    return (found, looked + found)


OURS, UNKNOWN = ("own", "fault"), "unknown"  # owners of leftovers: this run's doing, and what may be


def _leaks(portion: Portion, of: str) -> Pair:
    """Count what is ours and left; where there is none, but a kind nobody could look at or a thing that may be ours, there is no answer."""
    left = [one for one in seen(portion, LeftoverSeen) if of in ("", one.object_kind)]
    if found := sum(one.owner in OURS for one in left):
        return (found, 1 + found)
    looked = [state.seeing for state in seen(portion, WatcherState) if state.watcher == LEFTOVER_WATCH]
    audits = [one for one in seen(portion, AuditSeen) if of in ("", one.object_kind)]
    sure = all(looked) and all(one.seen for one in audits) and not any(one.owner == UNKNOWN for one in left)
    return (0, 1) if looked and sure else (0, 0)


def _blindness(portion: Portion, of: str) -> Pair:
    states = [state for state in seen(portion, WatcherState) if not of or state.watcher == of]
    return (sum(not state.seeing for state in states), len(states))


def _holes(portion: Portion, _of: str) -> Pair:
    return (len(portion.holes), 1) if portion.holes is not None else (0, 0)


def _breaches(portion: Portion, _of: str) -> Pair:
    return (portion.breaches, 1) if portion.breaches is not None else (0, 0)


def _deaths(portion: Portion, _of: str) -> Pair:
    ended = list(seen(portion, ProcessEnded))
    return (sum(map(died, ended)) + len(list(seen(portion, WorkerLost))), len(ended))


def died(process: ProcessEnded) -> bool:
    """Return whether a process ended other than planned: SIGTERM (-15, 143) and Chaos Toolkit's own codes are planned."""
    if process.process.startswith("chaos") and process.exit_code >= 0:
        return False
    return process.exit_code not in (0, -15, 143)


def _drift(portion: Portion, _of: str) -> Keys:
    quirks = frozenset(drift.quirk for drift in seen(portion, Drift))
    return (quirks | (frozenset({"any create"}) if portion.creates() else frozenset()), quirks)


def _loads(value: Callable[[LoadState], float]) -> Callable[[Portion, str], Peak]:
    return lambda portion, _of: peak_of(value(state) for state in seen(portion, LoadState))


def _slots(value: Callable[[SlotsSeen], float]) -> Callable[[Portion, str], Peak]:
    return lambda portion, _of: peak_of(value(state) for state in seen(portion, SlotsSeen))


def _quantiles(
    stem: str, about: str, spans: Callable[[Portion, str], Spans], percents: tuple[int, ...] = (50, 95, 99)
) -> Iterator[Quantile]:
    for percent in percents:
        word = "median" if percent == 50 else f"p{percent}"
        yield Quantile(f"{stem}_p{percent}", "s", f"{about}, {word}.", percent / 100, spans)


MEASURES: tuple[Measure[Any], ...] = (
    Total("creates", "creates", "Answered or given-up `POST /configure`; of: one outcome.", _all_creates),
    Total("accepted", "creates", "Creates answered 200.", _creates(ACCEPTED)),
    Total("refusals", "creates", "Creates answered 503.", _creates(Outcome.UNAVAILABLE_503)),
    Ratio("ratio_503", "share", "503s among all creates.", _creates(Outcome.UNAVAILABLE_503)),
    Total(
        "failed_creates", "creates", "Creates that ended in anything but 200 or cancelled.", _failed_creates
    ),
    Ratio("failed_ratio", "share", "Failed creates among all creates.", _failed_creates),
    Ratio("accepted_ratio", "share", "Creates answered 200 among all creates.", _creates(ACCEPTED)),
    Ratio("create_ratio", "share", "Creates of one outcome (of) among all creates.", _all_creates),
    Total("unknown_creates", "creates", "Creates that got no answer.", _count(WindowUnknown)),
    Total(
        "failures",
        "failures",
        "Failed creates and windows that were not served to their end; of: a cause.",
        _failures,
    ),
    Ratio("cause_ratio", "share", "Failures of one cause (of) among all failures.", _share_of_cause("")),
    Ratio(
        "unexplained_ratio",
        "share",
        "Failures that nothing explains although everybody could see, among all failures.",
        _share_of_cause("unexplained"),
    ),
    Ratio(
        "unknown_ratio",
        "share",
        "Failures whose cause may lie in a blind spot, among all failures.",
        _share_of_cause("unknown"),
    ),
    *_quantiles("create", "Time to a 200 (of: to another outcome)", _latencies(ACCEPTED)),
    *_quantiles(
        "create_planned",
        "Time from the instant a create was planned for to its 200 (of: to another outcome)",
        _as_planned,
    ),
    Total("arrivals", "arrivals", "Planned arrivals that were due; of: a fate.", _arrivals),
    Ratio("not_offered_ratio", "share", "Planned arrivals that were not sent at all; of: why.", _not_offered),
    *_quantiles(
        "arrival_lateness",
        "How much later than planned arrivals were sent",
        lambda portion, _of: portion.lateness_ns,
        (99,),
    ),
    Total("own_requests", "requests", "Requests of people's own users; of: a name.", Portion.own_requests),
    Ratio(
        "own_failed_ratio", "share", "Failed requests of people's own users; of: a name.", Portion.own_failed
    ),
    *_quantiles(
        "own_request", "Time that requests of people's own users took (of: a name)", Portion.own_latencies_ns
    ),
    *_quantiles("refusal", "Time to a 503", _latencies(Outcome.UNAVAILABLE_503), (95, 99)),
    Total("windows", "windows", "Accepted windows that ended well (of: one outcome).", _closed(*SUCCESSES)),
    Ratio(
        "window_success", "share", "Windows that ended well among accepted and ended.", _closed(*SUCCESSES)
    ),
    Total(
        "streams_broken", "windows", "Windows whose stream ended before its planned end.", _closed(*BROKEN)
    ),
    Total(
        "phantom_windows",
        "windows",
        "Windows accepted that never became ready or never yielded a frame.",
        _closed(*UNSERVED),
    ),
    Total("first_frames", "windows", "Windows whose first own frame arrived.", _count(FirstFrame)),
    *_quantiles("ready", "Time from 200 to a ready stream", _since_accept(WindowReady)),
    *_quantiles("first_frame", "Time from 200 to the first frame", _since_accept(FirstFrame)),
    Total("frames", "frames", "Frames received.", lambda portion, _of: (portion.frames, portion.frames)),
    Total(
        "bytes", "bytes", "Bytes of frames received.", lambda portion, _of: (portion.bytes, portion.frames)
    ),
    *_quantiles("frame_lag", "Lateness of frames", lambda portion, _of: portion.lags_ns, (50, 99)),
    Largest(
        "frame_lag_max",
        "s",
        "Lateness of the latest frame.",
        lambda portion, _of: (
            (None, 0) if portion.lag_max_ns is None else (portion.lag_max_ns / 1e9, portion.frames)
        ),
    ),
    Largest(
        "open_windows",
        "windows",
        "Most windows certainly open at once, of everybody.",
        lambda portion, _of: _optional(portion.open_certain),
    ),
    Largest(
        "open_windows_possible",
        "windows",
        "Most windows possibly open at once, of everybody.",
        lambda portion, _of: _optional(portion.open_possible),
    ),
    Total(
        "admission_violations",
        "violations",
        "Times the admission limit was broken as no order of events explains; of: a kind of violation.",
        _violations,
        whole_run=True,
    ),
    Largest(
        "streams_open",
        "windows",
        "Most own windows streaming at once.",
        _loads(lambda load: load.streams_open),
    ),
    Largest(
        "running_pods",
        "windows",
        "Most stream pods running at once.",
        _slots(lambda slots: slots.running_pods),
    ),
    Largest(
        "pending_pods", "pods", "Most stream pods pending at once.", _slots(lambda slots: slots.pending_pods)
    ),
    Largest("slots_held", "windows", "Most slots held at once.", _slots(lambda slots: slots.slots)),
    Distinct(
        "faults_injected",
        "faults",
        "Opened faults that were injected; of: an experiment.",
        _entries(FaultStep.INJECTED),
        whole_run=True,
    ),
    Distinct(
        "faults_verified",
        "faults",
        "Opened faults whose undoing was looked up; of: an experiment.",
        _entries(FaultStep.VERIFIED),
        whole_run=True,
    ),
    Distinct(
        "faults_not_verified",
        "faults",
        "Opened faults whose undoing was not verified; of: an experiment.",
        _entries(FaultStep.VERIFIED),
        whole_run=True,
        subtract=True,
    ),
    Distinct(
        "faults_not_held",
        "faults",
        "Faults that somebody else ended; of: an experiment.",
        _entries(FaultStep.NOT_HELD),
        whole_run=True,
    ),
    Largest(
        "recovery_max",
        "s",
        "Longest time from a fault's undo to the first success, infinite without one; of: an experiment.",
        _recoveries,
        whole_run=True,
    ),
    Largest(
        "baseline_after_max",
        "s",
        "Longest time from a fault's undo until accepted creates were back, infinite if never; of: an experiment.",
        _baselines,
        whole_run=True,
    ),
    Ratio(
        "stream_survival",
        "share",
        "Streams that ran when a fault went in and did not break until it was over; of: an experiment.",
        _kept,
        whole_run=True,
    ),
    Ratio(
        "dirty_error_ratio",
        "share",
        "Failed creates during faults that were not answered plainly (503, 404, 422); of: an experiment.",
        _dirty,
        whole_run=True,
    ),
    *CONCLUDED,
    Total(
        "leftovers",
        "objects",
        "Objects that should be gone and were not; of: their kind or owner.",
        _leftovers,
        whole_run=True,
    ),
    Total(
        "leaks",
        "things",
        "Things that windows or faults of this run left behind; of: their kind.",
        _leaks,
        whole_run=True,
    ),
    Total(
        "watcher_blind", "times", "Times a watcher became blind; of: one watcher.", _blindness, whole_run=True
    ),
    Total(
        "processes_died",
        "processes",
        "Processes of the run that ended other than planned.",
        _deaths,
        whole_run=True,
    ),
    Total("record_holes", "holes", "Things missing from the record.", _holes, whole_run=True),
    Total(
        "validity_breaches",
        "breaches",
        "Bounds outside of which a run proves nothing.",
        _breaches,
        whole_run=True,
    ),
    Distinct("drift", "quirks", "Different tolerated departures from the contract.", _drift, whole_run=True),
    Largest(
        "generator_lag_max",
        "s",
        "Worst lateness of the load's event loop.",
        _loads(lambda load: load.lag_ns / 1e9),
    ),
    Largest(
        "generator_cpu_max",
        "cores",
        "Most processor time the load used, in cores.",
        _loads(lambda load: load.cpu),
    ),
)

BY_NAME: dict[str, Measure[Any]] = {definition.name: definition for definition in MEASURES}
