"""A cluster in memory, small enough to be read: objects, versions, conflicts, owners, controllers, and hands.

It holds to what faults rely on: a patch that changes nothing leaves the version alone, one at an old version conflicts, empty lists
are not kept in objects, what an absent owner owned is collected, pods of a workload appear and become ready on a sound node that
has an address left, a container that fails crashes, a disruption budget refuses. Everything happens at once.
"""

import copy
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from harness.chaos.windows import Refused
from harness.chaos.world import Site
from harness.cluster import Conflict, Missing, Object
from harness.errors import Unreachable
from harness.target import Target

Key = tuple[str, str, str]
CLUSTER_WIDE = {"nodes", "namespaces", "clusterrolebindings"}
WORKLOADS = {"deployments", "statefulsets"}
GPU = "nvidia.com/gpu.shared"
ENTRY_LABEL = "focus-harness/entry"
SYSTEM, OURS = "panda", "focus-harness"

TARGET = Target.model_validate(
    {
        "schema": 1,
        "name": "memory",
        "sandbox": True,
        "url": "",
        "kube": {
            "kubeconfig": "/nowhere/kubeconfig",
            "identity": "memory-1",
            "worker_selector": "!control-plane",
            "roles": {
                "mongodb": {
                    "kind": "Deployment",
                    "name": "mongodb",
                    "selector": "app=mongodb",
                    "service": "mongodb",
                },
                "focus_server": {
                    "kind": "Deployment",
                    "name": "focus-server",
                    "selector": "app=focus-server",
                },
                "broker": {"kind": "StatefulSet", "name": "rabbitmq", "selector": "app=rabbitmq"},
                "player": {"kind": "Deployment", "name": "player", "selector": "app=player"},
            },
        },
        "max_windows": 30,
        "hands": {
            "node": "reach {node} {verb}",
            "node_timer": "later node-{node} {after_s} reach {node} {verb}",
            "network": "reach network {node} {verb} {amount}",
            "network_timer": "later network-{node} {after_s} reach network {node} {verb}",
            "api": "reach api {verb} {amount}",
            "api_timer": "later api {after_s} reach api {verb}",
        },
        "limits": {"max_nodes": 2, "max_gpu_share": 1.0, "max_hold": "10m"},
    }
)


class MemoryWorld:
    """Objects by (kind, namespace, name)."""

    def __init__(self) -> None:
        self.objects_by_key: dict[Key, Object] = {}
        self.reached: dict[str, str] = {}
        """What hands have done and not taken back."""
        self.timers: dict[str, str] = {}
        """What is armed."""
        self._numbers = itertools.count(1)
        self._one_hand = (
            threading.Lock()
        )  # several nodes are reached side by side; all else is done one after another
        self.before_write: Callable[[str], None] = lambda _what: None
        self.before_read: Callable[[str], None] = lambda _what: None
        self.writes: list[str] = []
        self.mongodb_returns = True

    # --- World ------------------------------------------------------------------------------------

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        self._refuse_if_down()
        self.before_read(f"{kind}/{name}")
        found = self.objects_by_key.get(self._key(kind, name, namespace))
        return copy.deepcopy(found)

    def objects(
        self, kind: str, namespace: str | None = None, selector: str = "", fields: str = ""
    ) -> list[Object]:
        self._refuse_if_down()
        where = "" if kind in CLUSTER_WIDE else namespace or SYSTEM
        return [copy.deepcopy(obj) for obj in self._all(kind, where, selector)]

    def create(self, kind: str, obj: Object, namespace: str | None = None) -> Object:
        self._refuse_if_down()
        key = self._key(kind, obj["metadata"]["name"], namespace)
        self._write(f"create {kind}/{key[2]}")
        if key in self.objects_by_key:
            raise Conflict(f"{key} exists", 409)
        stored = copy.deepcopy(obj)
        stored["metadata"]["uid"] = f"uid-{next(self._numbers)}"
        if key[1]:
            stored["metadata"]["namespace"] = key[1]
        self._store(key, stored)
        self._control()
        return copy.deepcopy(self.objects_by_key.get(key, stored))

    def patch(
        self,
        kind: str,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        resource_version: str | None = None,
        how: str = "merge",
    ) -> Object:
        assert how == "merge"
        self._refuse_if_down()
        key = self._key(kind, name, namespace)
        self._write(f"patch {kind}/{name}")
        found = self.objects_by_key.get(key)
        if found is None:
            raise Missing(f"{key} is not there", 404)
        if resource_version is not None and resource_version != found["metadata"]["resourceVersion"]:
            raise Conflict(f"{key} has changed", 409)
        changed = _merged(found, patch)
        if kind in WORKLOADS:
            changed["spec"] = _without_empty(changed["spec"])
        if changed != found:
            self._store(key, changed)
        self._control()
        return copy.deepcopy(self.objects_by_key[key])

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        grace_s: int | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: str | None = None,
    ) -> bool:
        self._refuse_if_down()
        key = self._key(kind, name, namespace)
        self._write(f"delete {kind}/{name}")
        found = self.objects_by_key.get(key)
        if found is None or (uid is not None and found["metadata"]["uid"] != uid):
            return False
        if resource_version is not None and resource_version != found["metadata"]["resourceVersion"]:
            raise Conflict(f"{key} has changed", 409)
        del self.objects_by_key[key]
        self._control()
        return True

    def evict(self, pod: str, namespace: str | None = None, *, uid: str, resource_version: str) -> bool:
        self._refuse_if_down()
        key = self._key("pods", pod, namespace)
        self._write(f"evict pods/{pod}")
        found = self.objects_by_key.get(key)
        if found is None:
            return True
        if (uid, resource_version) != (found["metadata"]["uid"], found["metadata"]["resourceVersion"]):
            raise Conflict(f"{key} has changed", 409)
        for budget in self._all("poddisruptionbudgets", key[1]):
            wanted = budget["spec"]["selector"]["matchLabels"]
            if wanted.items() <= _labels(found).items() and not budget["status"]["disruptionsAllowed"]:
                return False
        del self.objects_by_key[key]
        self._control()
        return True

    def answers(self) -> bool:
        verb, _, delay = self.reached.get("api", "up").partition(" ")
        if verb == "slow":
            time.sleep(float(delay.removesuffix("ms")) / 1000)
        return verb != "down"

    # --- what else a site has ---------------------------------------------------------------------

    def hand(self, _target: Target, name: str, fills: dict[str, str]) -> None:
        """Do what a target's commands do; the node controller's grace is over at once."""
        node, verb, what = fills.get("node", ""), fills["verb"], name.removesuffix("_timer")
        self._write(f"{name} {verb} {node}".rstrip() + (f" {fills['after_s']}" if what != name else ""))
        place = f"{what} {node}".rstrip()
        with self._one_hand:
            if what != name:
                self.timers.pop(place, None)
                if fills["after_s"] != "0":
                    self.timers[place] = verb
            elif verb in {"thaw", "start", "clear", "up"}:
                self.reached.pop(place, None)
            else:
                self.reached[place] = f"{verb} {fills.get('amount', '')}".rstrip()
            if name == "node":
                self._kubelet(node, verb)
            self._control()

    def open_window(self, _target: Target) -> str:
        """Give a window as Focus Server does, if it is there: a Job and its pod."""
        self._write("configure")
        if not any(_is_ready(pod) for pod in self._all("pods", SYSTEM, "app=focus-server")):
            raise Refused("POST /configure: 503")
        self.add_window(job_id := f"{next(self._numbers)}-1")
        return job_id

    def add_window(self, job_id: str) -> None:
        """Put a window there that somebody else opened."""
        name = f"grpc-job-{job_id}"
        job: Object = {"metadata": {"name": name, "uid": f"uid-{next(self._numbers)}"}, "spec": {}}
        self._store(("jobs", SYSTEM, name), job)
        owner = {"kind": "Job", "name": name, "uid": job["metadata"]["uid"]}
        pod = self._pod(f"{name}-x", {"app": name}, {"containers": [{"resources": {"limits": {GPU: "1"}}}]})
        pod["metadata"]["ownerReferences"] = [owner]
        self._control()

    # --- the inside -------------------------------------------------------------------------------

    def snapshot(self) -> str:
        """Return everything as text; `restore` takes it."""
        with self._one_hand:
            objects = [[list(key), obj] for key, obj in self.objects_by_key.items()]
            return json.dumps([objects, self.reached, self.timers])

    @classmethod
    def restore(cls, snapshot: str) -> "MemoryWorld":
        world = cls()
        objects, world.reached, world.timers = json.loads(snapshot)
        world.objects_by_key = {tuple(key): obj for key, obj in objects}
        world._numbers = itertools.count(10_000)
        world._control()
        return world

    def declared(self) -> dict[str, Any]:
        """Return the declared state: what undo promises to bring back. What pods there are is not in it; marks are."""
        state: dict[str, Any] = {
            **self.reached,
            **{f"timer {key}": verb for key, verb in self.timers.items()},
        }
        for (kind, place, name), obj in sorted(self.objects_by_key.items()):
            marks = [*_labels(obj), *(obj["metadata"].get("annotations") or {})]
            said: list[Any] = sorted(mark for mark in marks if mark.startswith("focus-harness/"))
            if kind == "nodes":
                said += [obj["status"]["conditions"][0]["status"], obj["spec"]]
            elif kind in WORKLOADS:
                said += [obj["spec"], obj["status"]["readyReplicas"], obj["status"]["updatedReplicas"]]
            elif kind.endswith("bindings"):
                said += [obj.get("subjects")]
            elif kind == "services":
                said += [obj["spec"]]
            elif kind == "events" or (
                not said and place == SYSTEM and kind not in {"networkpolicies", "configmaps"}
            ):
                continue
            state[f"{kind} {place} {name}"] = json.dumps(said, sort_keys=True)
        return state

    def pods(self) -> set[str]:
        """Return the pods there are, each by its uid."""
        return {pod["metadata"]["uid"] for pod in self._all("pods", "*")}

    def _refuse_if_down(self) -> None:
        if self.reached.get("api") == "down":
            raise Unreachable("no answer: the API server is down")

    def _write(self, what: str) -> None:
        self.before_write(what)
        self.writes.append(what)

    def _key(self, kind: str, name: str, namespace: str | None) -> Key:
        return kind, "" if kind in CLUSTER_WIDE else namespace or SYSTEM, name

    def _all(self, kind: str, where: str, selector: str = "") -> Iterator[Object]:
        for (of, place, _), obj in sorted(self.objects_by_key.items()):
            if of == kind and where in {place, "*"} and _matches(obj, selector):
                yield obj

    def _store(self, key: Key, obj: Object) -> None:
        before = self.objects_by_key.get(key)
        obj["metadata"]["resourceVersion"] = str(next(self._numbers))
        if key[0] in WORKLOADS and (before is None or before["spec"] != obj["spec"]):
            obj["metadata"]["generation"] = int(obj["metadata"].get("generation", 0)) + 1
        self.objects_by_key[key] = obj

    def _kubelet(self, node: str, verb: str) -> None:
        key = ("nodes", "", node)
        status = "True" if verb in {"thaw", "start"} else "Unknown"
        conditions = [{"type": "Ready", "status": status}]
        if self.objects_by_key[key]["status"]["conditions"] != conditions:
            self.objects_by_key[key]["status"]["conditions"] = conditions
            self._store(key, self.objects_by_key[key])
        if verb == "kill":
            for kept, pod in list(self.objects_by_key.items()):
                if kept[0] == "pods" and pod["spec"].get("nodeName") == node:
                    del self.objects_by_key[kept]

    # --- controllers ------------------------------------------------------------------------------

    def _control(self) -> None:
        """Do what controllers do, at once: orphans, pods of workloads, placement, starting, ready counts."""
        while orphans := self._orphans():
            for key in orphans:
                del self.objects_by_key[key]
        workloads = [(key, obj) for key, obj in sorted(self.objects_by_key.items()) if key[0] in WORKLOADS]
        for key, obj in workloads:
            self._roll(key, obj)
        for obj in list(self._all("pods", "*")):
            self._run(obj)
        for _, obj in workloads:
            self._settle(obj)

    def _orphans(self) -> list[Key]:
        uids = {obj["metadata"]["uid"] for obj in self.objects_by_key.values()}
        return [
            key
            for key, obj in self.objects_by_key.items()
            if (owners := obj["metadata"].get("ownerReferences"))
            and all(owner["uid"] not in uids for owner in owners)
        ]

    def _roll(self, key: Key, workload: Object) -> None:
        """Bring a workload's pods to its template: Recreate at once, else only when the new one is ready."""
        spec = workload["spec"]
        pods = list(self._of(workload))
        if not spec["replicas"]:
            gone = pods
        else:
            old = [pod for pod in pods if pod["metadata"]["template"] != _template(workload)]
            gone = old if spec.get("strategy", {}).get("type") == "Recreate" else []
            if len(old) == len(pods) and self.mongodb_returns:
                template = spec["template"]
                name = f"{key[2]}-{next(self._numbers)}"
                pod = self._pod(name, template["metadata"]["labels"], template["spec"])
                pod["metadata"]["template"] = _template(workload)
                self._run(pod)
                gone = old if _is_ready(pod) else gone
        for pod in gone:
            del self.objects_by_key["pods", SYSTEM, pod["metadata"]["name"]]

    def _settle(self, workload: Object) -> None:
        pods = list(self._of(workload))
        newest = [pod for pod in pods if pod["metadata"]["template"] == _template(workload)]
        workload["status"] = {
            "observedGeneration": workload["metadata"]["generation"],
            "readyReplicas": sum(map(_is_ready, pods)),
            "updatedReplicas": len(newest),
        }

    def _of(self, workload: Object) -> Iterator[Object]:
        wanted = workload["spec"]["selector"]["matchLabels"]
        for pod in self._all("pods", SYSTEM):
            if wanted.items() <= _labels(pod).items():
                yield pod

    def _run(self, pod: Object) -> None:
        """Place a pod and start it, as far as nodes allow."""
        if "nodeName" not in pod["spec"]:
            self._place(pod)
        node = self.objects_by_key.get(("nodes", "", pod["spec"].get("nodeName", "")))
        status = pod.setdefault("status", {"phase": "Pending"})
        if node is None or "podIP" in status or not _is_ready(node):
            return
        name, there = pod["metadata"]["name"], node["metadata"]["name"]
        taken = {p["status"]["podIP"] for p in self._on(there) if "podIP" in p.get("status", {})}
        free = [ip for n in range(node["addresses"]) if (ip := f"{there}.{n}") not in taken]
        if not free:
            self._no_address(pod, name)
            return
        status |= {"phase": "Running", "podIP": free[0]}
        if any(container.get("command") == ["false"] for container in pod["spec"]["containers"]):
            status["containerStatuses"] = [{"restartCount": 1, "state": {"waiting": {}}}]
        else:
            status["conditions"] = [{"type": "Ready", "status": "True"}]

    def _place(self, pod: Object) -> None:
        wanted, allowed = _gpus(pod), _allowed(pod)
        for node in self._all("nodes", "", "!control-plane"):
            name = node["metadata"]["name"]
            free = int(node["status"]["allocatable"][GPU]) - sum(map(_gpus, self._on(name)))
            sound = _is_ready(node) and not node["spec"].get("unschedulable")
            if sound and free >= wanted and name in (allowed or [name]):
                pod["spec"]["nodeName"] = name
                return

    def _on(self, node: str) -> Iterator[Object]:
        return (pod for pod in self._all("pods", "*") if pod["spec"].get("nodeName") == node)

    def _no_address(self, pod: Object, name: str) -> None:
        place = pod["metadata"].get("namespace", SYSTEM)
        event: Object = {
            "metadata": {"name": f"{name}.1", "uid": f"uid-of-event-{name}"},
            "involvedObject": {"name": name},
            "reason": "FailedCreatePodSandBox",
            "message": "no IP addresses available in range",
        }
        if ("events", place, f"{name}.1") not in self.objects_by_key:
            self._store(("events", place, f"{name}.1"), event)

    def _pod(self, name: str, labels: dict[str, str], spec: Object) -> Object:
        metadata = {"name": name, "namespace": SYSTEM, "labels": dict(labels)}
        metadata["uid"] = f"uid-{next(self._numbers)}"
        pod: Object = {"metadata": metadata, "spec": copy.deepcopy(spec), "status": {"phase": "Pending"}}
        self._store(("pods", SYSTEM, name), pod)
        return pod


def site_of(world: MemoryWorld, target: Target = TARGET) -> Site:
    """Return the site that faults get."""
    return Site(world, target, world.hand, world.open_window)


def small_cluster(cordoned: tuple[str, ...] = (), shares: int = 3, windows: int = 0) -> MemoryWorld:
    """Return a world with a control plane, two workers, the system's workloads and accounts, and `windows` windows."""
    world = MemoryWorld()
    ready = [{"type": "Ready", "status": "True"}]
    for name in ("master", "worker-1", "worker-2"):
        labels = {"control-plane": "true"} if name == "master" else {}
        spec = {"unschedulable": True} if name in cordoned else {}
        status = {"conditions": ready, "allocatable": {GPU: str(shares)}}
        node = {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status, "addresses": 15}
        world.create("nodes", node)
    for name in ("mongodb", "focus-server", "rabbitmq", "player"):
        kind = "statefulsets" if name == "rabbitmq" else "deployments"
        container = {"name": name, "image": name, "command": [name], "args": ["--serve"]}
        template = {
            "metadata": {"labels": {"app": name}},
            "spec": {"serviceAccountName": f"{name}-sa", "containers": [container]},
        }
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}
        strategy = {"strategy": rolling} if kind == "deployments" else {}
        workload = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
        world.create(kind, {"metadata": {"name": name}, "spec": {**workload, **strategy}, "status": {}})
    ports = [{"port": 27017, "targetPort": 27017}]
    service = {"selector": {"app": "mongodb", "tier": "data"}, "ports": ports}
    world.create("services", {"metadata": {"name": "mongodb"}, "spec": service})
    for kind, name in (("rolebindings", "jobs"), ("clusterrolebindings", "nodes")):
        subjects = [
            {"kind": "ServiceAccount", "name": account, "namespace": SYSTEM}
            for account in ("focus-server-sa", "cleanup-sa")
        ]
        world.create(kind, {"metadata": {"name": name}, "subjects": subjects})
    alone = [{"kind": "ServiceAccount", "name": "cleanup-sa", "namespace": SYSTEM}]
    world.create("rolebindings", {"metadata": {"name": "cleanup"}, "subjects": alone})
    world.create("namespaces", {"metadata": {"name": OURS}})
    for number in range(windows):
        world.add_window(f"0-{number}")
    world.writes.clear()
    return world


def budget(world: MemoryWorld, app: str, allowed: int = 0) -> None:
    """Put a disruption budget for the pods of an app there."""
    spec = {"selector": {"matchLabels": {"app": app}}}
    status = {"disruptionsAllowed": allowed}
    world.create("poddisruptionbudgets", {"metadata": {"name": app}, "spec": spec, "status": status})


def _labels(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def _is_ready(obj: Object) -> bool:
    conditions = obj.get("status", {}).get("conditions") or ()
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _gpus(pod: Object) -> int:
    limits = ((c.get("resources") or {}).get("limits") or {} for c in pod["spec"]["containers"])
    return sum(int(limit.get(GPU, 0)) for limit in limits)


def _allowed(pod: Object) -> list[str]:
    """Return the nodes that a pod's affinity names, none for any."""
    required = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    terms = required.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", ())
    return [value for term in terms for field in term["matchFields"] for value in field["values"]]


def _template(workload: Object) -> str:
    return json.dumps(workload["spec"]["template"], sort_keys=True)


def _without_empty(value: Any) -> Any:
    """Return a workload's spec as the API gives it back: empty lists of strings are left out (Go's omitempty)."""
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item != []}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


def _matches(obj: Object, selector: str) -> bool:
    labels = _labels(obj)
    for part in filter(None, selector.split(",")):
        if part.startswith("!"):
            if part[1:] in labels:
                return False
        elif "=" in part:
            key, _, value = part.partition("=")
            if labels.get(key) != value:
                return False
        elif part not in labels:
            return False
    return True


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(old)
    for key, value in patch.items():
        if key == "resourceVersion":
            continue
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            child = _merged(merged.get(key) or {}, value)
            child = {k: v for k, v in child.items() if v is not None}
            if child or key in merged:
                merged[key] = child
        else:
            merged[key] = copy.deepcopy(value)
    return merged
