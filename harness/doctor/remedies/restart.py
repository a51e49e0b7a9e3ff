"""restart-*, rescale-*, start-player: bring a workload of the system back by its pods or its replica count.

A ready pod of MongoDB or the broker is deleted only where the target accepts its loss, as for a fault (`accept`).
"""

from collections.abc import Callable

from harness.cluster import Object, is_ready, name_of, uid_of
from harness.doctor.remedies.plan import Plan, Refusal, Remedy, Touch, deletion, kubectl, scaling
from harness.doctor.result import CannotLook
from harness.doctor.sight import PLURAL, Sight, marked
from harness.target import RoleName

MARKED = "a fault of ours holds it: harness undo takes it back"


def restarting(role: RoleName, loss: str = "") -> Callable[[Sight], Plan]:
    """Return the plan that deletes a role's pods, or scales it up from 0."""

    def plan(sight: Sight) -> Plan:
        of = sight.role(role)
        kind = PLURAL[of.kind]
        workload = sight.workload(role)
        if workload is None:
            raise CannotLook(f"{of.kind} {of.name} does not exist: there is nothing to restart")
        if marked(workload):
            return Plan(refused=(Refusal(f"{of.kind} {of.name}", MARKED),))
        if int(workload["spec"].get("replicas", 1)) == 0:
            return Plan((scaling(sight, kind, workload, 1, "it is scaled to 0"),), wait_s=30)
        pods = [pod for pod in sight.pods_of(role) if _lives(pod)]
        bad = [pod for pod in pods if not is_ready(pod)] or pods
        touches: list[Touch] = []
        refused: list[Refusal] = []
        for pod in bad:
            if not _made_by(workload, pod):
                why = f"{of.kind} {of.name} did not make it, so nobody would make a new one"
                refused.append(Refusal(f"pod {name_of(pod)}", why))
            elif loss and is_ready(pod) and loss not in sight.target.accept and not sight.target.is_sandbox:
                why = f"it is ready, and what it holds is lost for good; if that is acceptable, write `accept: [{loss}]` into the target file"
                refused.append(Refusal(f"pod {name_of(pod)}", why))
            else:
                state = "ready" if is_ready(pod) else "not ready"
                touches.append(
                    deletion(sight, "pods", pod, f"it is {state}; its controller makes a new one", state)
                )
        look = kubectl(sight, "describe", of.kind.lower(), of.name)
        back = kubectl(sight, "rollout", "undo", f"{of.kind.lower()}/{of.name}")
        notes = (f"if the new pod fails as well, its template is at fault: {look}; {back}",)
        return Plan(tuple(touches), tuple(refused), notes, wait_s=30)

    return plan


def _lives(pod: Object) -> bool:
    """Say whether a pod is neither being ended nor over: a corpse serves nobody, and hides who should."""
    phase = pod.get("status", {}).get("phase")
    return "deletionTimestamp" not in pod["metadata"] and phase not in {"Succeeded", "Failed"}


def _made_by(workload: Object, pod: Object) -> bool:
    """Say whether a workload made a pod: by its uid, or by the name of the ReplicaSet in between."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return any(
        one.get("uid") == uid_of(workload)
        or (one.get("kind") == "ReplicaSet" and str(one.get("name")).rpartition("-")[0] == name_of(workload))
        for one in owners
    )


def rescale(sight: Sight) -> Plan:
    """Scale Focus Server to 0 and back, or only back if it is there already."""
    of = sight.role(RoleName.FOCUS_SERVER)
    kind = PLURAL[of.kind]
    workload = sight.workload(RoleName.FOCUS_SERVER)
    if workload is None:
        raise CannotLook(f"{of.kind} {of.name} does not exist: there is nothing to scale")
    if marked(workload):
        return Plan(refused=(Refusal(f"{of.kind} {of.name}", MARKED),))
    wanted = int(workload["spec"].get("replicas", 1))
    if wanted == 0:
        return Plan((scaling(sight, kind, workload, 1, "it is scaled to 0"),), wait_s=30)
    down = scaling(sight, kind, workload, 0, "end what runs")
    up = scaling(sight, kind, workload, wanted, "and start anew", recheck=False)
    return Plan((down, up), wait_s=30)


def start_player(sight: Sight) -> Plan:
    """Scale the player up from 0."""
    of = sight.role(RoleName.PLAYER)
    workload = sight.workload(RoleName.PLAYER)
    if workload is None:
        raise CannotLook(f"{of.kind} {of.name} does not exist: there is nothing to start")
    if int(workload["spec"].get("replicas", 1)) > 0:
        return Plan(notes=("the player is not scaled to 0: if the fibre is missing, connect it",))
    if marked(workload):
        return Plan(refused=(Refusal(f"{of.kind} {of.name}", MARKED),))
    return Plan((scaling(sight, PLURAL[of.kind], workload, 1, "it feeds Focus Server"),), wait_s=15)


FOCUS = ("focus-server", "endpoints", "path")
REMEDIES = (
    Remedy(
        "restart-focus-server",
        "delete Focus Server's pods that are not ready (all, if all are)",
        FOCUS,
        restarting(RoleName.FOCUS_SERVER),
        90,
    ),
    Remedy("rescale-focus-server", "scale Focus Server to 0 and back, or back from 0", FOCUS, rescale, 90),
    Remedy(
        "restart-mongodb",
        "delete MongoDB's pod, or scale it back from 0",
        ("mongodb",),
        restarting(RoleName.MONGODB, "mongodb-pod"),
        90,
    ),
    Remedy(
        "restart-broker",
        "delete the broker's pod, or scale it back from 0",
        ("broker",),
        restarting(RoleName.BROKER, "broker-pod"),
        90,
    ),
    Remedy(
        "start-player",
        "scale the player back from 0, so that Focus Server learns of the fibre",
        ("fibre",),
        start_player,
        30,
    ),
)
