"""What a check that is blind, or blinded by our own URI, way or credentials, says: `unknown`, never healthy, and nothing to restart."""

import socket
import ssl
from collections.abc import Iterable
from typing import Any, Self

import pika
import pymongo
import pytest
import urllib3.exceptions
from fake_cluster import TARGET, FakeCluster, ago
from pika.exceptions import ChannelClosedByBroker, ProbableAuthenticationError
from pymongo.errors import NetworkTimeout, OperationFailure, ServerSelectionTimeoutError
from test_doctor_checks import ask, diagnosed

from harness.cluster import Object, Ran
from harness.cluster.errors import ours
from harness.doctor.asking import NoAnswer, RealAsking, Reply
from harness.doctor.checks import leftovers
from harness.doctor.result import Result
from harness.errors import AccessDenied, Exit, Unreachable
from harness.target import Target


def real(**changes: Any) -> RealAsking:
    return RealAsking(Target.model_validate({**TARGET, **changes}), None)


@pytest.fixture
def listening() -> Iterable[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# --- focus-rights ---------------------------------------------------------------------------------


def test_a_kubectl_that_hangs_is_no_kubectl_that_is_missing(cluster: FakeCluster) -> None:
    cluster.ran = Ran(None, "", "")
    one = ask(cluster, "focus-rights")
    assert one.result is Result.UNKNOWN
    assert "did not answer within 5 s" in one.summary
    assert "no kubectl" not in one.evidence[0].answered
    cluster.forbidden = {("create", "jobs")}
    assert ask(cluster, "focus-rights").cause == "kubernetes_unreachable", "what was asked still counts"


def test_a_right_that_nobody_could_ask_about_is_unknown(cluster: FakeCluster, monkeypatch: Any) -> None:
    """Only local reviews are allowed: `list nodes` belongs to no namespace."""
    asked = FakeCluster.create

    def only_local(self: FakeCluster, kind: str, obj: Object, namespace: str | None = None) -> Object:
        if kind == "subjectaccessreviews":
            raise AccessDenied("create subjectaccessreviews: 403")
        return asked(self, kind, obj, namespace)

    monkeypatch.setattr(FakeCluster, "create", only_local)
    cluster.ran = AccessDenied("exec: 403")
    one = ask(cluster, "focus-rights")
    assert one.result is Result.UNKNOWN
    assert "list nodes" in one.summary
    cluster.ran = Ran(0, "node/worker-1\n", "")
    assert ask(cluster, "focus-rights").result is Result.OK, "its pod has just listed them"


# --- MongoDB --------------------------------------------------------------------------------------


class FakeMongo:
    """A client whose ping and read end as a test wants."""

    ping: Exception | None = None
    read: Exception | None = None

    def __init__(self, *_: Any, **__: Any) -> None:
        self.admin = self.base_paths = self

    def __class_getitem__(cls, _: Any) -> type[Self]:
        return cls

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def command(self, _: str) -> None:
        if self.ping:
            raise self.ping

    def get_default_database(self, default: str) -> Self:
        return self

    def find_one(self) -> None:
        if self.read:
            raise self.read


@pytest.mark.parametrize(
    ("ping", "read", "step"),
    [
        (None, NetworkTimeout("fake:27017: timed out"), "read"),
        (None, OperationFailure("node is recovering", 11600), "read"),
        (None, OperationFailure("command find requires authentication", 13), "credentials"),
        (OperationFailure("Authentication failed.", 18), None, "credentials"),
        (ServerSelectionTimeoutError("SSL handshake failed: certificate verify failed"), None, "tls"),
        (ServerSelectionTimeoutError("auth-db:27017: timed out"), None, "mongodb"),
    ],
)
def test_how_mongodb_did_not_answer_is_told_apart(
    monkeypatch: pytest.MonkeyPatch,
    listening: int,
    ping: Exception | None,
    read: Exception | None,
    step: str,
) -> None:
    monkeypatch.setattr(pymongo, "MongoClient", FakeMongo)
    monkeypatch.setattr(FakeMongo, "ping", ping)
    monkeypatch.setattr(FakeMongo, "read", read)
    with pytest.raises(NoAnswer) as no:
        real().mongodb(f"mongodb://127.0.0.1:{listening}")
    assert no.value.step == step


def test_a_database_that_cannot_be_reached_from_here_is_told_from_one_that_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(NoAnswer) as no:
        real().mongodb(f"mongodb://127.0.0.1:{closed_port()}")
    assert no.value.step == "connect"
    with pytest.raises(NoAnswer) as no:
        real().broker(f"amqp://guest:guest@127.0.0.1:{closed_port()}/", ())
    assert no.value.step == "connect"

    def unknown_name(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown_name)
    with pytest.raises(NoAnswer) as no:
        real().mongodb("mongodb://nowhere.invalid:27017")
    assert no.value.step == "dns"


@pytest.mark.parametrize("step", ["uri", "dns", "connect", "tls", "credentials", "read"])
@pytest.mark.parametrize("check", ["mongodb", "broker"])
def test_what_is_wrong_with_us_is_no_cause_and_restarts_nothing(
    cluster: FakeCluster, check: str, step: str
) -> None:
    cluster.mongodb_answer = cluster.queues = NoAnswer(step, "it is us")
    one = ask(cluster, check)
    assert (one.result, one.cause, one.advice) == (Result.UNKNOWN, "", ())
    assert "its pod is ready" in one.summary
    assert "it is us" in one.summary
    assert (f"correct {check}_uri" in one.summary) == (step != "read")
    assert diagnosed(cluster).cause == ""


def test_the_log_still_says_what_we_cannot_see(cluster: FakeCluster) -> None:
    cluster.mongodb_answer = NoAnswer("connect", "refused")
    cluster.log = "2026-01-01T11:59:55+00:00 ServerSelectionTimeoutError"
    assert diagnosed(cluster).cause == "mongodb_unavailable"


# --- the broker -----------------------------------------------------------------------------------


class FakeBroker:
    """A connection that ends as a test wants."""

    error: Exception | None = None
    code = 404

    def __init__(self, _: Any) -> None:
        if self.error:
            raise self.error

    def channel(self) -> Self:
        return self

    def queue_declare(self, queue: str, *, passive: bool) -> None:
        raise ChannelClosedByBroker(self.code, f"about {queue}")

    def close(self) -> None:
        pass


def test_how_the_broker_did_not_answer_is_told_apart(monkeypatch: pytest.MonkeyPatch, listening: int) -> None:
    uri = f"amqp://guest:guest@127.0.0.1:{listening}/"
    monkeypatch.setattr(pika, "BlockingConnection", FakeBroker)
    assert real().broker(uri, ["q"]) == {}
    monkeypatch.setattr(FakeBroker, "code", 405)
    assert real().broker(uri, ["q"]) == {"q": 0}, "locked by another connection, so it is there"
    monkeypatch.setattr(FakeBroker, "code", 403)
    with pytest.raises(NoAnswer) as no:
        real().broker(uri, ["q"])
    assert no.value.step == "credentials"
    monkeypatch.setattr(FakeBroker, "error", ProbableAuthenticationError("403"))
    with pytest.raises(NoAnswer) as no:
        real().broker(uri, ())
    assert no.value.step == "credentials"


def roles(**broker: str) -> dict[str, Any]:
    kube = {**TARGET["kube"], "roles": {**TARGET["kube"]["roles"]}}
    kube["roles"].pop("broker")
    return {**kube, "roles": {**kube["roles"], **({"broker": broker} if broker else {})}}


def test_a_broker_that_is_named_and_not_there_is_found(cluster: FakeCluster) -> None:
    del cluster.kept["statefulsets", "rabbitmq"]
    one = ask(cluster, "broker", broker_uri=None)
    assert (one.result, one.cause, one.refuses) == (Result.FOUND, "broker_unavailable", True)
    for named in ({}, {"kind": "StatefulSet", "name": "", "selector": ""}):
        assert ask(cluster, "broker", broker_uri=None, kube=roles(**named)).result is Result.OK


# --- slots and leaks ------------------------------------------------------------------------------


def test_a_limit_that_nobody_knows_is_unknown(cluster: FakeCluster) -> None:
    cluster.window("1-1")
    one = ask(cluster, "max-windows", max_windows="unknown")
    assert one.result is Result.UNKNOWN
    assert "1 slots held" in one.summary
    assert one.facts["held"] == 1


def test_queues_that_the_broker_does_not_tell_are_not_gone(cluster: FakeCluster) -> None:
    cluster.log = "2026-01-01T11:59:00+00:00 --queue-name focus_baby.7-7"
    cluster.queues = NoAnswer("broker", "refused")
    one = ask(cluster, "leaks")
    assert one.result is Result.UNKNOWN
    assert "queues not seen: refused" in one.summary
    cluster.window("1-1", job=False, service=False)
    one = ask(cluster, "leaks")
    assert one.result is Result.FOUND
    assert "queues not seen" in one.summary


# --- leftovers ------------------------------------------------------------------------------------


def played_by_a_run(cluster: FakeCluster, *, renewed_s: float, ends_s: float = -60.0) -> Object:
    """A run on another host holds the lock, renewed a while ago, and has marked a node."""
    note = {"focus-harness/run": "R-1", "focus-harness/ends": ago(ends_s)}
    node = cluster.kept["nodes", "worker-1"]["metadata"]
    node["labels"]["focus-harness/entry"] = "e-1"
    node["annotations"] = note
    spec = {"holderIdentity": "lost-host/7/7", "leaseDurationSeconds": 6, "renewTime": ago(renewed_s)}
    lease = cluster.put("leases", "focus-harness", spec=spec)
    lease["metadata"]["annotations"] = {"focus-harness/run": "R-1"}
    return lease


def test_a_run_whose_machine_was_lost_is_dead(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(leftovers.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(leftovers.time, "sleep", lambda _: None)
    played_by_a_run(cluster, renewed_s=3600)
    one = leftovers.look(cluster.sight())
    assert (one.result, one.facts["marks"], one.facts["live_run"]) == (Result.FOUND, ["node worker-1"], "")
    assert [advice.remedy for advice in one.advice] == ["undo-sweep"]
    assert "kubectl -n focus-harness delete lease focus-harness" in one.evidence[0].answered


def test_a_run_whose_clock_is_wrong_lives_as_long_as_it_renews(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = played_by_a_run(cluster, renewed_s=3600)

    def renews(_: float) -> None:
        lease["spec"]["renewTime"] = ago(3599)

    monkeypatch.setattr(leftovers.time, "sleep", renews)
    one = leftovers.look(cluster.sight())
    assert (one.result, one.facts["of_the_live_run"]) == (Result.OK, ["node worker-1"])


def test_a_mark_whose_end_has_passed_is_a_leftover_whoever_lives(cluster: FakeCluster) -> None:
    played_by_a_run(cluster, renewed_s=1)
    assert ask(cluster, "leftovers").result is Result.OK
    played_by_a_run(cluster, renewed_s=1, ends_s=5)
    assert ask(cluster, "leftovers").facts["marks"] == ["node worker-1"]


# --- the API server, and the way to Focus Server --------------------------------------------------


def test_an_api_server_that_answers_no_more_is_found(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: Any, **__: Any) -> None:
        raise Unreachable("POST /apis: no answer: read timed out")

    for does in ("create", "find", "objects", "logs"):
        monkeypatch.setattr(cluster, does, silent)
    seen = diagnosed(cluster)
    assert (seen.cause, seen.code) == ("kubernetes_unreachable", Exit.FAILED)
    assert next(one for one in seen.results if one.check == "mongodb").result is Result.OK


@pytest.mark.parametrize(
    ("reason", "becomes"),
    [
        (ssl.SSLCertVerificationError("certificate verify failed: self-signed certificate"), AccessDenied),
        (ssl.SSLError("tlsv1 alert unknown ca"), AccessDenied),
        (ssl.SSLEOFError("EOF occurred in violation of protocol"), Unreachable),
    ],
)
def test_a_certificate_that_we_do_not_trust_is_no_silence(
    reason: Exception, becomes: type[Exception]
) -> None:
    wrapped = urllib3.exceptions.MaxRetryError(Any, "/api", urllib3.exceptions.SSLError(reason))  # type: ignore[arg-type]
    with pytest.raises(becomes), ours("GET /api"):
        raise wrapped


def test_mongodb_is_known_by_its_ping_where_the_cluster_is_not_seen(cluster: FakeCluster) -> None:
    one = ask(cluster, "mongodb", kube="none")
    assert (one.result, one.summary) == (Result.OK, "answers from here with credentials")


URL, SERVICE, POD = "http://ingress/focus-server/ack", "http://10.0.0.1:5000/ack", "http://10.1.0.1:5000/ack"
REFUSED = NoAnswer("connect", "[Errno 111] Connection refused")
DROPPED = NoAnswer("connect", "timed out")
WORKS = Reply(200, b"", "", 0.01)


@pytest.mark.parametrize(
    ("url", "service", "pod", "cause"),
    [
        (REFUSED, WORKS, DROPPED, "path"),
        (REFUSED, DROPPED, DROPPED, "path"),
        (REFUSED, REFUSED, DROPPED, "focus_server_down"),
        (REFUSED, Reply(500, b"", "", 0.01), DROPPED, "focus_server_down"),
        (NoAnswer("http", "no answer"), REFUSED, REFUSED, "focus_server_down"),
        (NoAnswer("dns", "does not resolve"), REFUSED, REFUSED, "path"),
    ],
)
def test_a_refused_connection_is_the_path_or_the_server(
    cluster: FakeCluster, url: NoAnswer, service: Reply | NoAnswer, pod: Reply | NoAnswer, cause: str
) -> None:
    cluster.replies.update({URL: url, SERVICE: service, POD: pod})
    assert ask(cluster, "path").cause == cause


def test_a_refused_connection_and_no_ready_pod_is_the_server(cluster: FakeCluster) -> None:
    cluster.replies.update({URL: REFUSED, SERVICE: DROPPED})
    cluster.kept["pods", "focus-server-0"]["status"]["conditions"] = []
    assert ask(cluster, "path").cause == "focus_server_down"


def test_a_url_that_cannot_be_read_is_unknown(cluster: FakeCluster) -> None:
    cluster.replies[URL] = NoAnswer("uri", "url cannot be read")
    assert ask(cluster, "path").result is Result.UNKNOWN
