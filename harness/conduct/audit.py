"""Look for what a run leaves behind, before it, after it, and once more later: Jobs, pods, Services, slots, shares, tasks, queues, marks, processes.

Waits until everything of ours that was made during the run is gone or the campaign's `drain` is over, and, if something of ours is
left, for `leaks.later` more. What is left then is named in the record with the window or fault that made it.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from harness.clock import SECOND_NS
from harness.cluster import Cluster
from harness.conduct.makers import FOREIGN, Makers
from harness.conduct.stop import Stop
from harness.conduct.things import (
    CORE,
    KINDS,
    OF_FAULTS,
    PROCESS,
    QUEUE,
    SOCKET,
    TASK,
    Look,
    Thing,
    look_at,
)
from harness.history.events import (
    AuditSeen,
    Event,
    FaultChanged,
    LeftoverSeen,
    Note,
    ProcessStarted,
    Record,
    WatcherState,
)
from harness.measures.catalogue import LEFTOVER_WATCH
from harness.observe.leftovers import QUEUE_OF, CannotLook, Queues, tasks_of
from harness.observe.processes import connections_of, runs
from harness.target import Target

POLL_S, LONGEST_POLL_S = 0.5, 3.0
"""Between two looks; what stays longer is looked at less often."""


def _nobody_waits() -> None:
    pass


class Audit:
    """The looks of one run; the first one is taken as it is made, and `keep` is called meanwhile."""

    def __init__(
        self,
        cluster: Cluster,
        target: Target,
        records: Callable[[], Iterable[Record]],
        keep: Callable[[], object] = _nobody_waits,
    ) -> None:
        self._cluster = cluster
        self._target = target
        self._records = records
        self._makers = Makers(())
        self._pids: dict[int, ProcessStarted] = {}
        self._queues = Queues(target.broker_uri) if target.broker_uri else None
        self._keep = keep
        self.before = self._look(0)

    def after(
        self, wait_s: float, later_s: float, stop: Stop, keep: Callable[[], object], now: Callable[[], int]
    ) -> Iterator[Event]:
        """Wait for things to go, look again later where some have not (a run that was stopped does not), and say what there is to say."""
        records = list(self._records())
        self._keep = keep
        self._makers = Makers(records, there_before=self.before.job_ids())
        started = (record.event for record in records if isinstance(record.event, ProcessStarted))
        self._pids = {event.pid: event for event in started if event.pid != os.getpid()}
        later = after = self._until_gone(wait_s, stop, now)
        if (left := self._ours(after)) and later_s > 0 and not stop.asked:
            kinds = ", ".join(
                f"{count} x {kind}" for kind, count in sorted(Counter(thing.kind for thing in left).items())
            )
            text = f"still there, waited for up to {later_s:g} s more: {kinds}"
            yield Note(at_ns=now(), level="info", text=text)
            later = self._until_gone(later_s, stop, now)
        played = any(isinstance(record.event, FaultChanged) for record in records)
        yield from self._said(after, later, played, now)

    def _until_gone(self, wait_s: float, stop: Stop, now: Callable[[], int]) -> Look:
        began = time.monotonic()
        while True:
            look = self._look(now())
            waited = time.monotonic() - began
            all_gone = not (self._ours(look) or look.blind.keys() - OF_FAULTS)
            if all_gone or stop.insisted or waited >= wait_s:
                return look
            stop.pause(min(max(POLL_S, waited / 20), LONGEST_POLL_S))

    def _ours(self, look: Look) -> frozenset[Thing]:
        """Return what is or may be ours of what came since the run began; nobody waits for the windows of others."""
        came = look.things - self.before.things
        return frozenset(thing for thing in came if self._makers.of(thing)[0] != FOREIGN)

    # --- looking ----------------------------------------------------------------------------------

    def _look(self, now_ns: int) -> Look:
        look = look_at(self._cluster, self._target.gpu_resource, self._keep)
        known = {*self._makers.windows, *look.job_ids()}
        if uri := self._target.mongodb_uri:
            self._keep()
            self._ask(look, TASK, lambda: tasks_of(uri, known), "{}")
        if self._queues is not None:
            queues, known = self._queues, known | look.job_ids()
            self._keep()
            self._ask(look, QUEUE, lambda: queues.of(known), QUEUE_OF)
        self._keep()
        for pid, event in self._pids.items():
            if runs(pid, (now_ns - event.at_ns) / SECOND_NS):
                who = f"{event.process} (pid {pid})"
                look.things.add(Thing(PROCESS, who))
                look.things |= {Thing(SOCKET, f"{sockets} of {who}") for sockets in connections_of(pid)}
        self._makers.note_marks(look.things)
        return look

    def _ask(self, look: Look, kind: str, asked: Callable[[], frozenset[str]], called: str) -> None:
        try:
            look.things |= {Thing(kind, called.format(job_id), job_id) for job_id in asked()}
        except CannotLook as error:
            look.blind[kind] = str(error)

    # --- saying -----------------------------------------------------------------------------------

    def _said(self, after: Look, later: Look, played: bool, now: Callable[[], int]) -> Iterator[Event]:
        """Tell the counts of each kind, and every thing that came and is left; what only faults make is nobody's blind spot without any."""
        unseen = {kind: why for kind, why in later.blind.items() if kind in CORE}
        yield WatcherState(
            at_ns=now(),
            watcher=LEFTOVER_WATCH,
            seeing=not unseen,
            detail="; ".join(dict.fromkeys(unseen.values())),
        )
        before, then, last = (look.counts() for look in (self.before, after, later))
        for kind in self._kinds():
            excused = kind in OF_FAULTS and not unseen and not played
            yield AuditSeen(
                at_ns=now(),
                object_kind=kind,
                before=before[kind],
                after=then[kind],
                later=last[kind],
                seen=kind not in later.blind or excused,
                detail=later.blind.get(kind, ""),
            )
        for thing in sorted(later.things - self.before.things):
            owner, made_by = self._makers.of(thing)
            yield LeftoverSeen(
                at_ns=now(),
                object_kind=thing.kind,
                name=thing.name,
                owner=owner,
                job_id=thing.job_id,
                made_by=made_by,
            )

    def _kinds(self) -> tuple[str, ...]:
        asked = {TASK: self._target.mongodb_uri, QUEUE: self._target.broker_uri}
        return tuple(kind for kind in KINDS if asked.get(kind, "yes"))
