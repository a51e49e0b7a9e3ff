"""When each job in the cluster held a slot, as watchers saw it: surely, and possibly.

Called by `windows`. A window's Service is a held slot; its Job may hold it longer. What a watch sees, it sees a little late, and in a
blind spot not at all: both make the sure time shorter, never the possible one.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harness.history.events import JobSeen, PodSeen, Record, ServiceSeen, WatcherState
from harness.judge.sightings import identity
from harness.judge.steps import Steps

WATCH_LAG_NS = 500_000_000
"""How much later than it happened the end of an object may be seen."""
SLOTS_WATCHER = "services"
STREAM_JOB = "grpc-job-"
AGAIN = "#"
"""Between a job id and which of its appearances it is, from the second on."""
APART_NS = 1_000_000_000
"""A job that is seen again this long after all that was seen of it had gone is another one of the same name."""

Intervals = list[tuple[int, int]]
Held = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Slots:
    """When each appearance of a job in the cluster held a slot, and when it may have; by key."""

    held: Held
    kept: Held
    sighted: bool
    """Whether the cluster was seen at all."""
    appearances: dict[str, tuple[str, ...]]
    """Keys of each job id's appearances in order of time: a server that counts anew uses its job ids again."""

    def key(self, job_id: str, from_ns: int, to_ns: int) -> str:
        """Return the key of the appearance of a job that a window's time meets; a key of nothing if none does."""
        keys = self.appearances.get(job_id, ())
        for key in keys:
            start_ns, end_ns = self.kept[key]
            if start_ns <= to_ns and from_ns <= end_ns:
                return key
        return f"{job_id}{AGAIN}{len(keys)}" if keys else job_id


def job_of(key: str) -> str:
    """Return the job id of an appearance."""
    return key.partition(AGAIN)[0]


def held_slots(records: Sequence[Record], end_ns: int) -> Slots:
    """Return when jobs in the cluster held their slots.

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
    spans: dict[tuple[str, str], list[tuple[int, int]]] = {}  # by job and object, one per time it was there
    slots: set[tuple[str, str]] = set()
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
        times = spans.setdefault((event.job_id, name), []) if event.job_id else []
        if holds and (not times or times[-1][1] != open_end_ns):
            times.append((event.at_ns, open_end_ns))
        elif not holds and times and times[-1][1] == open_end_ns:
            times[-1] = (times[-1][0], event.at_ns)
        if is_slot and holds:
            slots.add((event.job_id, name))
    held, kept, appearances = _appearances(spans, slots)
    return Slots(held, kept, sighted or bool(held), appearances)


def _appearances(
    spans: dict[tuple[str, str], list[tuple[int, int]]], slots: set[tuple[str, str]]
) -> tuple[Held, Held, dict[str, tuple[str, ...]]]:
    """Put the objects of each job together to appearances: from its first object to its last, as long as one follows another."""
    objects: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for (job, name), times in spans.items():
        objects[job] += [(start, end, name) for start, end in times]
    held: Held = {}
    kept: Held = {}
    keys: dict[str, list[str]] = defaultdict(list)
    for job, seen in objects.items():
        last_ns = None
        for start_ns, end_ns, name in sorted(seen):
            if last_ns is None or start_ns > last_ns + APART_NS:
                keys[job].append(f"{job}{AGAIN}{len(keys[job])}" if keys[job] else job)
                last_ns = end_ns
            last_ns, key = max(last_ns, end_ns), keys[job][-1]
            if (job, name) in slots:
                _widen(held, key, start_ns, end_ns)
            _widen(kept, key, start_ns, end_ns)
    return held, kept, {job: tuple(some) for job, some in keys.items()}


def _widen(hull: Held, key: str, start_ns: int, end_ns: int) -> None:
    before = hull.get(key, (start_ns, end_ns))
    hull[key] = (min(before[0], start_ns), max(before[1], end_ns))


@dataclass(frozen=True, slots=True)
class ServiceRecords:
    """What the records of one job's Service say beside its times."""

    port: int = 0
    evidence: tuple[str, ...] = ()
    """Identities of the record that first saw it and of the one that saw it gone, or saw it last."""


def service_records(records: Sequence[Record], slots: Slots) -> dict[str, ServiceRecords]:
    """Return per appearance the port of its Service, and the first and the last record of it."""
    found: dict[str, ServiceRecords] = {}
    for record in records:
        event = record.event
        if isinstance(event, ServiceSeen):
            key = slots.key(event.job_id, event.at_ns, event.at_ns)
            before = found.get(key, ServiceRecords())
            evidence = (*before.evidence[:1], identity(record))
            found[key] = ServiceRecords(event.node_port or before.port, evidence)
    return found


def surely_held(seen: tuple[int, int], blind: Steps, unsaid_ns: int = 0) -> Intervals:
    """Return when a slot was certainly held: seen, less the lag of the watch, less the blind spot its end may lie in.

    `blind` has no instant at which nothing changes: the last one before an end in a blind spot is that spot's beginning.

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
