"""pod-network: do pods get addresses. Cause of windows that never start: pod_network_exhausted."""

from harness.cluster import Object, name_of
from harness.doctor.result import Advice, CheckResult, Evidence, fine, found
from harness.doctor.sight import Sight

NAME = "pod-network"
ASKS = "FailedCreatePodSandBox events of the last five minutes, and pods that still wait"
LATELY_S = 300.0
CAUSE = "pod_network_exhausted"


def look(sight: Sight) -> CheckResult:
    """Join events and the pods they are about; what has started meanwhile is over."""
    waiting = {name_of(pod) for pod in sight.objects("pods") if _waits(pod)}
    told: dict[str, str] = {}
    count = 0
    for event in sight.objects("events"):
        if event.get("reason") != "FailedCreatePodSandBox" or sight.since_s(_last(event)) > LATELY_S:
            continue
        count += 1
        name = str((event.get("involvedObject") or event.get("regarding") or {}).get("name", ""))
        if name in waiting:
            told[name] = str(event.get("message") or event.get("note") or "")
    evidence = Evidence(
        "events FailedCreatePodSandBox",
        f"{count} in {LATELY_S:.0f} s, {len(told)} pods still wait"
        + (f": {next(iter(told.values()))[:200]}" if told else ""),
        {"events": count, "waiting": sorted(told)},
    )
    if not told:
        return fine(NAME, f"no pod waits for an address ({count} events in {LATELY_S:.0f} s)", evidence)
    return found(
        NAME,
        f"{len(told)} pods get no address: {next(iter(told.values()))[:120]}",
        evidence,
        cause=CAUSE,
        refuses=True,
        advice=(
            Advice("delete-stale-jobs", "pods of left-over Jobs hold addresses"),
            Advice("wait", "addresses come back when pods end"),
        ),
    )


def _waits(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") == "Pending" and bool(pod.get("spec", {}).get("nodeName"))


def _last(event: Object) -> str:
    series = event.get("series") or {}
    return str(
        event.get("lastTimestamp")
        or series.get("lastObservedTime")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp", "")
    )
