"""The leak audit against a small cluster in memory: what is left is named with what made it, and what nobody could see is no pass."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.chaos.guard import remove_socket_folder
from harness.conduct.audit import Audit
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
)
from harness.observe.leftovers import alive, sockets_of
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

    def _of(self, kind: str) -> list[dict[str, Any]]:
        if self.away:
            raise Unreachable("no answer")
        return self.kept.get(kind, [])

    def jobs(self) -> list[dict[str, Any]]:
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
    }


def test_what_was_there_before_is_none_of_ours_and_a_stranger_s_is_foreign(
    target: Target, stop: Stop
) -> None:
    cluster = Small()
    cluster.kept["jobs"] = [named("grpc-job-1-1")]
    found = left(audited(cluster, target, stop, services=[named("grpc-service-9-99")]))
    assert found == {"grpc-service-9-99": ("foreign", "a window that no request of ours explains")}


def test_a_fault_s_object_is_named_with_its_experiment(target: Target, stop: Stop) -> None:
    cluster = Small()
    audit = Audit(cluster, target, lambda: HISTORY)  # type: ignore[arg-type]
    cluster.kept["focus-harness/pods"] = [named("hog-1", kind="Pod", labels=ENTRY)]
    cluster.kept["leases"] = [named("focus-harness"), named("another")]
    found = left(list(audit.after(0.0, 0.0, stop, lambda: None, lambda: 1)))
    assert found == {
        "Pod hog-1": ("fault", "squeeze (saturate-gpu-1)"),
        "another": ("fault", "a fault"),
    }


def test_only_what_is_ours_is_waited_for(target: Target, stop: Stop) -> None:
    for service, waits in (("grpc-service-9-99", False), ("grpc-service-3-70", True)):
        cluster, looks = Small(), list[int]()
        audit = Audit(cluster, target, lambda: HISTORY)  # type: ignore[arg-type]
        cluster.kept["services"] = [named(service)]
        events = list(audit.after(0.0, 0.6, stop, lambda: looks.append(1), lambda: 1))  # noqa: B023
        notes = [event.text for event in events if isinstance(event, Note)]
        assert (len(looks) > 1) == waits
        assert notes == (["still there, waited for up to 0.6 s more: 1 x Service"] if waits else [])


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


def test_what_cannot_be_asked_is_said_with_its_reason(target: Target, stop: Stop) -> None:
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


def test_a_process_of_the_run_that_still_lives_is_a_leftover_of_ours(target: Target, stop: Stop) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        history = (*HISTORY, record(ProcessStarted(at_ns=1, process="engine-1", pid=child.pid)))
        found = left(audited(Small(), target, stop, history))
        assert [(owner, by) for owner, by in found.values()] == [("own", "this run")]
        assert str(child.pid) in next(iter(found))
        assert alive([child.pid]) == {child.pid}
        assert sockets_of(child.pid) == 0
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait(10)
    assert alive([child.pid]) == frozenset()


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
