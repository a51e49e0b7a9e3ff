"""Look, after the load has stopped, for what it left behind: Jobs, Services and pods of windows, and of faults.

Waits until everything made during the run is gone or the campaign's `drain` is over; what is left then is named in the
record. What was there before the run is foreign and not counted as ours.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.chaos import ENTRY_LABEL
from harness.cluster import Cluster, labels_of, name_of
from harness.conduct.stop import Stop
from harness.errors import TargetError
from harness.history.events import LeftoverSeen

WINDOW_OBJECT = re.compile(r"(?:grpc-job|cleanup-job|grpc-service)-(\d+-\d+)(?:-\w+)?")


@dataclass(frozen=True, slots=True, order=True)
class Leftover:
    """One object that should be gone."""

    kind: str
    name: str
    job_id: str
    """Of a window's object; empty for a fault's."""


def window_objects(cluster: Cluster) -> frozenset[Leftover]:
    """Return every object of a window, and everything that carries a fault's mark, as the cluster has them now."""
    found: set[Leftover] = set()
    pods = [*cluster.pods(), *cluster.pods(ENTRY_LABEL, cluster.harness_namespace)]
    for kind, objects in (("Job", cluster.jobs()), ("Service", cluster.services()), ("Pod", pods)):
        for obj in objects:
            match = WINDOW_OBJECT.fullmatch(name_of(obj))
            if match:
                found.add(Leftover(kind, name_of(obj), match[1]))
            elif ENTRY_LABEL in labels_of(obj):
                found.add(Leftover(kind, name_of(obj), ""))
    return frozenset(found)


def wait_for_cleanup(
    cluster: Cluster, before: frozenset[Leftover], wait_s: float, stop: Stop, renew: Callable[[], None]
) -> frozenset[Leftover] | None:
    """Wait until nothing is left that was not there `before`; return what is left, None if it could not be seen."""
    left: frozenset[Leftover] | None = None
    until = time.monotonic() + wait_s
    while True:
        renew()
        try:
            left = window_objects(cluster) - before
        except TargetError:
            left = None
        if left == frozenset() or stop.insisted or time.monotonic() >= until:
            break
        stop.pause(0.5)
    return left


def as_event(leftover: Leftover, own_jobs: frozenset[str], at_ns: int) -> LeftoverSeen:
    """Name the owner of a leftover: a window of this run, a fault, or somebody else who came while it ran."""
    owner = "fault" if not leftover.job_id else "own" if leftover.job_id in own_jobs else "foreign"
    return LeftoverSeen(at_ns=at_ns, object_kind=leftover.kind, name=leftover.name, owner=owner)
