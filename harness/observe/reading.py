"""Read what the harness records out of Kubernetes objects: an object in, an observation out. Pure.

Called by `view`. Knows which role a pod plays from the target's selectors, which window an object belongs to from its name
(the field's label selectors for windows match nothing, so names it is), and which label marks a fault's own pods.
"""

import re
from collections.abc import Mapping
from typing import Final

from harness.cluster import Object, gpu_request, is_ready, labels_of, name_of
from harness.cluster.kinds import condition
from harness.history.events import ClusterEventSeen, JobSeen, NodeSeen, PodSeen, ServiceSeen
from harness.observe.selectors import Selector
from harness.target import Kubernetes

HOG_LABELS: Final = ("focus-harness/hog", "focus-harness/fault")
"""A pod with one of these is a fault's own."""
OF_WINDOW: Final = re.compile(r"^(grpc-job|cleanup-job|grpc-service)-(\d+-\d+)(?:-[a-z0-9]+)?$")
_ROLE_OF_PREFIX: Final = {"grpc-job": "stream", "cleanup-job": "cleanup", "grpc-service": "other"}
_NO_NEWS: Final = frozenset(
    {"Scheduled", "Pulling", "Pulled", "Created", "Started", "Killing", "SuccessfulCreate", "Completed"}
)
"""Kubernetes' events of a window's ordinary life: their objects say the same."""


class Reader:
    """Reads objects of one target."""

    def __init__(self, kubernetes: Kubernetes, gpu_resource: str) -> None:
        self.namespace = kubernetes.namespace
        self._gpu = gpu_resource
        self._worker = Selector.parse(kubernetes.worker_selector)
        self._roles = {str(name): Selector.parse(role.selector) for name, role in kubernetes.roles.items()}

    def node(self, obj: Object, at_ns: int, *, exists: bool) -> NodeSeen:
        """Return what is recorded of a node."""
        spec, status = obj.get("spec", {}), obj.get("status", {})
        taints = sorted(f"{taint['key']}:{taint.get('effect', '')}" for taint in spec.get("taints") or ())
        return NodeSeen(
            at_ns=at_ns,
            node=name_of(obj),
            exists=exists,
            ready=condition(obj, "Ready"),
            unschedulable=bool(spec.get("unschedulable")),
            worker=self._worker.matches(labels_of(obj)),
            gpu_allocatable=int((status.get("allocatable") or {}).get(self._gpu, 0)),
            taints=tuple(taints),
        )

    def pod(self, obj: Object, at_ns: int, *, exists: bool) -> PodSeen:
        """Return what is recorded of a pod."""
        status = obj.get("status", {})
        containers = status.get("containerStatuses") or ()
        return PodSeen(
            at_ns=at_ns,
            pod=name_of(obj),
            role=self.role(obj),
            exists=exists,
            phase=str(status.get("phase", "")),
            ready=is_ready(obj),
            node=str(obj.get("spec", {}).get("nodeName") or ""),
            job_id=job_id(name_of(obj)),
            gpu=gpu_request(obj, self._gpu),
            reason=_reason(status),
            restarts=sum(int(container.get("restartCount", 0)) for container in containers),
            terminating="deletionTimestamp" in obj["metadata"],
            image=",".join(
                str(container.get("image", "")) for container in obj.get("spec", {}).get("containers") or ()
            ),
        )

    def role(self, pod: Object) -> str:
        """Return the role a pod plays; `other` for none that is known."""
        labels = labels_of(pod)
        if any(label in labels for label in HOG_LABELS):
            return "hog"
        if match := OF_WINDOW.match(name_of(pod)):
            return _ROLE_OF_PREFIX[match[1]]
        if str(pod["metadata"].get("namespace", "")) != self.namespace:
            return "other"
        return next((role for role, selector in self._roles.items() if selector.matches(labels)), "other")

    def follows(self, pod: Object) -> bool:
        """Return whether a pod is recorded: those of the system, and any that may hold a GPU share."""
        return (
            pod["metadata"].get("namespace") == self.namespace
            or gpu_request(pod, self._gpu) > 0
            or any(label in labels_of(pod) for label in HOG_LABELS)
        )

    def job(self, obj: Object, at_ns: int, *, exists: bool) -> JobSeen | None:
        """Return what is recorded of a window's Job; None for any other Job."""
        if not (window := job_id(name_of(obj))):
            return None
        state = ""
        if condition(obj, "Complete") == "True":
            state = "complete"
        elif condition(obj, "Failed") == "True":
            state = "failed"
        elif obj.get("status", {}).get("active"):
            state = "active"
        return JobSeen(at_ns=at_ns, job=name_of(obj), job_id=window, exists=exists, state=state)

    def service(self, obj: Object, at_ns: int, *, exists: bool) -> ServiceSeen | None:
        """Return what is recorded of a window's Service (a held slot); None for any other Service."""
        if not (window := job_id(name_of(obj))):
            return None
        ports = obj.get("spec", {}).get("ports") or ()
        node_port = next((int(port["nodePort"]) for port in ports if port.get("nodePort")), 0)
        return ServiceSeen(
            at_ns=at_ns, service=name_of(obj), job_id=window, exists=exists, node_port=node_port
        )

    def event(self, obj: Object, at_ns: int) -> ClusterEventSeen | None:
        """Return what is recorded of a Kubernetes Event; None if it tells nothing that its object does not."""
        about: Mapping[str, str] = obj.get("involvedObject") or obj.get("regarding") or {}
        warning = obj.get("type") == "Warning"
        reason = str(obj.get("reason") or "")
        if about.get("kind") != "Node" and about.get("namespace") not in (self.namespace, None, ""):
            return None
        if not warning and reason in _NO_NEWS and OF_WINDOW.match(str(about.get("name", ""))):
            return None
        return ClusterEventSeen(
            at_ns=at_ns,
            about=f"{about.get('kind', '')}/{about.get('name', '')}",
            reason=reason,
            text=str(obj.get("message") or obj.get("note") or ""),
            warning=warning,
        )


def job_id(name: str) -> str:
    """Return the job id in the name of a window's object; empty for any other name."""
    match = OF_WINDOW.match(name)
    return match[2] if match else ""


def _reason(status: Object) -> str:
    """Return in Kubernetes' word why a pod waits or how it ended."""
    if status.get("reason"):
        return str(status["reason"])
    for container in status.get("containerStatuses") or ():
        state = container.get("state") or {}
        for kind in ("waiting", "terminated"):
            if (state.get(kind) or {}).get("reason"):
                return str(state[kind]["reason"])
    for item in status.get("conditions") or ():
        if item.get("type") == "PodScheduled" and item.get("status") == "False":
            return str(item.get("reason", ""))
    return ""
