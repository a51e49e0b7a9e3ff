"""The cluster as the watches have told it so far: small tables of nodes, pods and slots, and the sums they give.

Called from the watch threads with every change; writes observations to the notebook. `SharesSeen` and `SlotsSeen` are written
when the sums change, and only once everything they are summed from has been listed.
"""

import threading

from harness.cluster import Object, name_of, uid_of
from harness.cluster.kinds import holds_resources
from harness.history.events import JobSeen, NodeSeen, PodSeen, ServiceSeen, SharesSeen, SlotsSeen
from harness.observe.notebook import Notebook
from harness.observe.reading import Reader

FORBIDDING = (":NoSchedule", ":NoExecute")


class ClusterView:
    """Tables of what exists; safe to call from threads."""

    def __init__(self, reader: Reader, notebook: Notebook) -> None:
        self._reader = reader
        self._notebook = notebook
        self._lock = threading.Lock()
        self._nodes: dict[str, NodeSeen] = {}
        self._pods: dict[str, tuple[PodSeen, bool]] = {}
        self._slots: set[str] = set()
        self._listed: set[str] = set()
        self._before: frozenset[str] = frozenset()

    def listed(self, kind: str) -> None:
        """Take note that all objects of `kind` are known."""
        with self._lock:
            if kind == "services" and kind not in self._listed:
                self._before = frozenset(self._slots)
            self._listed.add(kind)
            self._sums()

    def node(self, obj: Object, *, exists: bool) -> None:
        """Take in a node."""
        seen = self._reader.node(obj, self._notebook.now(), exists=exists)
        with self._lock:
            if exists:
                self._nodes[seen.node] = seen
            else:
                self._nodes.pop(seen.node, None)
            self._note(seen, seen.node, exists)
            self._sums()

    def pod(self, obj: Object, *, exists: bool) -> None:
        """Take in a pod, if it is one that is followed."""
        if not self._reader.follows(obj):
            return
        seen = self._reader.pod(obj, self._notebook.now(), exists=exists)
        with self._lock:
            if exists:
                self._pods[uid_of(obj)] = (seen, holds_resources(obj))
            else:
                self._pods.pop(uid_of(obj), None)
            self._note(seen, seen.pod, exists)
            self._sums()

    def job(self, obj: Object, *, exists: bool) -> None:
        """Take in a Job, if it is a window's."""
        seen = self._reader.job(obj, self._notebook.now(), exists=exists)
        if seen is not None:
            self._note(seen, seen.job, exists)

    def service(self, obj: Object, *, exists: bool) -> None:
        """Take in a Service, if it is a window's: a held slot."""
        seen = self._reader.service(obj, self._notebook.now(), exists=exists)
        if seen is None:
            return
        with self._lock:
            if exists:
                self._slots.add(name_of(obj))
            else:
                self._slots.discard(name_of(obj))
            self._note(seen, seen.service, exists)
            self._sums()

    def pods_of(self, role: str) -> tuple[str, ...]:
        """Return the names of the running pods that play `role`."""
        with self._lock:
            pods = [seen for seen, _ in self._pods.values()]
        return tuple(sorted(pod.pod for pod in pods if pod.role == role and pod.phase == "Running"))

    def _note(self, seen: NodeSeen | PodSeen | JobSeen | ServiceSeen, key: str, exists: bool) -> None:
        self._notebook.note(seen, key)
        if not exists:
            self._notebook.forget(type(seen), key)

    def _sums(self) -> None:
        at_ns = self._notebook.now()
        if {"nodes", "pods"} <= self._listed:
            self._notebook.note(self._shares(at_ns))
        if {"pods", "services"} <= self._listed:
            self._notebook.note(self._count_slots(at_ns))

    def _shares(self, at_ns: int) -> SharesSeen:
        used: dict[str, int] = {}
        by_hogs = 0
        for pod, holds in self._pods.values():
            if holds and pod.gpu:
                used[pod.node] = used.get(pod.node, 0) + pod.gpu
                by_hogs += pod.gpu if pod.role == "hog" else 0
        workers = [node for node in self._nodes.values() if node.worker]
        free = {node.node: max(0, node.gpu_allocatable - used.get(node.node, 0)) for node in workers}
        total = sum(node.gpu_allocatable for node in workers)
        return SharesSeen(
            at_ns=at_ns,
            total=total,
            used=sum(used.get(node.node, 0) for node in workers),
            free=sum(free.values()),
            free_schedulable=sum(free[node.node] for node in workers if usable(node)),
            by_hogs=by_hogs,
        )

    def _count_slots(self, at_ns: int) -> SlotsSeen:
        streams = [pod for pod, _ in self._pods.values() if pod.role == "stream" and not pod.terminating]
        return SlotsSeen(
            at_ns=at_ns,
            running_pods=sum(pod.phase == "Running" for pod in streams),
            pending_pods=sum(pod.phase == "Pending" for pod in streams),
            slots=len(self._slots),
            foreign=len(self._before & self._slots),
        )


def usable(node: NodeSeen) -> bool:
    """Return whether new pods may start on a node: Ready, schedulable, and without a taint that forbids it."""
    return (
        node.ready == "True"
        and not node.unschedulable
        and not any(taint.endswith(FORBIDDING) for taint in node.taints)
    )
