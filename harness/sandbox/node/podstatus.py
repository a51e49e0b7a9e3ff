"""From what a kubelet knows about a pod's containers to the status it reports. Pure.

Called by the pod worker whenever something changed. It never invents: a container that was not started is
`waiting`, and a pod's phase follows from its containers and its restart policy as in Kubernetes.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.sandbox.api import Obj

KUBELET_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")


@dataclass
class Terminated:
    """The end of one run of a container."""

    code: int
    reason: str
    started_at: str
    finished_at: str
    container_id: str
    message: str = ""

    def obj(self) -> Obj:
        """As in a container's state."""
        said = {
            "exitCode": self.code,
            "reason": self.reason,
            "startedAt": self.started_at,
            "finishedAt": self.finished_at,
            "containerID": self.container_id,
        }
        return {**said, "message": self.message} if self.message else said


@dataclass
class ContainerState:
    """What is known of one container."""

    name: str
    image: str
    waiting_reason: str = "ContainerCreating"
    waiting_message: str = ""
    running_since: str = ""
    terminated: Terminated | None = None
    last: Terminated | None = None
    restarts: int = 0
    started: bool = False
    ready: bool = False
    container_id: str = ""

    def waits(self, reason: str, message: str = "") -> None:
        """It waits now."""
        self.waiting_reason, self.waiting_message = reason, message
        self.running_since, self.started, self.ready = "", False, False
        if self.terminated is not None:
            self.last, self.terminated = self.terminated, None

    def runs(self, since: str, container_id: str) -> None:
        """It runs now."""
        if self.terminated is not None:
            self.last, self.terminated = self.terminated, None
        self.running_since, self.container_id = since, container_id

    def ended(self, end: Terminated) -> None:
        """It is over."""
        self.running_since, self.started, self.ready, self.terminated = "", False, False, end

    def obj(self) -> Obj:
        """As in status.containerStatuses."""
        if self.terminated is not None:
            state: Obj = {"terminated": self.terminated.obj()}
        elif self.running_since:
            state = {"running": {"startedAt": self.running_since}}
        else:
            message = {"message": self.waiting_message} if self.waiting_message else {}
            state = {"waiting": {"reason": self.waiting_reason, **message}}
        said: Obj = {
            "name": self.name,
            "image": self.image,
            "imageID": f"{self.image}@sandbox" if self.container_id else "",
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": state,
            "lastState": {"terminated": self.last.obj()} if self.last else {},
        }
        if self.container_id:
            said["containerID"] = self.container_id
        return said


def phase_of(policy: str, inits: list[ContainerState], containers: list[ContainerState]) -> str:
    """Return Pending, Running, Succeeded or Failed."""
    if any(one.terminated and one.terminated.code != 0 for one in inits) and policy == "Never":
        return "Failed"
    ended = [one.terminated for one in containers if one.terminated is not None]
    if containers and len(ended) == len(containers) and policy != "Always":
        if all(end.code == 0 for end in ended):
            return "Succeeded"
        if policy == "Never":
            return "Failed"
        return "Running"
    begun = all(one.running_since or one.terminated or one.restarts or one.last for one in containers)
    return "Running" if begun and containers else "Pending"


def conditions_of(
    old: list[Obj],
    phase: str,
    *,
    addressed: bool,
    inits: list[ContainerState],
    containers: list[ContainerState],
    stamp: str,
) -> list[Obj]:
    """Return all conditions: the kubelet's computed, others' as they were."""
    unready = [one.name for one in containers if not one.ready]
    done = phase == "Succeeded"
    incomplete = [one.name for one in inits if not (one.terminated and one.terminated.code == 0)]
    ready = _because_of_containers(unready, done=done, failed=phase == "Failed")
    computed = {
        "PodReadyToStartContainers": (addressed and phase in ("Pending", "Running"), {}),
        "Initialized": _initialized(incomplete, done=done),
        "Ready": ready,
        "ContainersReady": ready,
    }
    before = {condition["type"]: condition for condition in old}
    said = [condition for condition in old if condition["type"] not in KUBELET_CONDITIONS]
    for type_, (holds, why) in computed.items():
        condition: Obj = {"type": type_, "status": "True" if holds else "False", "lastProbeTime": None, **why}
        same = before.get(type_, {}).get("status") == condition["status"]
        condition["lastTransitionTime"] = before[type_]["lastTransitionTime"] if same else stamp
        said.append(condition)
    return said


def _because_of_containers(unready: list[str], *, done: bool, failed: bool) -> tuple[bool, Obj]:
    if done:
        return False, {"reason": "PodCompleted"}
    if failed:
        return False, {"reason": "PodFailed"}
    if unready:
        return False, {
            "reason": "ContainersNotReady",
            "message": f"containers with unready status: [{' '.join(unready)}]",
        }
    return True, {}


def _initialized(incomplete: list[str], *, done: bool) -> tuple[bool, Obj]:
    if done:
        return True, {"reason": "PodCompleted"}
    if incomplete:
        message = f"containers with incomplete status: [{' '.join(incomplete)}]"
        return False, {"reason": "ContainersNotInitialized", "message": message}
    return True, {}


def quality_of(pod: Obj) -> str:
    """Return the pod's QoS class."""
    resources = [one.get("resources") or {} for one in pod["spec"].get("containers") or []]
    plain = [
        {
            (side, key): value
            for side in ("requests", "limits")
            for key, value in (one.get(side) or {}).items()
        }
        for one in resources
    ]
    native = [{k: v for k, v in one.items() if k[1] in ("cpu", "memory")} for one in plain]
    if not any(native):
        return "BestEffort"
    for one in native:
        for key in ("cpu", "memory"):
            if ("limits", key) not in one or one.get(("requests", key), one["limits", key]) != one[
                "limits", key
            ]:
                return "Burstable"
    return "Guaranteed"
