"""The control plane as a process, seen by an unmodified kubectl."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from played_kubelet import NODE, Plane, PlayedKubelet

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.skipif(
        shutil.which("kubectl") is None, reason="no kubectl on PATH: apt-get install kubernetes-client"
    ),
]

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "pause:1", env: [{name: A, value: "1"}, {name: B, value: "2"}]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {a: b}
"""


class Kubectl:
    """Runs kubectl against a plane."""

    def __init__(self, plane: Plane, home: Path) -> None:
        self.environment = {
            "KUBECONFIG": str(plane.kubeconfig),
            "HOME": str(home),
            "PATH": os.environ["PATH"],
        }

    def __call__(self, *words: str, text: str | None = None, code: int = 0) -> str:
        done = subprocess.run(
            ["kubectl", *words],
            input=text,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=40,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    @property
    def minor(self) -> int:
        """The client's minor version."""
        found = json.loads(self("version", "--client", "-o", "json"))
        return int(found["clientVersion"]["minor"].rstrip("+"))

    def json(self, *words: str) -> dict[str, object]:
        """The answer to `get ... -o json`."""
        found: dict[str, object] = json.loads(self("get", *words, "-o", "json"))
        return found


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    folder = tmp_path_factory.mktemp("plane")
    plane = Plane(folder / "state")
    kubelet = PlayedKubelet(plane)
    yield Kubectl(plane, folder)
    kubelet.stop()
    plane.stop()


@pytest.fixture
def web(kubectl: Kubectl) -> Iterator[None]:
    kubectl("apply", "-f", "-", text=MANIFEST)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    yield
    kubectl("delete", "-f", "-", text=MANIFEST)


@pytest.mark.usefixtures("web")
def test_apply_again_changes_what_changed_and_nothing_else(kubectl: Kubectl) -> None:
    changed = MANIFEST.replace('{name: B, value: "2"}', '{name: C, value: "3"}')
    said = kubectl("apply", "-f", "-", text=changed)
    assert said.splitlines() == ["deployment.apps/web configured", "configmap/conf unchanged"]
    names = kubectl(
        "get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env[*].name}"
    )
    assert names.split() == ["A", "C"]
    bad = kubectl("apply", "-f", "-", text=MANIFEST.replace("replicas", "replica"), code=1)
    assert "unknown field" in bad
    assert "replica" in bad


@pytest.mark.usefixtures("web")
def test_get_and_describe_show_what_runs(kubectl: Kubectl) -> None:
    rows = [line.split() for line in kubectl("get", "pods", "-l", "app=web", "--no-headers").splitlines()]
    assert [row[1:3] for row in rows] == [["1/1", "Running"]] * 2
    assert "2 desired | 2 updated | 2 total | 2 available" in kubectl("describe", "deployment", "web")
    assert "Successfully assigned default/" in kubectl("describe", "pod", rows[0][0])
    assert "nvidia.com/gpu.shared:  20" in kubectl("describe", "node", NODE)
    assert "pod=web-" in kubectl("logs", rows[0][0])


@pytest.mark.usefixtures("web")
def test_scale_and_rollout_restart_end_with_the_pods_asked_for(kubectl: Kubectl) -> None:
    kubectl("scale", "deployment/web", "--replicas=3")
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    before = set(kubectl("get", "pods", "-l", "app=web", "-o", "name").split())
    kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    end = time.monotonic() + 20
    while (now := set(kubectl("get", "pods", "-l", "app=web", "-o", "name").split())) & before:
        assert time.monotonic() < end, now
    assert len(now) == 3


@pytest.mark.usefixtures("web")
def test_drain_empties_a_node_and_uncordon_opens_it(kubectl: Kubectl) -> None:
    kubectl("drain", NODE, "--ignore-daemonsets", "--force", "--timeout=20s")
    assert "Ready,SchedulingDisabled" in kubectl("get", "node", NODE)
    left = kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}")
    assert left == ""
    kubectl("uncordon", NODE)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")


def test_can_i_says_what_roles_say(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "delete", "nodes").strip() == "yes"
    kubectl("create", "role", "looker", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "looker", "--role=looker", "--user=bob")
    assert kubectl("auth", "can-i", "list", "pods", "--as=bob").strip() == "yes"
    assert kubectl("auth", "can-i", "delete", "pods", "--as=bob", code=1).startswith("no")
    if kubectl.minor >= 27:
        assert "kubernetes-admin" in kubectl("auth", "whoami")


def test_exec_reaches_the_kubelet(kubectl: Kubectl) -> None:
    if kubectl.minor < 31:
        pytest.skip(
            "this kubectl execs over SPDY, which the sandbox does not speak; install kubectl 1.31 or newer"
        )
    kubectl("run", "one", "--image=pause:1", "--restart=Never")
    kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=20s")
    assert kubectl("exec", "one", "--", "echo", "hello") == "echo hello\n"
    assert "exit code 3" in kubectl("exec", "one", "--", "exit", "3", code=3)
    kubectl("delete", "pod", "one", "--now")


@pytest.mark.parametrize(
    "words",
    [
        "configmap x --from-literal=a=b",
        "secret generic x --from-literal=a=b",
        "serviceaccount x",
        "namespace x",
        "deployment x --image=pause:1 --replicas=2 --port=80",
        "job x --image=pause:1 -- sleep 1",
        "role x --verb=get,list --resource=pods,deployments.apps --resource-name=n",
        "clusterrole x --verb=get --non-resource-url=/metrics",
        "rolebinding x --clusterrole=view --user=bob --group=g --serviceaccount=default:default",
        "pdb x --selector=app=d --min-available=50%",
        "quota x --hard=pods=10,requests.cpu=2",
        "priorityclass x --value=5",
        "service nodeport x --tcp=80:8080",
        "service externalname x --external-name=example.org",
    ],
)
def test_what_kubectl_sends_as_protobuf_arrives_as_it_would_as_json(kubectl: Kubectl, words: str) -> None:
    if kubectl.minor < 30:
        pytest.skip("this kubectl sends JSON; install kubectl 1.32 or newer")
    asked, _, command = words.partition(" -- ")
    tail = ["--", *command.split()] if command else []
    sent = kubectl("create", *asked.split(), "--dry-run=server", "-o", "json", *tail)
    meant = kubectl("create", *asked.split(), "--dry-run=client", "-o", "json", *tail)
    applied = kubectl("create", "-f", "-", "--dry-run=server", "-o", "json", text=meant)
    assert comparable(sent) == comparable(applied)


def comparable(text: str) -> dict[str, object]:
    """An object without what differs from one creation to the next."""
    found = json.loads(text)
    for key in ("uid", "creationTimestamp"):
        found["metadata"].pop(key, None)
    spec = found.get("spec") or {}
    for key in ("clusterIP", "clusterIPs"):
        spec.pop(key, None)
    for port in spec.get("ports") or []:
        port.pop("nodePort", None)
    if found["kind"] == "Job":
        spec.pop("selector")
        spec["template"]["metadata"].pop("labels")
    return {key: value for key, value in without_nulls(found).items() if value != {}}


def without_nulls(value: Any) -> Any:
    """A value without the nulls kubectl prints for the empty times of its own types."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value
