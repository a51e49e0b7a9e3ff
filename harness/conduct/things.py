"""What should be gone after a run, as the cluster shows it: windows' objects, slots and shares, marks of faults, Leases.

Called by the audit. A kind that may not be listed is blind with the reason and the others are still looked at; a cluster that does
not answer is blind in all of them. It changes nothing.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.chaos import ENTRY_LABEL
from harness.cluster import Cluster, Object, gpu_request, labels_of, name_of
from harness.cluster.kinds import condition
from harness.cluster.lease import LEASE_NAME
from harness.errors import TargetError, Unreachable

WINDOW_OBJECT = re.compile(r"(grpc-job|cleanup-job|grpc-service)-(\d+-\d+)(?:-\w+)?")
JOB, SERVICE, POD, SHARE, SLOT = "Job", "Service", "Pod", "GPU share", "slot"
MARK, LEASE = "fault's object", "Lease"
TASK, QUEUE, PROCESS, SOCKET = "task", "queue", "process", "client socket"
IN_CLUSTER = (JOB, SERVICE, POD, SHARE, SLOT, MARK, LEASE)
KINDS = (*IN_CLUSTER, TASK, QUEUE, PROCESS, SOCKET)
CORE = frozenset({JOB, SERVICE, POD})
"""Who does not see these has not looked."""
OF_FAULTS = frozenset({MARK, LEASE})
"""What only faults make; whoever plays none need not be allowed to list it."""
SHOWN_BY = {"jobs": (JOB, SLOT), "services": (SERVICE, SLOT), "pods": (POD, SHARE)}
"""Which kinds of things nobody sees who may not list these objects."""
MADE_BY_FAULTS = ("pods", "configmaps", "networkpolicies")
"""Looked for in the harness' and in the system's namespace."""
MARKED_BY_FAULTS = ("deployments", "statefulsets", "nodes")
"""Changed by faults, and marked as long as they are; Jobs, Services and Pods are listed anyway."""


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """One thing that should be gone."""

    kind: str
    name: str
    job_id: str = ""
    """Of a window's object."""
    entry: str = ""
    """Of the fault that made or changed it."""


@dataclass
class Look:
    """What was there at one look; `blind` says what could not be looked at, and why."""

    things: set[Thing] = field(default_factory=set)
    blind: dict[str, str] = field(default_factory=dict)

    def counts(self) -> Counter[str]:
        """Return how many things of each kind there were."""
        return Counter(thing.kind for thing in self.things)

    def job_ids(self) -> set[str]:
        """Return the windows that anything is there of."""
        return {thing.job_id for thing in self.things if thing.job_id}


def look_at(cluster: Cluster, gpu_resource: str, keep: Callable[[], object]) -> Look:
    """Return what the cluster shows; `keep` is called before each request."""
    look = Look()

    def listed(blinds: tuple[str, ...], ask: Callable[[], list[Object]]) -> list[Object]:
        keep()
        try:
            return ask()
        except Unreachable:
            raise
        except TargetError as error:  # not everybody may list everything
            look.blind |= dict.fromkeys(blinds, str(error))
            return []

    try:
        jobs = listed(SHOWN_BY["jobs"], cluster.jobs)
        services = listed(SHOWN_BY["services"], cluster.services)
        pods = listed(SHOWN_BY["pods"], cluster.pods)
        look.things |= {*_of_windows(JOB, jobs), *_of_windows(SERVICE, services), *_of_windows(POD, pods)}
        look.things |= {*_slots(jobs, services), *_shares(pods, gpu_resource)}
        marked = [("Job", jobs), ("Service", services)]
        both = dict.fromkeys((cluster.harness_namespace, cluster.namespace))
        places = [(kind, namespace) for kind in MADE_BY_FAULTS for namespace in both]
        places += [(kind, cluster.namespace) for kind in MARKED_BY_FAULTS]
        for kind, namespace in places:
            found = listed((MARK,), lambda: cluster.objects(kind, namespace, ENTRY_LABEL))  # noqa: B023  (called at once)
            marked.append((kind.removesuffix("s"), found))
        look.things |= {thing for kind, objects in marked for thing in _marks(kind, objects)}
        leases = listed((LEASE,), lambda: cluster.objects("leases", cluster.harness_namespace))
        look.things |= {Thing(LEASE, name_of(lease)) for lease in leases if name_of(lease) != LEASE_NAME}
    except Unreachable as error:
        return Look(blind=dict.fromkeys(IN_CLUSTER, str(error)))
    return look


def _of_windows(kind: str, objects: list[Object]) -> set[Thing]:
    named = ((name_of(obj), labels_of(obj).get(ENTRY_LABEL, "")) for obj in objects)
    return {
        Thing(kind, name, match[2], entry)
        for name, entry in named
        if (match := WINDOW_OBJECT.fullmatch(name))
    }


def _slots(jobs: list[Object], services: list[Object]) -> set[Thing]:
    """Return the slots that are held: a window's Service is there, or its Job is not over."""
    names = [name_of(service) for service in services]
    names += [
        name_of(job) for job in jobs if "True" not in {condition(job, "Complete"), condition(job, "Failed")}
    ]
    found = (WINDOW_OBJECT.fullmatch(name) for name in names)
    held = {match[2] for match in found if match and match[1] != "cleanup-job"}
    return {Thing(SLOT, f"slot {job_id.partition('-')[0]} held by {job_id}", job_id) for job_id in held}


def _shares(pods: list[Object], resource: str) -> set[Thing]:
    """Return the shares that windows' pods hold; a pod that is over holds none."""
    found = set()
    for pod in pods:
        match = WINDOW_OBJECT.fullmatch(name_of(pod))
        over = pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}
        if match and not over and (shares := gpu_request(pod, resource)):
            found.add(Thing(SHARE, f"{shares} held by {name_of(pod)}", match[2]))
    return found


def _marks(kind: str, objects: list[Object]) -> set[Thing]:
    """Return what faults made or changed, but windows' objects: those are told as such."""
    labelled = ((obj, labels_of(obj).get(ENTRY_LABEL, "")) for obj in objects)
    return {
        Thing(MARK, f"{obj.get('kind') or kind} {name_of(obj)}", entry=entry)
        for obj, entry in labelled
        if entry and not WINDOW_OBJECT.fullmatch(name_of(obj))
    }
