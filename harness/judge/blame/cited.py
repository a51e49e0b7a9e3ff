"""Say in one line what a record says: for evidence that people read. Called by the grouping of failures and for the admission limit."""

from harness.history.events import (
    ClusterEventSeen,
    DependencySeen,
    Event,
    FirstFrame,
    JobSeen,
    LogLineSeen,
    NodeSeen,
    PodSeen,
    ServiceSeen,
    SharesSeen,
    SlotsSeen,
    WindowAccepted,
    WindowClosed,
    WindowUnknown,
)

MS = 1_000_000


def in_words(event: Event) -> str:
    """Return what an observation says."""
    match event:
        case DependencySeen():
            latency = f" after {event.latency_ns // MS} ms" if event.latency_ns else ""
            answer = f"answered{latency}" if event.up else "did not answer"
            return f"{event.dependency} {answer}{f': {event.detail}' if event.detail else ''}"
        case PodSeen():
            return f"pod {event.pod}: {_pod(event)}"
        case NodeSeen():
            cordoned = ", cordoned" if event.unschedulable else ""
            return (
                f"node {event.node}: Ready {event.ready}{cordoned}"
                if event.exists
                else f"node {event.node}: gone"
            )
        case SharesSeen():
            return (
                f"GPU shares: {event.free} of {event.total} free, {event.free_schedulable} on usable workers"
                f"{f', {event.by_hogs} held by hogs' if event.by_hogs else ''}"
            )
        case SlotsSeen():
            return f"{event.slots} slots held, {event.running_pods} stream pods running, {event.pending_pods} pending"
        case ClusterEventSeen():
            return f"{event.about}: {event.reason}: {event.text}"
        case JobSeen():
            return f"Job {event.job}: {event.state or 'there'}" if event.exists else f"Job {event.job}: gone"
        case ServiceSeen():
            return f"Service {event.service}: {'there' if event.exists else 'gone'}"
        case WindowAccepted():
            return f"window {event.window} accepted as {event.job_id}"
        case FirstFrame():
            return f"first frame of window {event.window}"
        case WindowClosed():
            return f"window {event.window} closed: {event.outcome.value}"
        case WindowUnknown():
            return f"window {event.window} got no answer: {event.outcome.value}"
        case LogLineSeen():
            return f"log of {event.pod}: {event.text}"
        case _:
            return type(event).__name__


def _pod(pod: PodSeen) -> str:
    if not pod.exists:
        return "gone"
    parts = [pod.phase, "ready" if pod.ready else "not ready"]
    parts += [f"on {pod.node}"] if pod.node else []
    parts += ["being ended"] if pod.terminating else []
    parts += [pod.reason] if pod.reason else []
    parts += [f"{pod.restarts} restarts"] if pod.restarts else []
    return ", ".join(parts)
