"""Windows as the cluster shows them: Jobs, pods and Services joined by the job id in their names, and which of them are provably stale.

Used by the checks that count and the remedies that delete. Field selectors for windows match nothing, so names it is. What cannot be
proven stale is a reason, in words, to leave it alone.
"""

import re
from dataclasses import dataclass, field

from harness.cluster import Object, name_of
from harness.cluster.kinds import METRICS, condition
from harness.doctor.result import CannotLook
from harness.doctor.sight import Sight, marked

OF_WINDOW = re.compile(r"^(grpc-job|cleanup-job|grpc-service)-(\d+-\d+)(?:-[a-z0-9]+)?$")
IDLE_M = 4.0
"""Millicores at or below which the system's own cleanup calls a window idle."""
UNREAD_M = 0.5
"""Millicores at or below which a pod sends nothing to anybody: a pod that somebody reads uses more."""
PENDING_S = 180.0
"""A pod that has waited this long for a place is not about to get one."""
LEAST_PENDING_S = 30.0
"""Less than this is a start, whatever `--older-than` says."""
TTL_GRACE_S = 15.0


@dataclass(slots=True)
class Window:
    """One window: what of it exists."""

    job_id: str
    job: Object | None = None
    cleanup: Object | None = None
    service: Object | None = None
    pods: list[Object] = field(default_factory=list)
    cpu_m: float | None = None
    """What its stream pod uses at the moment; None where nobody measures."""

    @property
    def finished(self) -> bool:
        """Whether its Job is over."""
        return self.job is not None and is_over(self.job)

    @property
    def holds_slot(self) -> bool:
        """Whether it counts against MaxWindows: its Service is there, or its Job is not over."""
        return self.service is not None or (self.job is not None and not self.finished)

    @property
    def running(self) -> bool:
        """Whether a stream pod of it runs."""
        return any(pod.get("status", {}).get("phase") == "Running" for pod in self.pods)

    @property
    def pending(self) -> list[Object]:
        """Its pods that wait for a place or a start."""
        return [pod for pod in self.pods if pod.get("status", {}).get("phase") == "Pending"]

    def oldest_s(self, sight: Sight) -> float:
        """Return the age of the first object made of it."""
        return max((sight.age_s(obj) for obj in (self.job, self.cleanup, self.service) if obj), default=0.0)

    def state(self, sight: Sight) -> str:
        """Return in words what it is doing, as far as that can be seen."""
        if self.job is None:
            return "only its Service is left" if self.service else "no Job"
        if self.finished:
            return "its Job is over"
        if self.pending:
            return "Pending"
        if not self.running:
            return "no pod"
        if self.cpu_m is None:
            return "running"
        return f"running, {self.cpu_m:.0f} m CPU" + (" (idle)" if self.cpu_m <= IDLE_M else "")


def windows_of(sight: Sight) -> dict[str, Window]:
    """Return all windows by job id; raises CannotLook."""
    found: dict[str, Window] = {}
    for kind in ("jobs", "services", "pods"):
        for obj in sight.objects(kind):
            match = OF_WINDOW.match(name_of(obj))
            if match is None:
                continue
            window = found.setdefault(match[2], Window(match[2]))
            if kind == "services" and match[1] == "grpc-service":
                window.service = obj
            elif kind == "jobs" and match[1] == "grpc-job":
                window.job = obj
            elif kind == "jobs" and match[1] == "cleanup-job":
                window.cleanup = obj
            elif kind == "pods" and match[1] == "grpc-job":
                window.pods.append(obj)
    for name, used in usage(sight).items():
        match = OF_WINDOW.match(name)
        if match is not None and match[1] == "grpc-job" and match[2] in found:
            found[match[2]].cpu_m = used
    return dict(sorted(found.items(), key=lambda item: [int(part) for part in item[0].split("-")]))


def usage(sight: Sight) -> dict[str, float]:
    """Return the millicores that pods use, by name; nothing where there is no metrics server."""
    try:
        measured = sight.objects(METRICS)
    except CannotLook:
        return {}
    return {
        name_of(pod): sum(
            _millicores(box.get("usage", {}).get("cpu", "0")) for box in pod.get("containers") or ()
        )
        for pod in measured
    }


def is_over(job: Object) -> bool:
    """Say whether a Job has completed or failed."""
    return "True" in {condition(job, "Complete"), condition(job, "Failed")}


def over_for_s(sight: Sight, job: Object) -> float:
    """Return how long ago a finished Job ended."""
    for one in job.get("status", {}).get("conditions") or ():
        if one.get("type") in {"Complete", "Failed"} and one.get("status") == "True":
            return sight.since_s(one.get("lastTransitionTime", ""))
    return 0.0


def past_ttl(sight: Sight, job: Object) -> bool:
    """Say whether a finished Job should have been collected by now."""
    ttl_s = job.get("spec", {}).get("ttlSecondsAfterFinished")
    return is_over(job) and ttl_s is not None and over_for_s(sight, job) > float(ttl_s) + TTL_GRACE_S


def stale_job(sight: Sight, window: Window) -> tuple[str, str]:
    """Return why a window's Job is provably stale, or else why that cannot be said; one of the two is empty."""
    job = window.job
    if job is None:
        return "", "it has no Job"
    young_s = sight.older_than_s
    if marked(job):
        return "", "a fault of ours made it: harness undo takes it back"
    if (age_s := sight.age_s(job)) < young_s:
        return "", f"it is {age_s:.0f} s old, younger than {young_s:.0f} s; wait, or say --older-than"
    if window.finished:
        if past_ttl(sight, job):
            return f"over for {over_for_s(sight, job):.0f} s and still there, past its TTL", ""
        return "", "it is over, and its TTL collects it by itself"
    if window.running:
        return _idle_and_alone(window)
    if any(pod.get("spec", {}).get("nodeName") for pod in window.pending):
        return "", "its pod has a node and is starting: describe it, if it takes too long"
    waited_s = max((sight.age_s(pod) for pod in window.pending), default=age_s)
    bound_s = max(LEAST_PENDING_S, young_s, min(PENDING_S, young_s * 3))
    if waited_s >= bound_s:
        return f"{'Pending' if window.pending else 'without a pod'} for {waited_s:.0f} s", ""
    return "", f"it has waited for {waited_s:.0f} s, less than {bound_s:.0f} s; it may still start"


def _idle_and_alone(window: Window) -> tuple[str, str]:
    if window.cleanup is not None and not is_over(window.cleanup):
        return (
            "",
            "its pod runs and its cleanup watches it: somebody's live window; close its client, and cleanup removes it",
        )
    if window.cpu_m is None:
        return (
            "",
            "its pod runs, and nobody measures whether it is read; look who reads it, then delete it by hand",
        )
    if window.cpu_m > UNREAD_M:
        return (
            "",
            f"its pod runs and works ({window.cpu_m:.1f} m CPU): somebody may read it; close that client first",
        )
    return f"running for nobody ({window.cpu_m:.1f} m CPU), and no cleanup watches it", ""


def stale_cleanup(sight: Sight, window: Window) -> tuple[str, str]:
    """Return why a window's cleanup Job is provably stale, or else why that cannot be said."""
    job = window.cleanup
    if job is None:
        return "", "it has no cleanup Job"
    if marked(job):
        return "", "a fault of ours made it: harness undo takes it back"
    if (age_s := sight.age_s(job)) < sight.older_than_s:
        return (
            "",
            f"it is {age_s:.0f} s old, younger than {sight.older_than_s:.0f} s; wait, or say --older-than",
        )
    if is_over(job):
        if past_ttl(sight, job):
            return f"over for {over_for_s(sight, job):.0f} s and still there, past its TTL", ""
        return "", "it is over, and its TTL collects it by itself"
    if window.job is None:
        return "its window has no Job any more", ""
    return "", "its window exists: it is at work"


def orphan_service(sight: Sight, window: Window) -> tuple[str, str]:
    """Return why a window's Service is provably orphaned, or else why that cannot be said."""
    service = window.service
    if service is None:
        return "", "it has no Service"
    if marked(service):
        return "", "a fault of ours made it: harness undo takes it back"
    if window.job is not None:
        return "", "its Job exists: it belongs to a window"
    if window.pods:
        return "", "a pod of its window exists"
    if (age_s := sight.age_s(service)) < sight.older_than_s:
        return (
            "",
            f"it is {age_s:.0f} s old, younger than {sight.older_than_s:.0f} s; its Job may be on the way: wait, or say --older-than",
        )
    return f"{age_s:.0f} s old, without a Job and without a pod", ""


def _millicores(quantity: str) -> float:
    for suffix, scale in (("n", 1e-6), ("u", 1e-3), ("m", 1.0)):
        if quantity.endswith(suffix):
            return float(quantity[:-1]) * scale
    return float(quantity) * 1000
