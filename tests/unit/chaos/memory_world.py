"""A cluster in memory, small enough to be read: objects, versions, conflicts, owners, and two controllers.

It holds to what faults rely on: a patch that changes nothing leaves the version alone, one at an old version
conflicts, a new pod of a deployment appears and becomes ready, what an absent owner owned is collected.
"""

import copy
import itertools
import json
from collections.abc import Callable
from typing import Any

from harness.cluster import Conflict, Missing, Object
from harness.target import Target

Key = tuple[str, str, str]
CLUSTER_WIDE = {"nodes", "namespaces"}
GPU = "nvidia.com/gpu.shared"

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
                "mongodb": {"kind": "Deployment", "name": "mongodb", "selector": "app=mongodb"},
                "focus_server": {
                    "kind": "Deployment",
                    "name": "focus-server",
                    "selector": "app=focus-server",
                },
            },
        },
        "max_windows": 30,
        "hands": {"node": "reach {node} {verb}"},
        "limits": {"max_nodes": 2, "max_gpu_share": 1.0, "max_hold": "10m"},
    }
)


class MemoryWorld:
    """Objects by (kind, namespace, name)."""

    def __init__(self) -> None:
        self.objects_by_key: dict[Key, Object] = {}
        self._numbers = itertools.count(1)
        self.before_write: Callable[[str], None] = lambda _what: None
        self.before_read: Callable[[str], None] = lambda _what: None
        self.writes: list[str] = []
        self.mongodb_returns = True

    # --- World ------------------------------------------------------------------------------------

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        self.before_read(f"{kind}/{name}")
        found = self.objects_by_key.get(self._key(kind, name, namespace))
        return copy.deepcopy(found)

    def objects(
        self, kind: str, namespace: str | None = None, selector: str = "", fields: str = ""
    ) -> list[Object]:
        where = "" if kind in CLUSTER_WIDE else namespace or "panda"
        return [
            copy.deepcopy(obj)
            for (of, place, _), obj in sorted(self.objects_by_key.items())
            if of == kind and (where in {place, "*"}) and _matches(obj, selector)
        ]

    def create(self, kind: str, obj: Object, namespace: str | None = None) -> Object:
        key = self._key(kind, obj["metadata"]["name"], namespace)
        self._write(f"create {kind}/{key[2]}")
        if key in self.objects_by_key:
            raise Conflict(f"{key} exists", 409)
        stored = copy.deepcopy(obj)
        stored["metadata"]["uid"] = f"uid-{next(self._numbers)}"
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
        key = self._key(kind, name, namespace)
        self._write(f"patch {kind}/{name}")
        found = self.objects_by_key.get(key)
        if found is None:
            raise Missing(f"{key} is not there", 404)
        if resource_version is not None and resource_version != found["metadata"]["resourceVersion"]:
            raise Conflict(f"{key} has changed", 409)
        changed = _merged(found, patch)
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

    def hand(self, _target: Target, node: str, verb: str) -> None:
        """Freeze or thaw a node's kubelet; the node controller's grace is over at once."""
        self._write(f"{verb} {node}")
        status = {"freeze": "Unknown", "thaw": "True"}[verb]
        key = ("nodes", "", node)
        conditions = [{"type": "Ready", "status": status}]
        if self.objects_by_key[key]["status"]["conditions"] != conditions:
            self.objects_by_key[key]["status"]["conditions"] = conditions
            self._store(key, self.objects_by_key[key])

    # --- the inside -------------------------------------------------------------------------------

    def snapshot(self) -> str:
        """Return everything as text; `restore` takes it."""
        return json.dumps([[list(key), obj] for key, obj in self.objects_by_key.items()])

    @classmethod
    def restore(cls, snapshot: str) -> "MemoryWorld":
        world = cls()
        world.objects_by_key = {tuple(key): obj for key, obj in json.loads(snapshot)}
        world._numbers = itertools.count(10_000)
        world._control()
        return world

    def declared(self) -> dict[str, Any]:
        """Return the declared state: what undo promises to bring back."""
        state: dict[str, Any] = {}
        for (kind, place, name), obj in sorted(self.objects_by_key.items()):
            if kind == "nodes":
                annotations = obj["metadata"].get("annotations") or {}
                ready = obj["status"]["conditions"][0]["status"]
                state[f"node {name}"] = (ready, obj["spec"].get("unschedulable", False), sorted(annotations))
            elif kind == "deployments":
                state[f"deployment {name}"] = (obj["spec"]["replicas"], obj["status"]["readyReplicas"])
            elif place == "focus-harness":
                state[f"{kind} {name}"] = True
        return state

    def _write(self, what: str) -> None:
        self.before_write(what)
        self.writes.append(what)

    def _key(self, kind: str, name: str, namespace: str | None) -> Key:
        return kind, "" if kind in CLUSTER_WIDE else namespace or "panda", name

    def _store(self, key: Key, obj: Object) -> None:
        obj["metadata"]["resourceVersion"] = str(next(self._numbers))
        self.objects_by_key[key] = obj

    def _control(self) -> None:
        """Do what controllers do, at once: pods of deployments, ready counts, placement, orphans."""
        uids = {obj["metadata"]["uid"] for obj in self.objects_by_key.values()}
        for key, obj in list(self.objects_by_key.items()):
            owners = obj["metadata"].get("ownerReferences") or []
            if owners and all(owner["uid"] not in uids for owner in owners):
                del self.objects_by_key[key]
            elif key[0] == "pods" and "nodeName" not in obj["spec"]:
                self._place(obj)
        for key, obj in list(self.objects_by_key.items()):
            if key[0] == "deployments":
                labels = obj["spec"]["selector"]
                pods = [
                    pod
                    for pod in self.objects("pods")
                    if labels.items() <= (pod["metadata"].get("labels") or {}).items()
                ]
                if not obj["spec"]["replicas"]:
                    for pod in pods:
                        del self.objects_by_key["pods", "panda", pod["metadata"]["name"]]
                    pods = []
                if not pods and obj["spec"]["replicas"] and self.mongodb_returns:
                    pods = [self._pod(f"{key[2]}-{next(self._numbers)}", labels)]
                obj["status"] = {"readyReplicas": len(pods)}

    def _place(self, pod: Object) -> None:
        wanted = sum(int(c["resources"]["limits"].get(GPU, 0)) for c in pod["spec"]["containers"])
        for node in self.objects("nodes", selector="!control-plane"):
            name = node["metadata"]["name"]
            used = sum(
                int(c["resources"]["limits"].get(GPU, 0))
                for other in self.objects("pods", "*")
                if other["spec"].get("nodeName") == name
                for c in other["spec"]["containers"]
            )
            free = int(node["status"]["allocatable"][GPU]) - used
            if free >= wanted and not node["spec"].get("unschedulable"):
                pod["spec"]["nodeName"] = name
                pod["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
                return

    def _pod(self, name: str, labels: dict[str, str]) -> Object:
        pod: Object = {
            "metadata": {"name": name, "labels": dict(labels), "uid": f"uid-{next(self._numbers)}"},
            "spec": {"containers": [{"resources": {"limits": {}}}], "nodeName": "worker-1"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }
        self._store(("pods", "panda", name), pod)
        return pod


def small_cluster(cordoned: tuple[str, ...] = (), shares: int = 3) -> MemoryWorld:
    """Return a world with a control plane, two workers, MongoDB and Focus Server."""
    world = MemoryWorld()
    ready = [{"type": "Ready", "status": "True"}]
    for name in ("master", "worker-1", "worker-2"):
        labels = {"control-plane": "true"} if name == "master" else {}
        spec = {"unschedulable": True} if name in cordoned else {}
        world.create(
            "nodes",
            {
                "metadata": {"name": name, "labels": labels},
                "spec": spec,
                "status": {"conditions": ready, "allocatable": {GPU: str(shares)}},
            },
        )
    for name in ("mongodb", "focus-server"):
        spec = {"replicas": 1, "selector": {"app": name}}
        world.create("deployments", {"metadata": {"name": name}, "spec": spec, "status": {}})
    world.writes.clear()
    return world


def _matches(obj: Object, selector: str) -> bool:
    labels = obj["metadata"].get("labels") or {}
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
