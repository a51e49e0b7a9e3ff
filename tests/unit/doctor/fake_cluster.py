"""A target in memory, healthy until a test breaks it: objects by kind, and answers of Focus Server, MongoDB and the broker."""

import copy
import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from harness.cluster import Conflict, Object, Ran
from harness.doctor.asking import NoAnswer, Reply
from harness.doctor.sight import Sight
from harness.errors import AccessDenied
from harness.target import Target

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
GPU = "nvidia.com/gpu.shared"

TARGET: dict[str, Any] = {
    "schema": 1,
    "name": "fake",
    "url": "http://ingress/focus-server",
    "kube": {
        "kubeconfig": "/nowhere/kubeconfig",
        "context": "panda-cluster",
        "identity": "uid-of-fake",
        "worker_selector": "worker",
        "roles": {
            "focus_server": {"kind": "Deployment", "name": "focus-server", "selector": "app=focus-server", "service": "focus-server"},
            "mongodb": {"kind": "Deployment", "name": "mongodb", "selector": "app=mongodb"},
            "broker": {"kind": "StatefulSet", "name": "rabbitmq", "selector": "app=rabbitmq"},
            "player": {"kind": "Deployment", "name": "player", "selector": "app=player"},
        },
    },
    "max_windows": 3,
    "mongodb_uri": "mongodb://fake",
    "broker_uri": "amqp://fake",
    "hands": {"node": "reach {node} {verb}"},
}  # fmt: skip


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat()


class FakeCluster:
    """Objects by (kind, name), with versions and preconditions; and what the doctor asks elsewhere."""

    harness_namespace = "focus-harness"
    host = "https://fake"

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Object] = {}
        self.refused_kinds: set[str] = set()
        self.forbidden: set[tuple[str, str]] = set()
        """What Focus Server's account may not do: (verb, resource)."""
        self.reviews_allowed = True
        self.ran: Ran | Exception = Ran(0, "node/worker-node\n", "")
        self.replies: dict[str, Reply | NoAnswer] = {}
        self.mongodb_answer: list[dict[str, Any]] | NoAnswer = [{"base_path": "/data"}]
        self.queues: set[str] | NoAnswer = set()
        self.log = ""
        self.writes: list[str] = []
        self._numbers = itertools.count(1)
        for name, kind in (
            ("focus-server", "deployments"),
            ("mongodb", "deployments"),
            ("rabbitmq", "statefulsets"),
            ("player", "deployments"),
        ):
            self.put(kind, name, spec={"replicas": 1, "template": {"spec": {"serviceAccountName": name}}})
            self.pod_of(name, f"{name}-0")
        self.put(
            "services",
            "focus-server",
            spec={"clusterIP": "10.0.0.1", "ports": [{"port": 5000, "targetPort": 5000}]},
        )
        self.put(
            "endpointslices",
            "focus-server-x",
            labels={"kubernetes.io/service-name": "focus-server"},
            endpoints=[{"addresses": ["10.1.0.1"], "conditions": {"ready": True}}],
        )
        for name in ("worker-1", "worker-2"):
            self.put(
                "nodes",
                name,
                labels={"worker": ""},
                spec={},
                status={"allocatable": {GPU: "2"}, "conditions": [{"type": "Ready", "status": "True"}]},
            )
        for kind, of in (("rolebindings", "Role"), ("clusterrolebindings", "ClusterRole")):
            self.put(
                kind,
                "focus-server",
                roleRef={"kind": of, "name": "focus-server"},
                subjects=[{"kind": "ServiceAccount", "name": "focus-server", "namespace": "panda"}],
            )
        self.put("roles", "focus-server")
        self.put("clusterroles", "focus-server")
        self.answer("/ack", 200, b"{}")
        self.answer("/live_metadata", 200, b'{"prr": 2000, "sw_version": "11"}')

    # --- making it ill ----------------------------------------------------------------------------

    def put(
        self, kind: str, name: str, labels: dict[str, str] | None = None, age_s: float = 600, **parts: Any
    ) -> Object:
        number = next(self._numbers)
        metadata = {
            "name": name,
            "namespace": "panda",
            "uid": f"uid-{number}",
            "resourceVersion": str(number),
            "creationTimestamp": ago(age_s),
            "labels": labels or {},
        }
        if kind in {"nodes", "clusterrolebindings", "clusterroles"}:
            del metadata["namespace"]
        self.kept[kind, name] = copy.deepcopy({"metadata": metadata, **parts})
        return self.kept[kind, name]

    def pod_of(self, workload: str, name: str, **parts: Any) -> Object:
        """Put a pod that a workload made."""
        owner = {"kind": "ReplicaSet", "name": f"{workload}-5f6b", "uid": "uid-of-set"}
        if ("statefulsets", workload) in self.kept:
            uid = self.kept["statefulsets", workload]["metadata"]["uid"]
            owner = {"kind": "StatefulSet", "name": workload, "uid": uid}
        labels = {"app": workload}
        pod = self.put(
            "pods", name, labels, **{"spec": {"nodeName": "master-node"}, "status": READY, **parts}
        )
        pod["metadata"]["ownerReferences"] = [owner]
        return pod

    def window(
        self,
        job_id: str,
        *,
        age_s: float = 600,
        job: bool = True,
        cleanup: bool = True,
        service: bool = True,
        phase: str = "Running",
        cpu: str = "9m",
        node: str = "worker-1",
    ) -> None:
        if job:
            self.put(
                "jobs",
                f"grpc-job-{job_id}",
                age_s=age_s,
                spec={"ttlSecondsAfterFinished": 120},
                status={"active": 1},
            )
            pod = {
                "containers": [{"resources": {"limits": {GPU: "1"}}}],
                **({"nodeName": node} if phase == "Running" else {}),
            }
            waits = (
                [{"type": "PodScheduled", "status": "False", "message": f"Insufficient {GPU}"}]
                if phase == "Pending"
                else []
            )
            self.put(
                "pods",
                f"grpc-job-{job_id}-abcde",
                age_s=age_s,
                spec=pod,
                status={"phase": phase, "conditions": waits},
            )
            if cpu and phase == "Running":
                self.put(
                    "pods.metrics.k8s.io", f"grpc-job-{job_id}-abcde", containers=[{"usage": {"cpu": cpu}}]
                )
        if cleanup:
            self.put(
                "jobs",
                f"cleanup-job-{job_id}",
                age_s=age_s,
                spec={"template": {"spec": {}}},
                status={"active": 1},
            )
        if service:
            self.put("services", f"grpc-service-{job_id}", age_s=age_s, spec={"ports": []})

    def answer(self, path: str, status: int, body: bytes = b"") -> None:
        self.replies[f"http://ingress/focus-server{path}"] = Reply(status, body, "nginx", 0.01)

    def sight(self, *, ahead_s: float = 0.0, source: str = "", **changes: Any) -> Sight:
        target = Target.model_validate({**copy.deepcopy(TARGET), **changes})
        world = None if target.kubernetes == "none" else self
        return Sight(target, world, self, now=NOW, ahead_s=ahead_s, source=source)  # type: ignore[arg-type]

    # --- World ------------------------------------------------------------------------------------

    def objects(
        self, kind: str, namespace: str | None = None, selector: str = "", fields: str = ""
    ) -> list[Object]:
        if kind in self.refused_kinds:
            raise AccessDenied(f"list {kind}: 403")
        key, _, value = selector.partition("=")
        return [
            copy.deepcopy(obj)
            for (of, _), obj in self.kept.items()
            if of == kind
            and (namespace != "focus-harness")
            and (
                not key
                or (
                    key in obj["metadata"]["labels"]
                    and (not value or obj["metadata"]["labels"][key] == value)
                )
            )
        ]

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        return copy.deepcopy(self.kept.get((kind, name)))

    def create(self, kind: str, obj: Object, namespace: str | None = None) -> Object:
        if kind == "selfsubjectaccessreviews":
            return {
                "status": {"allowed": obj["spec"]["resourceAttributes"]["resource"] not in self.refused_kinds}
            }
        if kind.endswith("accessreviews"):
            if not self.reviews_allowed:
                raise AccessDenied("create subjectaccessreviews: 403")
            asked = obj["spec"]["resourceAttributes"]
            return {"status": {"allowed": (asked["verb"], asked["resource"]) not in self.forbidden}}
        self.writes.append(f"create {kind} {obj['metadata']['name']}")
        return self.put(
            kind, obj["metadata"]["name"], **{key: value for key, value in obj.items() if key != "metadata"}
        )

    def patch(
        self,
        kind: str,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        resource_version: str | None = None,
    ) -> Object:
        self._hold(kind, name, resource_version)
        self.writes.append(f"patch {kind} {name} {patch}")
        self.kept[kind, name].update(
            {
                key: {**self.kept[kind, name].get(key, {}), **value} if isinstance(value, dict) else value
                for key, value in patch.items()
            }
        )
        return self.kept[kind, name]

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: str | None = None,
    ) -> bool:
        self._hold(kind, name, resource_version)
        assert uid == self.kept[kind, name]["metadata"]["uid"], "deleted without its uid"
        self.writes.append(f"delete {kind} {name}")
        del self.kept[kind, name]
        return True

    def _hold(self, kind: str, name: str, version: str | None) -> None:
        if version is not None and version != self.kept[kind, name]["metadata"]["resourceVersion"]:
            raise Conflict(f"{kind} {name} has changed", 409)

    def logs(self, pod: str, **_: Any) -> str:
        return self.log

    def whoami(self) -> str:
        return "tester"

    # --- Asking -----------------------------------------------------------------------------------

    def get(self, url: str) -> Reply:
        found = self.replies.get(url, NoAnswer("connect", "refused"))
        if isinstance(found, NoAnswer):
            raise found
        return found

    def mongodb(self, uri: str) -> list[dict[str, Any]]:
        if isinstance(self.mongodb_answer, NoAnswer):
            raise self.mongodb_answer
        return self.mongodb_answer

    def broker(self, uri: str, queues: Iterable[str]) -> dict[str, int]:
        if isinstance(self.queues, NoAnswer):
            raise self.queues
        return {queue: 0 for queue in queues if queue in self.queues}

    def execute(self, pod: str, argv: list[str], within_s: float) -> Ran:
        if isinstance(self.ran, Exception):
            raise self.ran
        return self.ran


READY = {"phase": "Running", "podIP": "10.1.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
WAITS = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
