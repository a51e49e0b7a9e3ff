"""The leak audit against a small cluster in memory: what is left is named with what made it, and what nobody could see is no pass."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pika.exceptions import ChannelClosedByBroker

from harness.chaos.guard import remove_socket_folder
from harness.cluster import holder_of_this_process
from harness.conduct import audit as audit_room
from harness.conduct.audit import Audit
from harness.conduct.folder import sweep_socket_folders
from harness.conduct.stop import Stop
from harness.errors import AccessDenied, Unreachable
from harness.history.events import (
    AuditSeen,
    Event,
    FaultChanged,
    FaultStep,
    LeftoverSeen,
    Note,
    Outcome,
    ProcessStarted,
    Record,
    WatcherState,
    WindowAccepted,
    WindowClosed,
    WindowUnknown,
)
from harness.observe import leftovers
from harness.observe.leftovers import CannotLook, Queues
from harness.observe.processes import connections_of, runs
from harness.target import Target

ENTRY = {"focus-harness/entry": "saturate-gpu-1"}


def named(
    name: str, *, kind: str = "", labels: dict[str, str] | None = None, shares: int = 0
) -> dict[str, Any]:
    limits = {"nvidia.com/gpu.shared": str(shares)} if shares else {}
    containers = [{"name": "c", "resources": {"limits": limits, "requests": limits}}]
    return {
        "kind": kind,
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"containers": containers},
    }


class Small:
    """A cluster of lists; `away` makes it silent."""

    namespace, harness_namespace = "panda", "focus-harness"

    def __init__(self) -> None:
        self.kept: dict[str, list[dict[str, Any]]] = {}
        self.away = self.forbidden = False
        self.looks = 0
        self.denied = ""
        """What may not be listed."""

    def _of(self, kind: str) -> list[dict[str, Any]]:
        if self.away:
            raise Unreachable("no answer")
        if self.denied and kind.endswith(self.denied):
            raise AccessDenied(f"{kind}: no right")
        return self.kept.get(kind, [])

    def jobs(self) -> list[dict[str, Any]]:
        self.looks += 1
        return self._of("jobs")

    def services(self) -> list[dict[str, Any]]:
        return self._of("services")

    def pods(self) -> list[dict[str, Any]]:
        return self._of("pods")

    def objects(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        if self.forbidden:
            raise AccessDenied("may not list")
        if kind == "leases":
            return self._of("leases")
        return [obj for obj in self._of(f"{namespace}/{kind}") if obj["metadata"]["labels"]]


def record(event: Event, writer: str = "engine") -> Record:
    return Record(writer=writer, seq=1, event=event)  # type: ignore[arg-type]


HISTORY = (
    record(WindowAccepted(at_ns=1, window=7, job_id="3-70", streams=1, latency_ns=1)),
    record(WindowClosed(at_ns=9_500_000_000, window=7, job_id="3-70", outcome=Outcome.STREAMING)),
    record(
        FaultChanged(
            at_ns=1, entry="saturate-gpu-1", fault="saturate-gpu", experiment="squeeze", step=FaultStep.OPENED
        )
    ),
)


@pytest.fixture
def target() -> Target:
    return Target.model_validate(
        {"schema": 1, "name": "t", "url": "http://127.0.0.1:1", "kube": "none", "max_windows": 3}
    )


@pytest.fixture
def stop() -> Iterator[Stop]:
    with Stop() as stop:
        yield stop


def audited(
    cluster: Small, target: Target, stop: Stop, history: tuple[Record, ...] = HISTORY, **put: Any
) -> list[Event]:
    audit = Audit(cluster, target, lambda: history)  # type: ignore[arg-type]
    for kind, objects in put.items():
        cluster.kept[kind.replace("__", "/").replace("_", "-")] = objects
    return list(audit.after(0.0, 0.0, stop, lambda: None, lambda: 20_000_000_000))


def left(events: list[Event]) -> dict[str, tuple[str, str]]:
    return {event.name: (event.owner, event.made_by) for event in events if isinstance(event, LeftoverSeen)}


def test_a_window_s_leftovers_are_named_with_the_window_and_how_it_was_closed(
    target: Target, stop: Stop
) -> None:
    found = left(
        audited(
            Small(),
            target,
            stop,
            services=[named("grpc-service-3-70")],
            pods=[named("grpc-job-3-70-abcde", shares=1)],
        )
    )
    by = ("own", "window 7, closed at 9.5 s (streaming)")
    assert found == {
        "grpc-service-3-70": by,
        "grpc-job-3-70-abcde": by,
        "1 held by grpc-job-3-70-abcde": by,
        "slot 3 held by 3-70": by,
    }


def test_what_was_there_before_is_none_of_ours_and_a_stranger_s_is_foreign(
    target: Target, stop: Stop
) -> None:
    cluster = Small()
    cluster.kept["jobs"] = [named("grpc-job-1-1")]
    found = left(audited(cluster, target, stop, services=[named("grpc-service-9-99")]))
    by = ("foreign", "a window that no request of ours explains")
    assert found == {"grpc-service-9-99": by, "slot 9 held by 9-99": by}


def test_a_fault_s_object_is_named_with_its_experiment(target: Target, stop: Stop) -> None:
    cluster = Small()
    audit = Audit(cluster, target, lambda: HISTORY)  # type: ignore[arg-type]
    cluster.kept["focus-harness/pods"] = [named("hog-1", kind="Pod", labels=ENTRY)]
    cluster.kept["leases"] = [named("focus-harness"), named("another")]
    found = left(list(audit.after(0.0, 0.0, stop, lambda: None, lambda: 1)))
    assert found == {
        "Pod hog-1": ("fault", "squeeze (saturate-gpu-1)"),
        "another": ("foreign", "somebody else: a run has no Lease but the lock"),
    }


def test_a_fault_s_object_that_no_record_of_this_run_explains_is_nobody_s(target: Target, stop: Stop) -> None:
    other = {"focus-harness/entry": "saturate-gpu-9"}
    found = left(
        audited(Small(), target, stop, focus_harness__pods=[named("hog-9", kind="Pod", labels=other)])
    )
    assert found == {
        "Pod hog-9": ("unknown", "a fault that this run has no record of (saturate-gpu-9)"),
    }


def test_a_mark_that_stays_on_a_node_is_the_fault_s(target: Target, stop: Stop) -> None:
    found = left(audited(Small(), target, stop, panda__nodes=[named("worker-1", kind="Node", labels=ENTRY)]))
    assert found == {"Node worker-1": ("fault", "squeeze (saturate-gpu-1)")}


def test_a_window_that_a_create_without_an_answer_may_have_made_is_perhaps_ours(
    target: Target, stop: Stop
) -> None:
    lost = record(WindowUnknown(at_ns=1, window=8, outcome=Outcome.READ_TIMEOUT, request_id="r"))
    cluster = Small()
    cluster.kept["services"] = [named("grpc-service-1-1")]
    found = left(
        audited(
            cluster,
            target,
            stop,
            (*HISTORY, lost),
            services=[named("grpc-service-1-1"), named("grpc-service-9-99")],
            pods=[named("grpc-job-1-1-late")],
        )
    )
    assert found["grpc-service-9-99"] == ("unknown", "a create whose answer was lost, or somebody else")
    assert found["grpc-job-1-1-late"] == ("foreign", "a window that was there before")
    assert "grpc-service-1-1" not in found


def test_windows_of_a_fault_are_its_own_even_when_the_job_with_its_mark_is_gone(
    target: Target, stop: Stop
) -> None:
    cluster = Small()
    audit = Audit(cluster, target, lambda: HISTORY)  # type: ignore[arg-type]
    cluster.kept |= {
        "jobs": [named("grpc-job-2-20", labels=ENTRY)],
        "services": [named("grpc-service-2-20")],
    }

    def job_goes(cluster: Small = cluster) -> None:
        if cluster.looks == 2:
            cluster.kept["jobs"] = []

    found = left(list(audit.after(0.6, 0.0, stop, job_goes, lambda: 1)))
    by = ("fault", "squeeze (saturate-gpu-1)")
    assert found == {"grpc-service-2-20": by, "slot 2 held by 2-20": by}


def test_a_pod_that_is_over_holds_no_share_and_a_job_that_is_over_no_slot(target: Target, stop: Stop) -> None:
    pod = named("grpc-job-3-70-abcde", shares=1) | {"status": {"phase": "Succeeded"}}
    job = named("grpc-job-3-70") | {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    found = left(audited(Small(), target, stop, pods=[pod], jobs=[job]))
    assert found.keys() == {"grpc-job-3-70-abcde", "grpc-job-3-70"}


def test_a_kind_that_may_not_be_listed_blinds_nobody_to_the_others(target: Target, stop: Stop) -> None:
    cluster = Small()
    cluster.denied = "pods"
    events = audited(cluster, target, stop, services=[named("grpc-service-3-70")])
    rows = {event.object_kind: event.seen for event in events if isinstance(event, AuditSeen)}
    assert not rows["Pod"]
    assert not rows["GPU share"]
    assert rows["Job"]
    assert rows["Service"]
    assert left(events)["grpc-service-3-70"][0] == "own"


def test_only_what_is_ours_is_waited_for(target: Target, stop: Stop) -> None:
    for service, waits in (("grpc-service-9-99", False), ("grpc-service-3-70", True)):
        cluster = Small()
        audit = Audit(cluster, target, lambda: HISTORY)  # type: ignore[arg-type]
        cluster.kept["services"] = [named(service)]
        events = list(audit.after(0.0, 0.6, stop, lambda: None, lambda: 1))
        notes = [event.text for event in events if isinstance(event, Note)]
        assert (cluster.looks > 2) == waits
        assert notes == (["still there, waited for up to 0.6 s more: 1 x Service, 1 x slot"] if waits else [])


def test_counts_are_told_before_after_and_later(target: Target, stop: Stop) -> None:
    cluster = Small()
    cluster.kept["jobs"] = [named("grpc-job-1-1")]
    events = audited(cluster, target, stop, services=[named("grpc-service-3-70")])
    rows = {
        event.object_kind: (event.before, event.after, event.later)
        for event in events
        if isinstance(event, AuditSeen)
    }
    assert (rows["Job"], rows["Service"], rows["Pod"]) == ((1, 1, 1), (0, 1, 1), (0, 0, 0))
    assert "task" not in rows
    assert "queue" not in rows


def test_a_cluster_that_does_not_answer_at_the_end_is_said_to_be_unseen(target: Target, stop: Stop) -> None:
    cluster = Small()
    audit = Audit(cluster, target, lambda: HISTORY)  # type: ignore[arg-type]
    cluster.away = True
    events = list(audit.after(0.0, 0.0, stop, lambda: None, lambda: 1))
    [watcher] = [event for event in events if isinstance(event, WatcherState)]
    assert not watcher.seeing
    assert not left(events)
    assert all(
        not event.seen for event in events if isinstance(event, AuditSeen) and event.object_kind == "Job"
    )


def test_what_cannot_be_asked_is_said_with_its_reason(
    target: Target, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "LOOK_S", 0.1)
    far = target.model_copy(
        update={
            "mongodb_uri": "mongodb://127.0.0.1:1/prisma",
            "broker_uri": "amqp://guest:guest@127.0.0.1:1/",
        }
    )
    rows = {event.object_kind: event for event in audited(Small(), far, stop) if isinstance(event, AuditSeen)}
    for kind in ("task", "queue"):
        assert not rows[kind].seen
        assert rows[kind].detail


def test_a_task_of_ours_is_told_while_the_cluster_is_silent(
    target: Target, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([frozenset({"1-1"}), frozenset({"1-1", "3-70", "4-4"})])
    monkeypatch.setattr(audit_room, "tasks_of", lambda _uri, _jobs: next(told))
    asked = target.model_copy(update={"mongodb_uri": "mongodb://127.0.0.1:1/prisma"})
    cluster = Small()
    audit = Audit(cluster, asked, lambda: HISTORY)  # type: ignore[arg-type]
    cluster.away = True
    events = list(audit.after(0.0, 0.0, stop, lambda: None, lambda: 1))
    assert left(events) == {
        "3-70": ("own", "window 7, closed at 9.5 s (streaming)"),
        "4-4": ("foreign", "a window that no request of ours explains"),
    }
    [task] = [event for event in events if isinstance(event, AuditSeen) and event.object_kind == "task"]
    assert (task.before, task.after, task.seen) == (1, 3, True)


class Broker:
    """A broker of a few queues that remembers what it was asked."""

    def __init__(self, there: set[str], slow_s: float = 0.0) -> None:
        self.there, self.asked, self.slow_s = there, list[str](), slow_s

    def __call__(self, _parameters: object) -> "Broker":
        return self

    def channel(self) -> "Broker":
        return self

    def close(self) -> None:
        pass

    def queue_declare(self, name: str, passive: bool) -> None:
        assert passive
        self.asked.append(name)
        time.sleep(self.slow_s)
        if name not in self.there:
            raise ChannelClosedByBroker(404, "NOT_FOUND")


def test_a_queue_that_is_gone_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker({"focus_baby.1-1", "focus_baby.2-2"})
    monkeypatch.setattr(leftovers.pika, "BlockingConnection", broker)
    queues = Queues("amqp://127.0.0.1:1/")
    assert queues.of(["1-1", "2-2", "3-3"]) == {"1-1", "2-2"}
    broker.there.remove("focus_baby.1-1")
    assert queues.of(["1-1", "2-2", "3-3"]) == {"2-2"}
    assert broker.asked.count("focus_baby.3-3") == 1


def test_more_queues_than_one_look_can_ask_for_are_said_and_asked_for_next_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker({"focus_baby.0-0"}, slow_s=0.01)
    monkeypatch.setattr(leftovers.pika, "BlockingConnection", broker)
    monkeypatch.setattr(leftovers, "LOOK_S", 0.05)
    queues, wanted = Queues("amqp://127.0.0.1:1/"), [f"{n}-{n}" for n in range(8)]
    with pytest.raises(CannotLook, match="could not be asked for"):
        queues.of(wanted)
    for _ in range(8):
        try:
            assert queues.of(wanted) == {"0-0"}
        except CannotLook:
            continue
        break
    else:
        pytest.fail("the look never came to an end")


def test_a_process_of_the_run_that_still_lives_is_a_leftover_of_ours(target: Target, stop: Stop) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        history = (*HISTORY, record(ProcessStarted(at_ns=19_900_000_000, process="engine-1", pid=child.pid)))
        found = left(audited(Small(), target, stop, history))
        assert [(owner, by) for owner, by in found.values()] == [("own", "this run")]
        assert str(child.pid) in next(iter(found))
        assert runs(child.pid, 0.0)
        assert not runs(child.pid, 3600.0), "its number was given to another process meanwhile"
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait(10)
    assert not runs(child.pid, 0.0)


def test_a_connection_that_a_process_of_the_run_still_holds_is_named(target: Target, stop: Stop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"import socket, sys; s = socket.create_connection(('127.0.0.1', {port})); sys.stdin.read()"
        with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as child:
            accepted, _ = server.accept()
            with accepted:
                history = (
                    *HISTORY,
                    record(ProcessStarted(at_ns=19_900_000_000, process="engine-1", pid=child.pid)),
                )
                found = left(audited(Small(), target, stop, history))
                [connection] = connections_of(child.pid)
            child.communicate()
    assert connection.endswith(f"-> 127.0.0.1:{port}")
    assert found == {
        f"{connection} of engine-1 (pid {child.pid})": ("own", "this run"),
        f"engine-1 (pid {child.pid})": ("own", "this run"),
    }


def test_the_guard_removes_the_socket_folder_of_a_dead_conductor_and_nothing_else(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="harness-"))
    (folder / "load.json").write_text("credentials")
    elsewhere = tmp_path / "harness-elsewhere"
    elsewhere.mkdir()
    other = Path(tempfile.mkdtemp(prefix="else-"))
    try:
        for one in (folder, elsewhere, other, tmp_path / "harness-missing"):
            remove_socket_folder(one)
        assert not folder.exists()
        assert elsewhere.exists()
        assert other.exists()
    finally:
        other.rmdir()


@pytest.mark.parametrize("played", [True, False])
def test_who_may_not_list_what_faults_make_cannot_say_that_none_is_left(
    target: Target, stop: Stop, played: bool
) -> None:
    cluster = Small()
    cluster.forbidden = True
    history = tuple(one for one in HISTORY if played or not isinstance(one.event, FaultChanged))
    rows = {
        one.object_kind: one for one in audited(cluster, target, stop, history) if isinstance(one, AuditSeen)
    }
    assert (rows["fault's object"].seen, rows["Lease"].seen) == (not played, not played)
    assert rows["Job"].seen


def test_only_socket_folders_of_processes_that_are_gone_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lives = holder_of_this_process()
    host, pid, start = lives.split("/")
    holders = {
        "harness-lives": lives,
        "harness-dead": f"{host}/{pid}/{start}1",
        "harness-elsewhere": f"another-host/{pid}/{start}1",
        "other-dead": f"{host}/{pid}/{start}1",
    }
    for name, holder in holders.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "holder").write_text(holder)
        (tmp_path / name / "load.json").write_text("credentials")
    (tmp_path / "harness-nobody").mkdir()
    (tmp_path / "harness-link").symlink_to(tmp_path / "other-dead")
    assert sweep_socket_folders() == [tmp_path / "harness-dead"]
    assert {path.name for path in tmp_path.iterdir()} == (holders.keys() - {"harness-dead"}) | {
        "harness-nobody",
        "harness-link",
    }
    assert (tmp_path / "other-dead" / "load.json").exists()
