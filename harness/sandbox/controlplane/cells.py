"""Cells of Tables: short texts about an object, in the words `kubectl get` shows. Pure but for the clock (ages)."""

import calendar
import time
from collections.abc import Callable
from typing import Any

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import selectors
from harness.sandbox.controlplane.views import at_path

Cell = Callable[[Obj], Any]
NONE = "<none>"


def at(path: str, missing: str) -> Cell:
    """The value at a path."""
    return lambda obj: found if (found := at_path(obj, path)) not in (None, "") else missing


def always(text: str) -> Cell:
    """The same text for every object."""
    return lambda _: text


def number(path: str) -> Cell:
    """A count at a path, 0 where there is none."""
    return lambda obj: at_path(obj, path) or 0


def count(path: str) -> Cell:
    """The length of a list or map at a path."""
    return lambda obj: len(at_path(obj, path) or ())


def yes_no(path: str) -> Cell:
    """A flag at a path."""
    return lambda obj: bool(at_path(obj, path))


def seconds_of(stamp: str) -> float:
    """A timestamp of an object as Unix seconds."""
    return float(calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")))


def duration(seconds: float) -> str:
    """A span as kubectl shows it: two units at most, coarser the longer it is."""
    left = int(seconds)
    if left < -1:
        return "<invalid>"
    if left < 0:
        return "0s"
    if left < 120:
        return f"{left}s"
    minutes, hours, days = left // 60, left // 3600, left // 86400
    if minutes < 10:
        return f"{minutes}m{left % 60}s" if left % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return f"{years}y{rest}d" if years < 8 and rest else f"{years}y"


def since(stamp: str | None) -> str:
    """How long ago a timestamp was."""
    return duration(time.time() - seconds_of(stamp)) if stamp else "<unknown>"


def name(obj: Obj) -> str:
    """The object's name."""
    return str(obj["metadata"]["name"])


def age(obj: Obj) -> str:
    """Time since its creation."""
    return since(obj["metadata"].get("creationTimestamp"))


def _template(obj: Obj) -> list[Obj]:
    return at_path(obj, "spec.template.spec.containers") or []


def containers(obj: Obj) -> str:
    """Names of the template's containers."""
    return ",".join(box.get("name", "") for box in _template(obj))


def images(obj: Obj) -> str:
    """Images of the template's containers."""
    return ",".join(box.get("image", "") for box in _template(obj))


def selector(obj: Obj) -> str:
    """A selector: an object of a workload, a map of a Service."""
    found = at_path(obj, "spec.selector") or {}
    if obj.get("kind") == "Service":
        return ",".join(f"{k}={v}" for k, v in sorted(found.items())) or NONE
    return selectors.show(found) or NONE


def pod_selector(obj: Obj) -> str:
    """The pods a policy is for."""
    return selectors.show(at_path(obj, "spec.podSelector")) or NONE


def _statuses(obj: Obj) -> list[Obj]:
    return at_path(obj, "status.containerStatuses") or []


def pod_ready(obj: Obj) -> str:
    """Ready containers of all."""
    ready = sum(bool(box.get("ready")) for box in _statuses(obj))
    return f"{ready}/{len(obj['spec'].get('containers') or [])}"


def pod_status(obj: Obj) -> str:
    """The one word that says most: a container's reason before the phase."""
    status = obj.get("status") or {}
    word = str(status.get("reason") or status.get("phase") or "")
    running = False
    for box in reversed(_statuses(obj)):
        state = box.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            word = waiting["reason"]
        elif ended is not None:
            signal = ended.get("signal")
            shown = f"Signal:{signal}" if signal else f"ExitCode:{ended.get('exitCode', 0)}"
            word = ended.get("reason") or shown
        elif box.get("ready") and "running" in state:
            running = True
    if word == "Completed" and running:
        word = "Running" if _has_ready_condition(obj) else "NotReady"
    if obj["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return word


def _has_ready_condition(obj: Obj) -> bool:
    found = at_path(obj, "status.conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in found)


def pod_restarts(obj: Obj) -> str:
    """Restarts, and when the last one was."""
    total = sum(box.get("restartCount", 0) for box in _statuses(obj))
    ends = [at_path(box, "lastState.terminated.finishedAt") for box in _statuses(obj)]
    last = max((end for end in ends if end), default=None)
    return f"{total} ({since(last)} ago)" if total and last else str(total)


def pod_ip(obj: Obj) -> str:
    """The pod's address."""
    return at_path(obj, "status.podIP") or NONE


def _condition(obj: Obj, kind: str) -> bool:
    found = at_path(obj, "status.conditions") or []
    return any(c.get("type") == kind and c.get("status") == "True" for c in found)


def job_status(obj: Obj) -> str:
    """Where a job stands."""
    for kind, word in (("Complete", "Complete"), ("Failed", "Failed")):
        if _condition(obj, kind):
            return word
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for kind, word in (
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if _condition(obj, kind):
            return word
    return "Running"


def job_completions(obj: Obj) -> str:
    """Succeeded pods of those wanted."""
    succeeded = at_path(obj, "status.succeeded") or 0
    wanted = at_path(obj, "spec.completions")
    if wanted is not None:
        return f"{succeeded}/{wanted}"
    parallel = at_path(obj, "spec.parallelism") or 0
    return f"{succeeded}/1 of {parallel}" if parallel > 1 else f"{succeeded}/1"


def job_duration(obj: Obj) -> str:
    """From the job's start to its end, or till now."""
    start, end = at_path(obj, "status.startTime"), at_path(obj, "status.completionTime")
    if not start:
        return ""
    return duration((seconds_of(end) if end else time.time()) - seconds_of(start))


def ready_of_wanted(obj: Obj) -> str:
    """Ready replicas of those wanted."""
    return f"{at_path(obj, 'status.readyReplicas') or 0}/{at_path(obj, 'spec.replicas') or 0}"


def external_ip(obj: Obj) -> str:
    """Where a Service is reached from outside."""
    spec = obj["spec"]
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    if spec.get("externalIPs"):
        return ",".join(spec["externalIPs"])
    return "<pending>" if spec.get("type") == "LoadBalancer" else NONE


def service_ports(obj: Obj) -> str:
    """Ports, with node ports where there are some."""
    words = []
    for port in obj["spec"].get("ports") or []:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        words.append(f"{port['port']}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(words) or NONE


def node_status(obj: Obj) -> str:
    """Ready or not, and cordoned or not."""
    found = [c for c in at_path(obj, "status.conditions") or [] if c.get("type") == "Ready"]
    word = "Unknown" if not found else "Ready" if found[0].get("status") == "True" else "NotReady"
    return word + (",SchedulingDisabled" if at_path(obj, "spec.unschedulable") else "")


def node_roles(obj: Obj) -> str:
    """Roles, from labels."""
    labels = obj["metadata"].get("labels") or {}
    mark = "node-role.kubernetes.io/"
    found = [key.removeprefix(mark) for key in labels if key.startswith(mark)]
    if labels.get("kubernetes.io/role"):
        found.append(labels["kubernetes.io/role"])
    return ",".join(sorted(found)) or NONE


def node_address(kind: str) -> Cell:
    """The node's address of one type."""

    def cell(obj: Obj) -> str:
        found = at_path(obj, "status.addresses") or []
        return next((a["address"] for a in found if a.get("type") == kind), NONE)

    return cell


def data_count(obj: Obj) -> int:
    """Entries of a ConfigMap or Secret."""
    return len(obj.get("data") or {}) + len(obj.get("binaryData") or {})


def _event_stamp(obj: Obj, *names: str) -> str:
    found = at_path(obj, "series.lastObservedTime")
    stamps = [found, *(obj.get(n) for n in names), obj["metadata"].get("creationTimestamp")]
    return since(next((stamp for stamp in stamps if stamp), None))


def event_seen(obj: Obj) -> str:
    """When an event was last seen."""
    return _event_stamp(obj, "lastTimestamp", "eventTime", "firstTimestamp")


def event_first(obj: Obj) -> str:
    """When an event was first seen."""
    return _event_stamp(obj, "firstTimestamp", "eventTime")


def event_object(obj: Obj) -> str:
    """What an event is about."""
    about = obj.get("involvedObject") or {}
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}"


def event_source(obj: Obj) -> str:
    """Who reported an event."""
    words = [at_path(obj, "source.component") or obj.get("reportingComponent"), at_path(obj, "source.host")]
    return ", ".join(word for word in words if word)


def event_count(obj: Obj) -> int:
    """How often an event was seen."""
    return int(at_path(obj, "series.count") or obj.get("count") or 1)


def endpoints(obj: Obj) -> str:
    """The first three addresses behind a Service."""
    words = [
        f"{address['ip']}:{port['port']}" if port else address["ip"]
        for subset in obj.get("subsets") or []
        for port in subset.get("ports") or [{}]
        for address in subset.get("addresses") or []
    ]
    more = f" + {len(words) - 3} more..." if len(words) > 3 else ""
    return ",".join(words[:3]) + more if words else NONE


def slice_ports(obj: Obj) -> str:
    """The ports of a slice."""
    return ",".join(str(port.get("port", "*")) for port in obj.get("ports") or []) or "<unset>"


def slice_endpoints(obj: Obj) -> str:
    """The first three addresses of a slice."""
    words = [address for point in obj.get("endpoints") or [] for address in point.get("addresses") or []]
    more = f" + {len(words) - 3} more..." if len(words) > 3 else ""
    return ",".join(words[:3]) + more if words else "<unset>"


def access_modes(obj: Obj) -> str:
    """Access modes in short."""
    short = {
        "ReadWriteOnce": "RWO",
        "ReadOnlyMany": "ROX",
        "ReadWriteMany": "RWX",
        "ReadWriteOncePod": "RWOP",
    }
    return ",".join(short.get(mode, mode) for mode in at_path(obj, "spec.accessModes") or [])


def role_ref(obj: Obj) -> str:
    """The role a binding binds."""
    return f"{at_path(obj, 'roleRef.kind')}/{at_path(obj, 'roleRef.name')}"


def quota_use(kind: str) -> Cell:
    """Used of hard, for requests or for limits."""

    def cell(obj: Obj) -> str:
        hard, used = at_path(obj, "status.hard") or {}, at_path(obj, "status.used") or {}
        words = [
            f"{name_}: {used.get(name_, 0)}/{hard[name_]}"
            for name_ in sorted(hard)
            if name_.startswith("limits") is (kind == "limits")
        ]
        return ", ".join(words)

    return cell
