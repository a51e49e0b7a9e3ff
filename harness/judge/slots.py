"""When each job in the cluster held a slot, as watchers saw it: surely, and possibly.

Called by `windows`. A window's Service is a held slot; its Job may hold it longer. What a watch sees, it sees a little late, and in a
blind spot not at all: both make the sure time shorter, never the possible one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.history.events import JobSeen, PodSeen, Record, ServiceSeen, WatcherState
from harness.judge.sightings import identity
from harness.judge.steps import Steps

WATCH_LAG_NS = 500_000_000
"""How much later than it happened the end of an object may be seen."""
SLOTS_WATCHER = "services"
STREAM_JOB = "grpc-job-"

Intervals = list[tuple[int, int]]
Held = dict[str, tuple[int, int]]


def held_slots(records: Sequence[Record], end_ns: int) -> tuple[Held, Held, bool]:
    """Return when each job in the cluster held a slot, when it may have, and whether the cluster was seen at all.

    A Service is a held slot. Where Services may not be watched, a stream pod that has not ended stands for one. A server may
    count a window until its Job has ended too, so until then it is possibly open, even if it never had a Service.
    """
    sighted = any(
        isinstance(record.event, ServiceSeen)
        or (
            isinstance(record.event, WatcherState)
            and record.event.watcher == SLOTS_WATCHER
            and record.event.seeing
        )
        for record in records
    )
    spans: dict[tuple[str, str], tuple[int, int]] = {}  # by job and object
    sure: set[tuple[str, str]] = set()
    open_end_ns = after(end_ns)
    for record in records:
        event = record.event
        if isinstance(event, ServiceSeen):
            name, is_slot, holds = event.service, True, event.exists
        elif isinstance(event, PodSeen) and event.role == "stream":
            name, is_slot = event.pod, not sighted
            holds = event.exists and event.phase in ("Pending", "Running")
        elif isinstance(event, JobSeen) and event.job.startswith(STREAM_JOB):
            name, is_slot, holds = event.job, False, event.exists and event.state in ("", "active")
        else:
            continue
        key = (event.job_id, name)
        if holds:
            spans[key] = (spans.get(key, (event.at_ns, 0))[0], open_end_ns)
        elif key in spans and spans[key][1] == open_end_ns:
            spans[key] = (spans[key][0], event.at_ns)
        if is_slot and holds:
            sure.add(key)
    held = _hull(spans, sure)
    kept = _hull(spans, {key for key in spans if key[0] in held or key[1].startswith(STREAM_JOB)})
    return held, kept, sighted or bool(held)


@dataclass(frozen=True, slots=True)
class ServiceRecords:
    """What the records of one job's Service say beside its times."""

    port: int = 0
    evidence: tuple[str, ...] = ()
    """Identities of the record that first saw it and of the one that saw it gone, or saw it last."""


def service_records(records: Sequence[Record]) -> dict[str, ServiceRecords]:
    """Return per job the port of its Service, and the first and the last record of it."""
    found: dict[str, ServiceRecords] = {}
    for record in records:
        event = record.event
        if isinstance(event, ServiceSeen):
            before = found.get(event.job_id, ServiceRecords())
            evidence = (*before.evidence[:1], identity(record))
            found[event.job_id] = ServiceRecords(event.node_port or before.port, evidence)
    return found


def _hull(spans: dict[tuple[str, str], tuple[int, int]], keys: set[tuple[str, str]]) -> Held:
    """Return per job the time from the first of its chosen objects to the last."""
    hull: Held = {}
    for key in keys:
        start_ns, end_ns = spans[key]
        before = hull.get(key[0], (start_ns, end_ns))
        hull[key[0]] = (min(before[0], start_ns), max(before[1], end_ns))
    hull.pop("", None)
    return hull


def surely_held(seen: tuple[int, int], blind: Steps, unsaid_ns: int = 0) -> Intervals:
    """Return when a slot was certainly held: seen, less the lag of the watch, less the blind spot its end may lie in.

    What happened less than `unsaid_ns` before a blind spot may not have been told any more.
    """
    start_ns, end_ns = seen[0], seen[1] - WATCH_LAG_NS
    index = int(blind.at_ns.searchsorted(end_ns, side="right"))
    if blind.values[index] == 1:
        end_ns = int(blind.at_ns[index - 1]) - unsaid_ns if index else start_ns
    return [(start_ns, end_ns)] if end_ns > start_ns else []


def after(end_ns: int) -> int:
    """Return the end of what was not seen to end: far enough after the run that no lag cuts it short."""
    return end_ns + WATCH_LAG_NS + 1
