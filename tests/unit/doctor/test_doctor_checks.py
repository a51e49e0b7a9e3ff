"""Each check: what it finds, what it calls it, and that it says `unknown` when it cannot look."""

from collections.abc import Callable

import pytest
from fake_cluster import GPU, WAITS, FakeCluster, ago

from harness.cluster import Ran
from harness.doctor.asking import NoAnswer
from harness.doctor.checks import CHECKS
from harness.doctor.diagnosis import Diagnosis, diagnose
from harness.doctor.examine import examine
from harness.doctor.remedies import BY_NAME
from harness.doctor.result import CheckResult, Result
from harness.errors import AccessDenied, Exit

Ill = Callable[[FakeCluster], object]


def ask(cluster: FakeCluster, name: str, **changes: object) -> CheckResult:
    check = next(check for check in CHECKS if check.name == name)
    return examine(cluster.sight(**changes), [check])[0]


def diagnosed(cluster: FakeCluster, **changes: object) -> Diagnosis:
    return diagnose(examine(cluster.sight(**changes)))


def scaled_to_0(name: str, kind: str = "deployments") -> Ill:
    def ill(cluster: FakeCluster) -> None:
        cluster.kept[kind, name]["spec"]["replicas"] = 0
        del cluster.kept["pods", f"{name}-0"]

    return ill


def crash_loop(cluster: FakeCluster) -> None:
    status = {
        **WAITS,
        "containerStatuses": [
            {
                "restartCount": 7,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"reason": "Error", "exitCode": 3}},
            }
        ],
    }
    cluster.kept["pods", "focus-server-0"]["status"] = status


def no_endpoint(cluster: FakeCluster) -> None:
    cluster.kept["endpointslices", "focus-server-x"]["endpoints"][0]["conditions"]["ready"] = False


def forbidden(cluster: FakeCluster) -> None:
    cluster.forbidden = {("create", "jobs")}


def cut_off(cluster: FakeCluster) -> None:
    cluster.ran = Ran(1, "", "Unable to connect to the server: i/o timeout")


def cordon_all(cluster: FakeCluster) -> None:
    for name in ("worker-1", "worker-2"):
        cluster.kept["nodes", name]["spec"]["unschedulable"] = True


def under_pressure(cluster: FakeCluster) -> None:
    for name, of in (("worker-1", "disk-pressure"), ("worker-2", "network-unavailable")):
        taint = {"key": f"node.kubernetes.io/{of}", "effect": "NoSchedule"}
        cluster.kept["nodes", name]["spec"]["taints"] = [taint]


def silent_nodes(cluster: FakeCluster) -> None:
    for name in ("worker-1", "worker-2"):
        cluster.kept["nodes", name]["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]


def no_shares(cluster: FakeCluster) -> None:
    for number, node in enumerate(("worker-1", "worker-1", "worker-2", "worker-2"), 1):
        pod = {"nodeName": node, "containers": [{"resources": {"limits": {GPU: "1"}}}]}
        cluster.put("pods", f"other-{number}", spec=pod, status={"phase": "Running"})


def orphans(cluster: FakeCluster) -> None:
    for slot in (1, 2, 3):
        cluster.window(f"{slot}-{slot}", job=False, cleanup=False)


def no_address(cluster: FakeCluster) -> None:
    cluster.put("pods", "grpc-job-1-1-abcde", spec={"nodeName": "worker-1"}, status={"phase": "Pending"})
    about = {"name": "grpc-job-1-1-abcde"}
    cluster.put(
        "events",
        "e",
        reason="FailedCreatePodSandBox",
        message="no IP addresses available",
        involvedObject=about,
        lastTimestamp=ago(5),
    )


def no_mongodb(cluster: FakeCluster) -> None:
    cluster.mongodb_answer = NoAnswer("mongodb", "ServerSelectionTimeoutError")


def no_broker(cluster: FakeCluster) -> None:
    cluster.queues = NoAnswer("broker", "refused")


def waiting(cluster: FakeCluster) -> None:
    cluster.answer("/live_metadata", 200, b'{"prr": 0, "sw_version": "waiting for fiber"}')


def bad_ingress(cluster: FakeCluster) -> None:
    cluster.answer("/ack", 502)
    cluster.replies["http://10.0.0.1:5000/ack"] = cluster.replies["http://ingress/focus-server/live_metadata"]


ILLS: tuple[tuple[str, Ill, str, str], ...] = (
    ("focus-server", scaled_to_0("focus-server"), "focus_server_down", "rescale-focus-server"),
    ("focus-server", crash_loop, "focus_server_down", "restart-focus-server"),
    ("endpoints", no_endpoint, "focus_server_down", "restart-focus-server"),
    ("path", bad_ingress, "path", ""),
    ("focus-rights", forbidden, "kubernetes_unreachable", "restore-binding"),
    ("focus-rights", cut_off, "kubernetes_unreachable", "restart-focus-server"),
    ("nodes", cordon_all, "worker_unavailable", "uncordon"),
    ("nodes", silent_nodes, "worker_unavailable", "restart-kubelet"),
    ("nodes", under_pressure, "worker_unavailable", ""),
    ("gpu", under_pressure, "worker_unavailable", ""),
    ("gpu", cordon_all, "worker_unavailable", ""),
    ("gpu", no_shares, "gpu_exhausted", "wait"),
    ("max-windows", orphans, "max_windows", "delete-orphan-services"),
    ("pod-network", no_address, "pod_network_exhausted", "wait"),
    ("mongodb", scaled_to_0("mongodb"), "mongodb_unavailable", "restart-mongodb"),
    ("mongodb", no_mongodb, "mongodb_unavailable", "restart-mongodb"),
    ("broker", scaled_to_0("rabbitmq", "statefulsets"), "broker_unavailable", "restart-broker"),
    ("broker", no_broker, "broker_unavailable", "restart-broker"),
    ("fibre", waiting, "waiting_for_fibre", ""),
)


def test_a_healthy_target_is_healthy(cluster: FakeCluster) -> None:
    seen = diagnosed(cluster)
    assert [one.summary for one in seen.results if one.result is not Result.OK] == []
    assert seen.code == Exit.OK


@pytest.mark.parametrize(
    ("check", "ill", "cause", "remedy"), ILLS, ids=[f"{ill[0]}-{number}" for number, ill in enumerate(ILLS)]
)
def test_each_cause_is_found_named_and_has_its_remedy(
    cluster: FakeCluster, check: str, ill: Ill, cause: str, remedy: str
) -> None:
    ill(cluster)
    seen = diagnosed(cluster)
    one = next(one for one in seen.results if one.check == check)
    assert (one.result, one.cause, one.refuses) == (Result.FOUND, cause, True)
    assert not remedy or remedy in {advice.remedy for advice in one.advice}
    assert seen.cause == cause
    assert seen.code == Exit.FAILED


@pytest.mark.parametrize("kind", ["pods", "jobs", "nodes", "events", "endpointslices"])
def test_what_may_not_be_seen_is_unknown_and_never_healthy(cluster: FakeCluster, kind: str) -> None:
    cluster.refused_kinds = {kind}
    seen = diagnosed(cluster)
    assert seen.blind
    assert seen.code == Exit.UNJUDGED


def test_without_a_cluster_only_what_answers_is_known(cluster: FakeCluster) -> None:
    seen = diagnosed(cluster, kube="none")
    known = {one.check for one in seen.results if one.result is Result.OK}
    assert "path" in known
    assert "fibre" in known
    assert "max-windows" not in known
    assert seen.code == Exit.UNJUDGED


def test_one_cordoned_worker_with_shares_left_elsewhere_is_no_cause(cluster: FakeCluster) -> None:
    cluster.kept["nodes", "worker-1"]["spec"]["unschedulable"] = True
    one = ask(cluster, "nodes")
    assert (one.result, one.refuses, one.cause) == (Result.FOUND, False, "")
    assert diagnosed(cluster).cause == ""


@pytest.mark.parametrize("key", ["unschedulable", "not-ready", "unreachable"])
def test_a_taint_that_says_what_was_said_is_not_said_again(cluster: FakeCluster, key: str) -> None:
    cordon_all(cluster)
    taint = {"key": f"node.kubernetes.io/{key}", "effect": "NoSchedule"}
    cluster.kept["nodes", "worker-1"]["spec"]["taints"] = [taint]
    one = ask(cluster, "nodes")
    assert "worker-1 cordoned;" in one.summary
    cluster.kept["nodes", "worker-1"]["spec"]["taints"] = [
        {**taint, "key": "node.kubernetes.io/pid-pressure"}
    ]
    assert "worker-1 cordoned, tainted node.kubernetes.io/pid-pressure" in ask(cluster, "nodes").summary


def test_orphans_are_named_behind_max_windows(cluster: FakeCluster) -> None:
    orphans(cluster)
    assert any("3 of 3 slots are held by orphaned Services" in words for words in diagnosed(cluster).because)


def test_mongodb_is_named_behind_a_crash_loop(cluster: FakeCluster) -> None:
    crash_loop(cluster)
    scaled_to_0("mongodb")(cluster)
    seen = diagnosed(cluster)
    assert seen.cause == "focus_server_down"
    assert any("MongoDB is away" in words for words in seen.because)
    assert "7 restarts" in next(one.summary for one in seen.results if one.check == "focus-server")


def test_focus_servers_rights_are_unknown_where_neither_exec_nor_reviews_are_allowed(
    cluster: FakeCluster,
) -> None:
    cluster.ran = AccessDenied("exec: 403")
    cluster.reviews_allowed = False
    assert ask(cluster, "focus-rights").result is Result.UNKNOWN


def test_a_fresh_line_of_the_log_speaks_where_the_check_is_blind(cluster: FakeCluster) -> None:
    cluster.log = f"{ago(5)} ERROR jobs.batch is forbidden: cannot create"
    assert diagnosed(cluster).cause == ""
    cluster.ran = AccessDenied("exec: 403")
    cluster.reviews_allowed = False
    assert diagnosed(cluster).cause == "kubernetes_unreachable"


def test_pending_windows_carry_the_schedulers_reason(cluster: FakeCluster) -> None:
    cluster.window("1-1", phase="Pending")
    one = ask(cluster, "gpu")
    assert one.result is Result.FOUND
    assert f"1 x Insufficient {GPU}" in one.evidence[1].answered


def test_a_storage_path_without_recordings_is_named(cluster: FakeCluster) -> None:
    cluster.put(
        "configmaps", "prisma-config", data={"default_config.py": "storage_mount_path = '/elsewhere'"}
    )
    one = ask(cluster, "mongodb")
    assert (one.result, one.cause) == (Result.FOUND, "no_recording")


def test_leaks_and_leftover_faults_are_found(cluster: FakeCluster) -> None:
    cluster.window("1-1", job=False, service=False)
    cluster.queues = {"focus_baby.7-7"}
    cluster.log = f"{ago(100)} Running RPC command: --queue-name focus_baby.7-7"
    leaks = ask(cluster, "leaks")
    assert leaks.facts["cleanup_jobs"] == ["cleanup-job-1-1"]
    assert leaks.facts["queues"] == ["focus_baby.7-7"]
    cluster.kept["nodes", "worker-1"]["metadata"]["labels"]["focus-harness/entry"] = "e1"
    left = ask(cluster, "leftovers")
    assert left.facts["marks"] == ["node worker-1"]
    assert [advice.remedy for advice in left.advice] == ["undo-sweep"]


def test_the_field_has_no_limit_to_reach(cluster: FakeCluster) -> None:
    orphans(cluster)
    assert ask(cluster, "max-windows", max_windows="unlimited").result is Result.OK


@pytest.mark.parametrize("ill", [ill for _, ill, _, _ in ILLS])
def test_every_advice_is_a_remedy(cluster: FakeCluster, ill: Ill) -> None:
    ill(cluster)
    assert {advice.remedy for one in diagnosed(cluster).results for advice in one.advice} <= set(BY_NAME)


def test_every_remedy_heals_checks_there_are() -> None:
    names = {check.name for check in CHECKS}
    assert all(set(remedy.heals) <= names for remedy in BY_NAME.values())


def test_an_api_server_that_does_not_answer_is_a_cause_and_the_rest_is_still_asked(
    cluster: FakeCluster,
) -> None:
    sight = cluster.sight()
    sight.world, sight.blind, sight.unreachable = None, "connection refused", True
    seen = diagnose(examine(sight))
    assert (seen.cause, seen.code) == ("kubernetes_unreachable", Exit.FAILED)
    assert {one.check for one in seen.results if one.result is Result.OK} >= {"path", "fibre"}
