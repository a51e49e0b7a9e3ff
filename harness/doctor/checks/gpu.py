"""gpu: how many shares there are, who holds them, and which windows wait for one. Cause of a 503: gpu_exhausted.

Shares that are free only where no pod may go are no use to anybody: that is worker_unavailable, as the check `nodes` calls it.
"""

from collections import Counter

from harness.cluster import Object, gpu_request, name_of
from harness.cluster.kinds import holds_resources
from harness.doctor.result import Advice, CheckResult, Evidence, fine, found
from harness.doctor.shares import count_shares
from harness.doctor.sight import Sight
from harness.doctor.windows import OF_WINDOW

NAME = "gpu"
ASKS = (
    "GPU shares: all, held, free, free where a pod may go; and Pending grpc pods with the scheduler's reason"
)
CAUSE = "gpu_exhausted"
NO_WORKER = "worker_unavailable"
MOST = 5


def look(sight: Sight) -> CheckResult:
    """Count shares and waiting pods."""
    shares = count_shares(sight)
    pending = [pod for pod in sight.objects("pods") if _waits(pod)]
    reasons = Counter(_reason(pod) for pod in pending)
    holders = _holders(sight)
    evidence = (
        Evidence(
            f"allocatable {sight.target.gpu_resource} of nodes, limits of bound pods",
            "; ".join(
                f"{node.name}: {node.used} of {node.total} held" + ("" if node.sound else ", takes no pods")
                for node in shares.nodes
            )
            or "no node has any",
            {
                "total": shares.total,
                "used": shares.used,
                "free": shares.free,
                "free_on_schedulable": shares.free_sound,
                "holders": holders,
            },
        ),
        Evidence(
            "grpc pods that wait for a place",
            "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(MOST)) or "none",
            {"pending": [name_of(pod) for pod in pending]},
        ),
    )
    words = f"{shares.used} of {shares.total} held, {shares.free_sound} free on schedulable workers"
    if pending:
        words += f", {len(pending)} grpc pods Pending"
    if shares.total == 0:
        return found(
            NAME, f"no node offers {sight.target.gpu_resource}", *evidence, cause=CAUSE, refuses=True
        )
    advice = (
        Advice("delete-stale-jobs", "Jobs that wait or are left over hold shares"),
        Advice("wait", "shares come back when windows end"),
    )
    if shares.free == 0:
        by = ", ".join(f"{count} by {who}" for who, count in holders.items())
        return found(NAME, f"{words} ({by})", *evidence, cause=CAUSE, refuses=True, advice=advice)
    if shares.free_sound == 0:
        summary = f"{words}: {shares.free} are free on nodes that take no pods"
        return found(NAME, summary, *evidence, cause=NO_WORKER, refuses=True)
    if pending:
        return found(NAME, words, *evidence, advice=advice[:1])
    return fine(NAME, words, *evidence)


def _holders(sight: Sight) -> dict[str, int]:
    """Return how many shares windows, faults of ours and others hold."""
    held: Counter[str] = Counter()
    for pod in sight.objects("pods", "*"):
        asked = gpu_request(pod, sight.target.gpu_resource)
        if not asked or not holds_resources(pod):
            continue
        labels = pod["metadata"].get("labels") or {}
        if any(label.startswith("focus-harness/") for label in labels):
            held["pods of faults of ours"] += asked
        elif OF_WINDOW.match(name_of(pod)):
            held["windows"] += asked
        else:
            held["other pods"] += asked
    return dict(held)


def _waits(pod: Object) -> bool:
    match = OF_WINDOW.match(name_of(pod))
    return (
        match is not None
        and match[1] == "grpc-job"
        and pod.get("status", {}).get("phase") == "Pending"
        and not pod.get("spec", {}).get("nodeName")
    )


def _reason(pod: Object) -> str:
    for one in pod.get("status", {}).get("conditions") or ():
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            return str(one.get("message") or one.get("reason"))
    return "not looked at by the scheduler yet"
