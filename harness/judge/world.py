"""What was so at an instant, as far as anybody saw: the world as watchers and clients observed it.

Built once per run from observations and client outcomes only; it knows nothing of faults that were injected, and no module it
imports does. Answers are three-valued: a watcher's blind spot makes `UNKNOWN`, never `no`. Context and blame ask it; the
tables of seconds read its step functions.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np

from harness.history.events import (
    ClusterEventSeen,
    DependencySeen,
    Event,
    FirstFrame,
    JobSeen,
    LoadState,
    LogLineSeen,
    NodeSeen,
    PodSeen,
    Record,
    ServiceSeen,
    SharesSeen,
    SlotsSeen,
    WatcherState,
    WindowAccepted,
    WindowClosed,
    WindowReady,
    WindowUnknown,
)
from harness.history.reader import Samples
from harness.judge.kinds import Kind, by_kind
from harness.judge.sightings import DOWN, UNKNOWN, Seen, either, identity, masked, seen_of
from harness.judge.slots import SLOTS_WATCHER, STREAM_JOB
from harness.judge.steps import Ints, Steps
from harness.judge.windows import Windows, find_windows
from harness.measures.catalogue import LEFTOVER_WATCH
from harness.measures.portion import CONFIGURE

OBSERVATIONS = (
    ClusterEventSeen,
    DependencySeen,
    FirstFrame,
    JobSeen,
    LoadState,
    LogLineSeen,
    NodeSeen,
    PodSeen,
    ServiceSeen,
    SharesSeen,
    SlotsSeen,
    WatcherState,
    WindowAccepted,
    WindowClosed,
    WindowReady,
    WindowUnknown,
)
"""All a world is made of; every other kind of event is taken out before anything is looked at."""

WINDOW_KINDS = (
    FirstFrame,
    JobSeen,
    PodSeen,
    ServiceSeen,
    WatcherState,
    WindowAccepted,
    WindowClosed,
    WindowUnknown,
)
"""What windows are told apart and counted by."""

DEPENDENCIES = (
    "focus_server",
    "kubernetes_api",
    "server_rights",
    "cleanup_rights",
    "mongodb",
    "broker",
    "fibre",
)
"""What is asked whether it answers."""
ROLES = ("focus_server", "mongodb", "broker", "player")
"""Whose pods are counted."""
NEEDED = (
    "nodes",
    "pods",
    "jobs",
    "services",
    "events",
    "focus_server",
    "kubernetes_api",
    "server_rights",
    "fibre",
)
"""Watchers that every target has something for; one that is missing is a blind spot."""
OPTIONAL = ("mongodb", "broker")
"""A target may be without these: then nobody is blind to them."""
BEHIND_THE_API = ("nodes", "pods", "jobs", "services", "events", "server_rights", "cleanup_rights", "logs")


CUT_TOGETHER = ("nodes", "pods", "jobs", "services")
"""Watches that the same API server keeps."""
FORBIDDING = (":NoSchedule", ":NoExecute")
ANSWERED = "answered"
"""In the detail of a failed question to Focus Server when somebody did answer it."""
BEAT_NS = 1_000_000_000
"""How often the load says how it is."""


class World:
    """The observed run. Instants are nanoseconds since the run's start; `end_ns` is its last instant."""

    def __init__(self, records: Sequence[Record], attempts: Samples, end_ns: int) -> None:
        self._by_kind: dict[type[Event], list[Record]] = {
            kind: found for kind, found in by_kind(records).items() if issubclass(kind, OBSERVATIONS)
        }
        self.attempts = attempts
        self.end_ns = end_ns

    # --- who could see ----------------------------------------------------------------------------

    @cached_property
    def said_blind(self) -> dict[str, Steps]:
        """Per watcher: 1 while it said that it could not see, 0 while it could; before its first word it could not."""
        states: dict[str, list[tuple[int, int]]] = {}
        for _, state in self.of(WatcherState):
            if state.watcher == LEFTOVER_WATCH:
                continue  # looks once, at the end, and is no witness of anything before
            states.setdefault(state.watcher, []).append((state.at_ns, int(not state.seeing)))
        return {watcher: Steps.of(changes, 1) for watcher, changes in sorted(states.items())}

    @cached_property
    def blind(self) -> dict[str, Steps]:
        """Per watcher: 1 while it could not see, by its own word or because the API server was silent.

        A watch learns late that its connection is dead, so while the API server does not answer, no watch can see.
        """
        silent = self.dependencies["kubernetes_api"].steps.equal(DOWN)
        return {
            watcher: either(steps, silent) if watcher in BEHIND_THE_API else steps
            for watcher, steps in self.said_blind.items()
        }

    def blind_at(self, watcher: str, from_ns: Ints, to_ns: Ints, *, by_itself: bool = False) -> Ints:
        """Return 1 for each interval in which `watcher` could not see all the time (or never was there).

        With `by_itself` the silence of the API server is left out.
        """
        steps = (self.said_blind if by_itself else self.blind).get(watcher)
        return np.ones(len(from_ns), dtype=np.int64) if steps is None else steps.highest(from_ns, to_ns)

    def could_be_seen(self, watcher: str) -> bool:
        """Return whether there is anything for a watcher to see: a target without a broker hides none from us."""
        if watcher in self.said_blind and watcher not in OPTIONAL:
            return True
        if watcher not in OPTIONAL:
            return watcher in NEEDED
        seen = self.dependencies[watcher].ids or self.ready_pods[watcher].ids
        return bool(seen)

    # --- windows ----------------------------------------------------------------------------------

    @cached_property
    def windows(self) -> Windows:
        """Every window, and the two counts of open ones."""
        blind = self.blind.get(SLOTS_WATCHER, Steps.of([], 1))
        return find_windows(self._ordered(WINDOW_KINDS), self.attempts, blind, self.end_ns)

    @property
    def sees_slots(self) -> bool:
        """Return whether the Services' watcher could see at any time."""
        blind = self.blind.get(SLOTS_WATCHER)
        return blind is not None and bool((blind.values == 0).any())

    @cached_property
    def slots_blind_share(self) -> float:
        """Return for which share of the run the Services' watcher could not see, from its first word on."""
        blind = self.blind.get(SLOTS_WATCHER)
        if blind is None or not len(blind.at_ns) or self.end_ns <= blind.at_ns[0]:
            return 1.0
        edges = np.append(blind.at_ns, self.end_ns)
        spent = float((np.diff(edges) * blind.values[1:]).clip(min=0).sum())
        return spent / float(self.end_ns - blind.at_ns[0])

    # --- shares and dependencies ------------------------------------------------------------------

    @cached_property
    def free_shares(self) -> Seen:
        """Free GPU shares on all registered workers, as counted; `UNKNOWN` before the first sight."""
        return self._of_kind(SharesSeen, lambda event: event.free)

    @cached_property
    def free_schedulable(self) -> Seen:
        """Free GPU shares on Ready and schedulable workers, as counted; `UNKNOWN` before the first sight."""
        return self._of_kind(SharesSeen, lambda event: event.free_schedulable)

    @cached_property
    def spare_shares(self) -> Seen:
        """Free shares on all registered workers, less one for each window's Job that still waits for its share."""
        return self._spare(lambda event: event.free)

    @cached_property
    def spare_schedulable(self) -> Seen:
        """Free shares on Ready and schedulable workers, less one for each window's Job that still waits for its share."""
        return self._spare(lambda event: event.free_schedulable)

    def _spare(self, counted: Callable[[SharesSeen], int]) -> Seen:
        free = UNKNOWN
        unfinished: set[str] = set()
        placed: dict[str, str] = {}  # pod to job
        changes: list[tuple[int, int, str]] = []
        for record in self._ordered((SharesSeen, PodSeen, JobSeen)):
            event = record.event
            if isinstance(event, SharesSeen):
                free = counted(event)
            elif isinstance(event, JobSeen) and event.job.startswith(STREAM_JOB):
                waits = event.exists and event.state in ("", "active")
                (unfinished.add if waits else unfinished.discard)(event.job_id)
            elif isinstance(event, PodSeen) and event.role == "stream":
                placed.pop(event.pod, None)
                if event.exists and event.node and event.phase in ("Pending", "Running"):
                    placed[event.pod] = event.job_id
            if free != UNKNOWN:
                waiting = len(unfinished.difference(placed.values()))
                changes.append((event.at_ns, max(0, free - waiting), identity(record)))
        return seen_of(changes)

    @cached_property
    def dependencies(self) -> dict[str, Seen]:
        """Per dependency: UP, DOWN or (before its first sight) UNKNOWN."""
        return {
            name: self._of_kind(
                DependencySeen, lambda event: int(event.up), lambda event, name=name: event.dependency == name
            )
            for name in DEPENDENCIES
        }

    @cached_property
    def ready_pods(self) -> dict[str, Seen]:
        """Per role: how many of its pods are Ready; `UNKNOWN` before the first sight."""
        return {role: self._count_pods(role, lambda pod: pod.ready and not pod.terminating) for role in ROLES}

    @cached_property
    def existing_pods(self) -> dict[str, Seen]:
        """Per role: how many of its pods exist and are not being ended; `UNKNOWN` before the first sight."""
        return {role: self._count_pods(role, lambda pod: not pod.terminating) for role in ROLES}

    def became_ready(self, role: str) -> Steps:
        """Return 1 at each instant at which a role that had no ready pod got one, 0 a nanosecond later."""
        steps = self.ready_pods[role].steps
        rising = (steps.values[1:] > 0) & (steps.values[:-1] == 0)
        at_ns = steps.at_ns[rising]
        return Steps.of([pair for at in at_ns.tolist() for pair in ((at, 1), (at + 1, 0))], 0)

    @cached_property
    def unreached(self) -> Steps:
        """1 while the question whether Focus Server is there got no answer at all, not even one that says no."""
        changes = [
            (event.at_ns, int(not event.up and ANSWERED not in event.detail))
            for _, event in self.of(DependencySeen)
            if event.dependency == "focus_server"
        ]
        return Steps.of(changes, 0)

    @cached_property
    def watches_cut(self) -> Steps:
        """How many of the watches of the cluster said that they were cut off: they notice at once when the API server goes."""
        blind: dict[str, int] = {}
        changes = []
        for _, state in self.of(WatcherState):
            if state.watcher in CUT_TOGETHER:
                blind[state.watcher] = int(not state.seeing and bool(blind.get(state.watcher) is not None))
                changes.append((state.at_ns, sum(blind.values())))
        return Steps.of(changes, 0)

    @cached_property
    def shares_of_hogs(self) -> Steps:
        """Shares held by pods that a fault made, or that only hold."""
        return Steps.of([(event.at_ns, event.by_hogs) for _, event in self.of(SharesSeen)], 0)

    @cached_property
    def unusable_workers(self) -> tuple[Steps, Steps, Steps]:
        """How many workers were cordoned, not Ready, and tainted so that nothing new may run."""
        nodes: dict[str, NodeSeen] = {}
        changes: list[tuple[int, int, int, int]] = []
        for _, event in self.of(NodeSeen):
            nodes[event.node] = event
            workers = [node for node in nodes.values() if node.worker and node.exists]
            changes.append(
                (
                    event.at_ns,
                    sum(node.unschedulable for node in workers),
                    sum(node.ready != "True" for node in workers),
                    sum(any(taint.endswith(FORBIDDING) for taint in node.taints) for node in workers),
                )
            )
        cordoned, unready, tainted = (
            Steps.of([(change[0], change[which]) for change in changes], 0) for which in (1, 2, 3)
        )
        return cordoned, unready, tainted

    @cached_property
    def slots_seen(self) -> Seen:
        """Held slots, and the records that say so."""
        return self._of_kind(SlotsSeen, lambda event: event.slots)

    def latency(self, name: str) -> Steps:
        """Return how long a dependency took to answer, in nanoseconds, from each time it was written on; 0 while it is down."""
        changes = [
            (event.at_ns - event.latency_ns, event.latency_ns if event.up else 0)
            for _, event in self.of(DependencySeen)
            if event.dependency == name
        ]
        return Steps.of(changes, 0)

    def unheard(self, name: str) -> Steps:
        """Return 1 while a dependency did not answer, until the first question was asked that it answered, however late."""
        changes = [
            (event.at_ns - event.latency_ns if event.up else event.at_ns, int(not event.up))
            for _, event in self.of(DependencySeen)
            if event.dependency == name
        ]
        return Steps.of(sorted(changes), 0)

    # --- the load ---------------------------------------------------------------------------------

    @cached_property
    def in_flight(self) -> Steps:
        """How many creates of ours were unanswered."""
        rows = self.attempts.rows
        creates = rows[rows["operation"] == self.attempts.number(CONFIGURE)]
        return Steps.counting(creates["sent_ns"].astype(np.int64), creates["done_ns"].astype(np.int64))

    @cached_property
    def engine_lag(self) -> Steps:
        """How late the load's event loop was, in nanoseconds, over the second that each word about it covers."""
        last: dict[str, int] = {}
        changes: list[tuple[int, int]] = []
        for record, event in self.of(LoadState):
            since_ns = last.get(record.writer)
            last[record.writer] = event.at_ns
            silent_ns = 0 if since_ns is None else event.at_ns - since_ns - BEAT_NS
            lag_ns = max(event.lag_ns, silent_ns)
            from_ns = event.at_ns - BEAT_NS - lag_ns
            changes += [(from_ns if since_ns is None else max(from_ns, since_ns), lag_ns), (event.at_ns, 0)]
        return Steps.of(sorted(changes), 0)

    # --- the three counts -------------------------------------------------------------------------

    @cached_property
    def streams(self) -> Steps:
        """Own windows with a live stream, as all engines together count them; `UNKNOWN` before their first word."""
        latest: dict[str, int] = {}
        changes = []
        for record, event in self.of(LoadState):
            latest[record.writer] = event.streams_open
            changes.append((event.at_ns, sum(latest.values())))
        return Steps.of(changes, UNKNOWN)

    @cached_property
    def pods(self) -> Steps:
        """Running stream pods; `UNKNOWN` before the first sight and while the pods' watcher is blind."""
        return self._slots(lambda event: event.running_pods, "pods")

    @cached_property
    def slots(self) -> Steps:
        """Held slots; `UNKNOWN` before the first sight and while the Services' watcher is blind."""
        return self._slots(lambda event: event.slots, SLOTS_WATCHER)

    @cached_property
    def foreign(self) -> Steps:
        """Slots held by windows that no request of ours explains; `UNKNOWN` while the Services' watcher is blind."""
        if self.windows.foreign is None:
            return Steps.of([], UNKNOWN)
        return masked(self.windows.foreign_open, self.blind.get(SLOTS_WATCHER))

    def _ordered(self, kinds: Iterable[type[Event]]) -> list[Record]:
        records = [record for kind in kinds for record in self._by_kind.get(kind, ())]
        return sorted(records, key=lambda record: (record.event.at_ns, record.writer, record.seq))

    def of(self, kind: type[Kind]) -> Iterator[tuple[Record, Kind]]:
        """Yield the observations of one kind with their records, in order of time."""
        for record in self._by_kind.get(kind, ()):
            yield record, record.event  # type: ignore[misc]

    def _slots(self, value: Callable[[SlotsSeen], int], watcher: str) -> Steps:
        changes = [(event.at_ns, value(event)) for _, event in self.of(SlotsSeen)]
        return masked(Steps.of(changes, UNKNOWN), self.blind.get(watcher))

    def _of_kind(
        self,
        kind: type[SharesSeen] | type[DependencySeen] | type[SlotsSeen],
        value: Callable[..., int],
        wanted: Callable[..., bool] = lambda _event: True,
    ) -> Seen:
        return seen_of(
            (event.at_ns, value(event), identity(record)) for record, event in self.of(kind) if wanted(event)
        )

    def _count_pods(self, role: str, wanted: Callable[[PodSeen], bool]) -> Seen:
        counted: dict[str, bool] = {}
        changes: list[tuple[int, int, str]] = []
        for record, event in self.of(PodSeen):
            if event.role == role:
                counted[event.pod] = event.exists and wanted(event)
                changes.append((event.at_ns, sum(counted.values()), identity(record)))
        return seen_of(changes)
