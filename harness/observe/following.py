"""Follow the cluster: one thread per kind of object, list then watch, each with its own word on whether it can see.

Called by `watchers`. A kind the identity may not watch is said to be unseen, once, and asked for again now and then: rights come
and go (taking them away is a fault we inject).
"""

import threading
from collections.abc import Callable

from harness.clock import SECOND_NS
from harness.cluster import Cluster, Object, Right, missing_rights, uid_of
from harness.cluster.watch import Change
from harness.errors import TargetError
from harness.observe.notebook import Notebook
from harness.observe.reading import Reader
from harness.observe.view import ClusterView

EVENT_GAP_NS = 5 * SECOND_NS
"""The same Kubernetes Event counted up again within this time is not repeated in the record."""

Take = Callable[[Object, bool], None]


def follow(
    cluster: Cluster, reader: Reader, view: ClusterView, notebook: Notebook, stop: threading.Event
) -> list[tuple[str, Callable[[], None]]]:
    """Return what each thread has to do, by the watcher's name."""
    events = EventLog(reader, notebook)
    kinds: list[tuple[str, Take, Callable[[str], None], bool]] = [
        ("nodes", lambda obj, exists: view.node(obj, exists=exists), view.listed, False),
        ("pods", lambda obj, exists: view.pod(obj, exists=exists), view.listed, True),
        ("jobs", lambda obj, exists: view.job(obj, exists=exists), view.listed, False),
        ("services", lambda obj, exists: view.service(obj, exists=exists), view.listed, False),
        ("events", events.take, events.listed, True),
    ]

    def task(kind: str, take: Take, listed: Callable[[str], None], everywhere: bool) -> Callable[[], None]:
        def on_change(change: Change) -> None:
            if change.what == "SYNCED":
                listed(kind)
            else:
                take(change.obj, change.what != "DELETED")

        def on_gap(seeing: bool, why: str) -> None:
            notebook.seeing(kind, seeing=seeing, detail=why)

        def run() -> None:
            namespace = "*" if everywhere and _may_everywhere(cluster, kind) else None
            cluster.watch(kind, stop, on_change, on_gap, namespace=namespace)

        return run

    return [(kind, task(kind, take, listed, everywhere)) for kind, take, listed, everywhere in kinds]


def _may_everywhere(cluster: Cluster, kind: str) -> bool:
    """Return whether a kind may be watched in all namespaces; if that cannot be asked, only the system's is."""
    try:
        return not missing_rights(cluster, [Right("list", kind), Right("watch", kind)])
    except TargetError:
        return False


class EventLog:
    """Kubernetes' Events: those that were there before are skipped, repeated ones are thinned out."""

    def __init__(self, reader: Reader, notebook: Notebook) -> None:
        self._reader = reader
        self._notebook = notebook
        self._began = False
        self._written_ns: dict[str, int] = {}

    def listed(self, _kind: str) -> None:
        """Take note that the old events are over."""
        self._began = True

    def take(self, obj: Object, exists: bool) -> None:
        """Write an event, unless it is old, ordinary or has just been written."""
        if not exists:
            self._written_ns.pop(uid_of(obj), None)
            return
        at_ns = self._notebook.now()
        before_ns = self._written_ns.get(uid_of(obj))
        if before_ns is not None and at_ns - before_ns < EVENT_GAP_NS:
            return
        self._written_ns[uid_of(obj)] = at_ns
        if self._began and (seen := self._reader.event(obj, at_ns)) is not None:
            self._notebook.append(seen)
