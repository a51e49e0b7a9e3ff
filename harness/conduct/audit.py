"""Look for what a run leaves behind, before it, after it, and once more later: Jobs, pods, Services, shares, tasks, queues, marks, processes.

Waits until everything made during the run is gone or the campaign's `drain` is over, and, if something of ours is left, for `leaks.later`
more. What is left then is named in the record with the window or fault that made it. What was there before the run is foreign.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from harness.chaos import ENTRY_LABEL
from harness.cluster import Cluster, Object, gpu_request, labels_of, name_of
from harness.cluster.lease import LEASE_NAME
from harness.conduct.stop import Stop
from harness.errors import TargetError
from harness.history.events import (
    AuditSeen,
    Event,
    FaultChanged,
    LeftoverSeen,
    Note,
    ProcessStarted,
    Record,
    WatcherState,
    WindowAccepted,
    WindowClosed,
)
from harness.measures.catalogue import LEFTOVER_WATCH
from harness.observe.leftovers import CannotLook, alive, queues_of, sockets_of, tasks_of
from harness.target import Target

WINDOW_OBJECT = re.compile(r"(?:grpc-job|cleanup-job|grpc-service)-(\d+-\d+)(?:-\w+)?")
POLL_S = 0.5
MARKED = ("pods", "configmaps", "networkpolicies")
"""Kinds that faults make in the harness' and the system's namespace, beside what windows are made of."""
ENTRY_MAP = re.compile(r"(?:undo|focus-harness)-(.+)")
FAULTS_OBJECT, LEASE = "fault's object", "Lease"
OF_FAULTS = {FAULTS_OBJECT, LEASE}
"""What only faults make; whoever plays none need not be allowed to list it."""
KINDS = ("Job", "Service", "Pod", "GPU share", FAULTS_OBJECT, LEASE, "task", "queue", "process")


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """One thing that should be gone."""

    kind: str
    name: str
    job_id: str = ""
    """Of a window's object."""
    entry: str = ""
    """Of a fault's object."""


@dataclass
class Look:
    """What was there at one look; `blind` says what could not be looked at, and why."""

    things: frozenset[Thing] = frozenset()
    blind: dict[str, str] = field(default_factory=dict)

    def counts(self) -> Counter[str]:
        """Return how many things of each kind there were."""
        return Counter(thing.kind for thing in self.things)


class Audit:
    """The looks of one run."""

    def __init__(self, cluster: Cluster, target: Target, records: Callable[[], Iterable[Record]]) -> None:
        self._cluster = cluster
        self._target = target
        self._records = records
        self._jobs: dict[str, int] = {}
        self._pids: dict[int, str] = {}
        self.before = self._look()

    def after(
        self, wait_s: float, later_s: float, stop: Stop, renew: Callable[[], None], now: Callable[[], int]
    ) -> Iterator[Event]:
        """Wait for things to go, look again later where some have not (a run that was stopped does not), and say what there is to say."""
        records = list(self._records())
        self._jobs = {r.event.job_id: r.event.window for r in records if isinstance(r.event, WindowAccepted)}
        self._pids = {
            r.event.pid: r.event.process
            for r in records
            if isinstance(r.event, ProcessStarted) and r.event.pid != os.getpid()
        }
        later = after = self._until_gone(wait_s, stop, renew)
        if (left := self._ours(after)) and later_s > 0 and not stop.asked:
            kinds = ", ".join(
                f"{count} x {kind}" for kind, count in sorted(Counter(thing.kind for thing in left).items())
            )
            text = f"still there, waited for up to {later_s:g} s more: {kinds}"
            yield Note(at_ns=now(), level="info", text=text)
            later = self._until_gone(later_s, stop, renew)
        yield from self._said(after, later, records, now)

    def _until_gone(self, wait_s: float, stop: Stop, renew: Callable[[], None]) -> Look:
        until = time.monotonic() + wait_s
        while True:
            renew()
            look = self._look()
            if (
                not (self._ours(look) or look.blind.keys() - OF_FAULTS)
                or stop.insisted
                or time.monotonic() >= until
            ):
                return look
            stop.pause(POLL_S)

    def _ours(self, look: Look) -> frozenset[Thing]:
        """Return what is ours of what came since the run began; nobody waits for the windows of others."""
        came = look.things - self.before.things
        return frozenset(thing for thing in came if not thing.job_id or thing.job_id in self._jobs)

    # --- looking ----------------------------------------------------------------------------------

    def _look(self) -> Look:
        look = Look()
        try:
            look.things |= self._cluster_things(look.blind)
        except TargetError as error:
            look.blind |= dict.fromkeys(KINDS[:6], str(error))
        for kind, uri, asked in (
            ("task", self._target.mongodb_uri, tasks_of),
            ("queue", self._target.broker_uri, queues_of),
        ):
            if uri and self._jobs:
                try:
                    names = asked(uri, sorted(self._jobs))
                except CannotLook as error:
                    look.blind[kind] = str(error)
                else:
                    look.things |= {Thing(kind, name, name.rpartition(".")[2]) for name in names}
        look.things |= {
            Thing("process", f"{self._pids[pid]} (pid {pid}, {sockets_of(pid)} sockets)")
            for pid in self._gone_pids()
        }
        return look

    def _gone_pids(self) -> frozenset[int]:
        return alive(pid for pid, name in self._pids.items() if not name.startswith("guard"))

    def _cluster_things(self, blind: dict[str, str]) -> frozenset[Thing]:
        """Return what is there; put into `blind` the kinds that may not be listed, with the reason."""
        cluster, found = self._cluster, set[Thing]()
        for kind, objects in (
            ("Job", cluster.jobs()),
            ("Service", cluster.services()),
            ("Pod", cluster.pods()),
        ):
            for obj in objects:
                if match := WINDOW_OBJECT.fullmatch(name_of(obj)):
                    found.add(Thing(kind, name_of(obj), match[1]))
                    if kind == "Pod" and (shares := gpu_request(obj, self._target.gpu_resource)):
                        found.add(Thing("GPU share", f"{shares} held by {name_of(obj)}", match[1]))
        for namespace in dict.fromkeys((cluster.harness_namespace, cluster.namespace)):
            for kind in MARKED:
                try:
                    objects = cluster.objects(kind, namespace, ENTRY_LABEL)
                except TargetError as error:  # not everybody may list everything there
                    blind[FAULTS_OBJECT] = str(error)
                    continue
                found |= {_of_fault(obj) for obj in objects}
        try:
            leases = cluster.objects("leases", cluster.harness_namespace)
        except TargetError as error:
            leases, blind[LEASE] = [], str(error)
        found |= {Thing(LEASE, name_of(lease)) for lease in leases if name_of(lease) != LEASE_NAME}
        return frozenset(found)

    # --- saying -----------------------------------------------------------------------------------

    def _said(self, after: Look, later: Look, records: list[Record], now: Callable[[], int]) -> list[Event]:
        events: list[Event] = []
        cluster_seen = "Job" not in later.blind
        played = any(isinstance(record.event, FaultChanged) for record in records)
        why = "" if cluster_seen else "the cluster did not answer"
        events.append(WatcherState(at_ns=now(), watcher=LEFTOVER_WATCH, seeing=cluster_seen, detail=why))
        counts = [look.counts() for look in (self.before, after, later)]
        for kind in KINDS:
            if kind in ("task", "queue") and not self._uri(kind):
                continue
            events.append(
                AuditSeen(
                    at_ns=now(),
                    object_kind=kind,
                    before=counts[0][kind],
                    after=counts[1][kind],
                    later=counts[2][kind],
                    seen=kind not in later.blind or (kind in OF_FAULTS and cluster_seen and not played),
                    detail=later.blind.get(kind, ""),
                )
            )
        if cluster_seen:
            told = _Makers(self._jobs, records)
            events += [told.leftover(thing, now()) for thing in sorted(later.things - self.before.things)]
        return events

    def _uri(self, kind: str) -> str | None:
        return self._target.mongodb_uri if kind == "task" else self._target.broker_uri


def _of_fault(obj: Object) -> Thing:
    kind = str(obj.get("kind") or "object")
    return Thing(FAULTS_OBJECT, f"{kind} {name_of(obj)}", entry=labels_of(obj).get(ENTRY_LABEL, ""))


class _Makers:
    """Who made what: windows by their job, faults by their entry."""

    def __init__(self, jobs: dict[str, int], records: list[Record]) -> None:
        self._jobs = jobs
        self._closed = {r.event.window: r.event for r in records if isinstance(r.event, WindowClosed)}
        self._faults = {
            r.event.entry: r.event.experiment for r in records if isinstance(r.event, FaultChanged)
        }

    def leftover(self, thing: Thing, at_ns: int) -> LeftoverSeen:
        """Name the owner of a thing: a window of this run, a fault, ourselves, or somebody else who came while it ran."""
        owner, made_by = "foreign", "a window that no request of ours explains"
        window = self._jobs.get(thing.job_id, 0)
        if thing.kind == "process":
            owner, made_by = "own", "this run"
        elif not thing.job_id:
            owner, made_by = (
                "fault",
                self._faults.get(thing.entry, "a fault") + (f" ({thing.entry})" if thing.entry else ""),
            )
        elif window:
            owner, made_by = "own", f"window {window}"
            if (closed := self._closed.get(window)) is not None:
                made_by += f", closed at {closed.at_ns / 1e9:.1f} s ({closed.outcome})"
        return LeftoverSeen(
            at_ns=at_ns,
            object_kind=thing.kind,
            name=thing.name,
            owner=owner,
            job_id=thing.job_id,
            made_by=made_by,
        )
