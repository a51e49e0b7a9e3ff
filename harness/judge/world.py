"""What was so at an instant, as far as anybody saw: the world as watchers and clients observed it.

Built once per run from observations and client outcomes only; it knows nothing of faults that were injected, and no module it
imports does. Answers are three-valued: a watcher's blind spot makes `UNKNOWN`, never `no`. Context and blame ask it; the
tables of seconds read its step functions.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np

from harness.history.events import (
    DependencySeen,
    Event,
    FirstFrame,
    JobSeen,
    LoadState,
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

OBSERVATIONS = (
    DependencySeen,
    FirstFrame,
    JobSeen,
    LoadState,
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

DEPENDENCIES = ("focus_server", "kubernetes_api", "mongodb", "broker", "fibre")
BEHIND_THE_API = ("nodes", "pods", "jobs", "services", "events")


class World:
    """The observed run. Instants are nanoseconds since the run's start; `end_ns` is its last instant."""

    def __init__(self, records: Sequence[Record], attempts: Samples, end_ns: int) -> None:
        self._by_kind: dict[type[Event], list[Record]] = {
            kind: found for kind, found in by_kind(records).items() if issubclass(kind, OBSERVATIONS)
        }
        self._attempts = attempts
        self.end_ns = end_ns

    # --- who could see ----------------------------------------------------------------------------

    @cached_property
    def blind(self) -> dict[str, Steps]:
        """Per watcher: 1 while it could not see, 0 while it could; before its first word it could not.

        A watch learns late that its connection is dead, so while the API server does not answer, no watch can see.
        """
        states: dict[str, list[tuple[int, int]]] = {}
        for _, state in self._of(WatcherState):
            if state.watcher == LEFTOVER_WATCH:
                continue  # looks once, at the end, and is no witness of anything before
            states.setdefault(state.watcher, []).append((state.at_ns, int(not state.seeing)))
        told = {watcher: Steps.of(changes, 1) for watcher, changes in sorted(states.items())}
        silent = self.dependencies["kubernetes_api"].steps.equal(DOWN)
        return {
            watcher: either(steps, silent) if watcher in BEHIND_THE_API else steps
            for watcher, steps in told.items()
        }

    def blind_at(self, watcher: str, from_ns: Ints, to_ns: Ints) -> Ints:
        """Return 1 for each interval in which `watcher` could not see all the time (or never was there)."""
        steps = self.blind.get(watcher)
        return np.ones(len(from_ns), dtype=np.int64) if steps is None else steps.highest(from_ns, to_ns)

    # --- windows ----------------------------------------------------------------------------------

    @cached_property
    def windows(self) -> Windows:
        """Every window, and the two counts of open ones."""
        blind = self.blind.get(SLOTS_WATCHER, Steps.of([], 1))
        return find_windows(self._ordered(WINDOW_KINDS), self._attempts, blind, self.end_ns)

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
        """Per role that is also a dependency: how many of its pods are Ready; `UNKNOWN` before the first sight."""
        return {role: self._ready_pods(role) for role in DEPENDENCIES}

    # --- the three counts -------------------------------------------------------------------------

    @cached_property
    def streams(self) -> Steps:
        """Own windows with a live stream, as all engines together count them; `UNKNOWN` before their first word."""
        latest: dict[str, int] = {}
        changes = []
        for record, event in self._of(LoadState):
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

    def _of(self, kind: type[Kind]) -> Iterator[tuple[Record, Kind]]:
        for record in self._by_kind.get(kind, ()):
            yield record, record.event  # type: ignore[misc]

    def _slots(self, value: Callable[[SlotsSeen], int], watcher: str) -> Steps:
        changes = [(event.at_ns, value(event)) for _, event in self._of(SlotsSeen)]
        return masked(Steps.of(changes, UNKNOWN), self.blind.get(watcher))

    def _of_kind(
        self,
        kind: type[SharesSeen] | type[DependencySeen],
        value: Callable[..., int],
        wanted: Callable[..., bool] = lambda _event: True,
    ) -> Seen:
        return seen_of(
            (event.at_ns, value(event), identity(record)) for record, event in self._of(kind) if wanted(event)
        )

    def _ready_pods(self, role: str) -> Seen:
        ready: dict[str, bool] = {}
        changes: list[tuple[int, int, str]] = []
        for record, event in self._of(PodSeen):
            if event.role == role:
                ready[event.pod] = event.exists and event.ready and not event.terminating
                changes.append((event.at_ns, sum(ready.values()), identity(record)))
        return seen_of(changes)
