"""What is read out of Kubernetes objects, and the sums the view makes of it."""

from pathlib import Path
from typing import Any

import pytest

from harness.clock import ManualClock
from harness.errors import InputError
from harness.history.events import AnyEvent, NodeSeen, PodSeen, SharesSeen, SlotsSeen
from harness.history.reader import read_history
from harness.history.writer import HistoryWriter
from harness.observe.notebook import Notebook
from harness.observe.reading import Reader
from harness.observe.selectors import Selector
from harness.observe.view import ClusterView
from harness.target.model import Kubernetes, Role, RoleName

GPU = "nvidia.com/gpu.shared"
KUBERNETES = Kubernetes(
    kubeconfig="k",
    identity="u",
    worker_selector="!node-role.kubernetes.io/control-plane",
    roles={
        RoleName.FOCUS_SERVER: Role(kind="Deployment", name="focus-server", selector="app=focus-server"),
        RoleName.MONGODB: Role(kind="Deployment", name="mongodb", selector="app=mongodb"),
    },
)
READER = Reader(KUBERNETES, GPU)


def node(name: str, *, shares: int = 20, ready: str = "True", **spec: Any) -> dict[str, Any]:
    control = {"node-role.kubernetes.io/control-plane": ""} if name == "master" else {}
    return {
        "metadata": {"name": name, "uid": name, "labels": control},
        "spec": spec,
        "status": {"allocatable": {GPU: str(shares)}, "conditions": [{"type": "Ready", "status": ready}]},
    }


def pod(name: str, *, phase: str = "Running", on: str = "w1", gpu: int = 0, **more: Any) -> dict[str, Any]:
    limits = {"limits": {GPU: str(gpu)}} if gpu else {}
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "namespace": more.get("namespace", "panda"),
            "labels": more.get("labels", {}),
            **({"deletionTimestamp": "now"} if more.get("terminating") else {}),
        },
        "spec": {"nodeName": on, "containers": [{"resources": limits}]},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if phase == "Running" else "False"}],
            **more.get("status", {}),
        },
    }


@pytest.fixture
def told(tmp_path: Path) -> Any:
    notebook = Notebook(HistoryWriter(tmp_path, "watchers"), ManualClock())
    view = ClusterView(READER, notebook)

    def events() -> list[AnyEvent]:
        return [record.event for record in read_history(tmp_path).events]

    yield view, events
    notebook.close()


# --- selectors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "labels", "matches"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a=b", {"a": "c"}, False),
        ("a==b,c", {"a": "b", "c": ""}, True),
        ("!a", {}, True),
        ("!a", {"a": ""}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b, c),d", {"a": "c", "d": "1"}, True),
        ("a in (b, c)", {"a": "d"}, False),
        ("a notin (b)", {}, True),
        ("app.kubernetes.io/name=x-y", {"app.kubernetes.io/name": "x-y"}, True),
    ],
)
def test_a_selector_means_what_kubectl_means(selector: str, labels: dict[str, str], matches: bool) -> None:
    assert Selector.parse(selector).matches(labels) is matches


def test_a_selector_that_is_not_understood_is_refused() -> None:
    with pytest.raises(InputError, match="a >< b"):
        Selector.parse("a >< b")


# --- objects --------------------------------------------------------------------------------------


def test_a_pod_has_its_role_its_window_and_why_it_waits() -> None:
    waiting = pod(
        "grpc-job-12-70788-x2kqp",
        phase="Pending",
        on="",
        gpu=1,
        status={"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
    )
    seen = READER.pod(waiting, 5, exists=True)
    assert (seen.role, seen.job_id, seen.gpu, seen.reason, seen.ready) == (
        "stream",
        "12-70788",
        1,
        "Unschedulable",
        False,
    )
    assert READER.pod(pod("cleanup-job-12-70788-aaaaa"), 5, exists=True).role == "cleanup"
    assert READER.pod(pod("f-1", labels={"app": "focus-server"}), 5, exists=True).role == "focus_server"
    assert READER.pod(pod("h", labels={"focus-harness/hog": "x"}), 5, exists=True).role == "hog"
    assert READER.pod(pod("x"), 5, exists=True).role == "other"
    crashed = {
        "containerStatuses": [{"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]
    }
    seen = READER.pod(pod("f", status=crashed, terminating=True), 5, exists=True)
    assert (seen.reason, seen.restarts, seen.terminating) == ("CrashLoopBackOff", 3, True)


def test_jobs_and_services_of_windows_are_told_from_all_others() -> None:
    done = {
        "metadata": {"name": "grpc-job-1-2"},
        "status": {"conditions": [{"type": "Complete", "status": "True"}]},
    }
    job = READER.job(done, 1, exists=True)
    assert job is not None
    assert (job.job_id, job.state) == ("1-2", "complete")
    assert READER.job({"metadata": {"name": "backup"}}, 1, exists=True) is None
    service = READER.service(
        {"metadata": {"name": "grpc-service-1-2"}, "spec": {"ports": [{"port": 12301, "nodePort": 30001}]}},
        1,
        exists=True,
    )
    assert service is not None
    assert (service.job_id, service.node_port) == ("1-2", 30001)
    assert READER.service({"metadata": {"name": "focus-server"}, "spec": {}}, 1, exists=True) is None


def test_ordinary_events_of_windows_are_left_out_and_warnings_kept() -> None:
    about = {"kind": "Pod", "name": "grpc-job-1-2-abcde", "namespace": "panda"}
    assert READER.event({"involvedObject": about, "reason": "Scheduled", "type": "Normal"}, 1) is None
    failed = READER.event(
        {"involvedObject": about, "reason": "FailedScheduling", "type": "Warning", "message": "0/3 nodes"}, 1
    )
    assert failed is not None
    assert (failed.about, failed.warning, failed.text) == ("Pod/grpc-job-1-2-abcde", True, "0/3 nodes")
    elsewhere = {"kind": "Pod", "name": "x", "namespace": "default"}
    assert READER.event({"involvedObject": elsewhere, "reason": "Failed", "type": "Warning"}, 1) is None


# --- sums -----------------------------------------------------------------------------------------


def test_shares_are_summed_only_when_nodes_and_pods_are_known_and_written_only_when_they_change(
    told: Any,
) -> None:
    view, events = told
    view.node(node("w1"), exists=True)
    view.node(node("w2"), exists=True)
    view.node(node("master", shares=5), exists=True)
    view.listed("nodes")
    view.pod(pod("grpc-job-1-2-abcde", gpu=1), exists=True)
    assert not [event for event in events() if isinstance(event, SharesSeen)]
    view.listed("pods")
    view.pod(pod("hog", on="w2", gpu=4, labels={"focus-harness/hog": "1"}), exists=True)
    view.pod(pod("hog", on="w2", gpu=4, labels={"focus-harness/hog": "1"}), exists=True)
    view.node(node("w1", unschedulable=True), exists=True)
    view.pod(pod("grpc-job-1-2-abcde", gpu=1, phase="Succeeded"), exists=True)
    shares = [event for event in events() if isinstance(event, SharesSeen)]
    assert [(s.total, s.used, s.free, s.free_schedulable, s.by_hogs) for s in shares] == [
        (40, 1, 39, 39, 0),
        (40, 5, 35, 35, 4),
        (40, 5, 35, 16, 4),
        (40, 4, 36, 16, 4),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        {"ready": "Unknown"},
        {"ready": "False"},
        {"unschedulable": True},
        {"taints": [{"key": "k", "effect": "NoExecute"}]},
    ],
)
def test_a_worker_that_takes_no_pods_has_no_schedulable_share(told: Any, broken: dict[str, Any]) -> None:
    view, events = told
    view.node(node("w1", **broken), exists=True)
    view.listed("nodes")
    view.listed("pods")
    [shares] = [event for event in events() if isinstance(event, SharesSeen)]
    assert (shares.free, shares.free_schedulable) == (20, 0)


def test_slots_and_running_pods_are_counted_and_those_before_us_are_foreign(told: Any) -> None:
    view, events = told

    def service(name: str, *, exists: bool) -> None:
        view.service({"metadata": {"name": name}, "spec": {}}, exists=exists)

    service("grpc-service-1-9", exists=True)
    view.listed("services")
    view.pod(pod("grpc-job-1-9-abcde"), exists=True)
    view.listed("pods")
    service("grpc-service-2-10", exists=True)
    view.pod(pod("grpc-job-2-10-abcde", phase="Pending"), exists=True)
    service("grpc-service-1-9", exists=False)
    slots = [event for event in events() if isinstance(event, SlotsSeen)]
    assert [(s.running_pods, s.pending_pods, s.slots, s.foreign) for s in slots] == [
        (1, 0, 1, 1),
        (1, 0, 2, 1),
        (1, 1, 2, 1),
        (1, 1, 1, 0),
    ]


def test_what_vanishes_is_written_and_may_come_again(told: Any) -> None:
    view, events = told
    for exists in (True, False, True):
        view.node(node("w1"), exists=exists)
    assert [event.exists for event in events() if isinstance(event, NodeSeen)] == [True, False, True]


def test_pods_elsewhere_count_only_if_they_hold_shares(told: Any) -> None:
    view, events = told
    view.pod(pod("stranger", namespace="default"), exists=True)
    view.pod(pod("trainer", namespace="default", gpu=2, labels={"app": "mongodb"}), exists=True)
    seen = [event for event in events() if isinstance(event, PodSeen)]
    assert [(event.pod, event.role) for event in seen] == [("trainer", "other")]
