"""focus-server: is the workload there, is a pod of it running and ready, and if not, why not. Cause of a 503: focus_server_down."""

from harness.cluster import Object, is_ready, name_of
from harness.doctor.result import Advice, CheckResult, Evidence, fine, found
from harness.doctor.sight import Sight
from harness.target import RoleName

NAME = "focus-server"
ASKS = "Focus Server's workload and pods: wanted, ready, restarts, why they wait"
CAUSE = "focus_server_down"


def look(sight: Sight) -> CheckResult:
    """Look at the workload, then at its pods."""
    return look_at(
        sight, RoleName.FOCUS_SERVER, NAME, CAUSE, ("restart-focus-server", "rescale-focus-server")
    )


def look_at(sight: Sight, role: RoleName, check: str, cause: str, remedies: tuple[str, str]) -> CheckResult:
    """Look at the pods of any role; `remedies` restart it and bring it back from 0 replicas."""
    of = sight.role(role)
    workload = sight.workload(role)
    asked = f"{of.kind.lower()} {of.name} in {sight.namespace}"
    if workload is None:
        nothing = Evidence(asked, "there is none")
        return found(check, f"{of.kind} {of.name} does not exist", nothing, cause=cause, refuses=True)
    wanted = int(workload["spec"].get("replicas", 1))
    pods = [pod for pod in sight.pods_of(role) if "deletionTimestamp" not in pod["metadata"]]
    ready = [name_of(pod) for pod in pods if is_ready(pod)]
    states = {name_of(pod): state_of(pod) for pod in pods}
    evidence = (
        Evidence(asked, f"{wanted} wanted, {len(ready)} ready", {"wanted": wanted, "ready": len(ready)}),
        Evidence(
            f"pods with {of.selector}",
            "; ".join(f"{name}: {state}" for name, state in states.items()) or "none",
            {"pods": states, "nodes": sorted({pod["spec"].get("nodeName", "") for pod in pods} - {""})},
        ),
    )
    if ready:
        restarts = sum(restarts_of(pod) for pod in pods)
        return fine(
            check,
            f"{len(ready)} of {wanted} ready" + (f", {restarts} restarts" if restarts else ""),
            *evidence,
        )
    if wanted == 0:
        return found(
            check,
            f"{of.name} is scaled to 0",
            *evidence,
            cause=cause,
            refuses=True,
            advice=(Advice(remedies[1], "it is scaled to 0"),),
        )
    advice = (Advice(remedies[0], "its pods are not ready"),)
    told = next(iter(states.values()), "no pod of it exists")
    return found(check, f"no ready pod: {told}", *evidence, cause=cause, refuses=True, advice=advice)


def restarts_of(pod: Object) -> int:
    """Return how often a pod's containers were restarted."""
    boxes = pod.get("status", {}).get("containerStatuses") or ()
    return sum(int(box.get("restartCount", 0)) for box in boxes)


def state_of(pod: Object) -> str:
    """Return in words what a pod does, and with a crash loop how it ended last."""
    status = pod.get("status", {})
    words = [str(status.get("reason") or status.get("phase") or "unknown")]
    for box in status.get("containerStatuses") or ():
        waiting = (box.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            words = [str(waiting["reason"])]
        last = (
            (box.get("lastState") or {}).get("terminated") or (box.get("state") or {}).get("terminated") or {}
        )
        if box.get("restartCount"):
            words.append(f"{box['restartCount']} restarts")
        if last:
            words.append(f"last ended with {last.get('reason', '?')} ({last.get('exitCode', '?')})")
    for one in status.get("conditions") or ():
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            words.append(str(one.get("message") or one.get("reason") or "not scheduled"))
    if status.get("phase") == "Running" and len(words) == 1 and words[0] == "Running" and not is_ready(pod):
        words.append("not ready")
    return ", ".join(words)
