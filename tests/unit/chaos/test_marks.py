"""What a touched object says of itself, and that it is enough to take a fault back: with no journal and no entry."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from memory_world import OURS, MemoryWorld, site_of, small_cluster
from plays import MakePlay, a_world, arguments, begin, undo

from harness.chaos.alive import Alive
from harness.chaos.announce import announce
from harness.chaos.faults import FAULTS, fault_named
from harness.chaos.faults.fault import BACK_ANNOTATION, ENTRY_LABEL, MARKS
from harness.chaos.preflight import leftovers
from harness.chaos.sweep import marks, sweep
from harness.cluster import ClusterRefused, Object, labels_of
from harness.cluster.kinds import annotations_of
from harness.errors import AccessDenied, HarnessError, InjectionFailed, Stopped, Unreachable

BY_API = [fault.kind for fault in FAULTS if fault.undone_inside]
MARKING = [kind for kind in BY_API if not kind.startswith("kill-")]
"""Of killed pods nothing is left that could carry a mark."""


def touched(world: MemoryWorld) -> list[Object]:
    """Return everything that carries a mark, but the entries and the Events."""
    return [
        obj
        for (kind, _, name), obj in world.objects_by_key.items()
        if ENTRY_LABEL in labels_of(obj) and kind != "events" and not name.startswith("undo-")
    ]


@pytest.mark.parametrize("kind", MARKING)
def test_a_touched_object_says_whose_it_is_until_when_and_how_to_end_it(
    make_play: MakePlay, tmp_path: Path, kind: str
) -> None:
    world = a_world(kind)
    play = make_play(tmp_path, world)
    held = begin(play, world, kind)
    found = touched(world)
    assert found
    for obj in found:
        said = annotations_of(obj)
        assert labels_of(obj)[ENTRY_LABEL] == held.entry.id
        assert {f"focus-harness/{mark}" for mark in MARKS} | {BACK_ANNOTATION} <= set(said)
        assert said["focus-harness/run"] == "test"
        assert said["focus-harness/operator"] == play.header.operator
        assert said["focus-harness/ends"] == held.entry.expires_wall
        assert "annotate lease focus-harness focus-harness/halt=now" in said["focus-harness/stop"]
        assert said[BACK_ANNOTATION] == "delete" or json.loads(said[BACK_ANNOTATION])


@pytest.mark.parametrize("kind", MARKING)
def test_what_a_fault_touched_is_taken_back_by_its_marks_alone(
    make_play: MakePlay, tmp_path: Path, kind: str
) -> None:
    world = a_world(kind)
    before = world.declared()
    play = make_play(tmp_path, world)
    begin(play, world, kind)
    assert any("carries a fault's mark" in line for line in leftovers(play.site))
    play.journal.path.unlink()
    done = list(sweep(play.site, frozenset()))
    assert done
    assert not [text for _, text in done if "STILL BROKEN" in text]
    assert without_entries(world) == before
    assert list(sweep(play.site, frozenset())) == []


def without_entries(world: MemoryWorld) -> dict[str, object]:
    """Return the declared state without the undo entries, which a sweep leaves to those who can read them."""
    return {
        key: said
        for key, said in world.declared().items()
        if not key.startswith("configmaps focus-harness undo-")
    }


@pytest.mark.parametrize("kind", ["cordon-worker", "saturate-gpu", "mongo-slow", "fill-windows"])
def test_a_sweep_leaves_a_live_run_alone_until_its_planned_end(
    make_play: MakePlay, tmp_path: Path, kind: str
) -> None:
    world = a_world(kind)
    play = make_play(tmp_path, world)
    held = begin(play, world, kind)
    world.writes.clear()
    assert list(sweep(play.site, frozenset(), live_run="test")) == []
    assert list(sweep(play.site, frozenset({held.entry.id}))) == [], "its entry explains it"
    assert world.writes == []
    later = datetime.now(UTC) + timedelta(hours=1)
    assert all(mark.expired(later) for mark in marks(play.site))
    assert list(sweep(play.site, frozenset(), live_run="another"))


def test_what_cannot_be_taken_back_is_said_and_the_rest_is(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    play = make_play(tmp_path, world)
    play.begin(fault_named("cordon-worker"), arguments("cordon-worker"), 30)

    def refuse(what: str) -> None:
        if what == "patch nodes/worker-1":
            raise AccessDenied("PATCH nodes/worker-1: 403")

    world.before_write = refuse
    done = {str(mark): text for mark, text in sweep(play.site, frozenset())}
    assert done["node worker-1"] == "STILL BROKEN: PATCH nodes/worker-1: 403"
    assert done["node worker-2"].startswith("uncordoned (it carried a mark")


def test_a_killed_pod_leaves_nothing_to_sweep(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster(windows=4)
    play = make_play(tmp_path, world)
    play.begin(fault_named("kill-streams"), arguments("kill-streams"), 30)
    assert list(marks(play.site)) == []


@pytest.mark.parametrize("kind", [fault.kind for fault in FAULTS])
def test_a_fault_is_announced_in_the_cluster_when_it_goes_in_and_when_it_is_undone(
    make_play: MakePlay, tmp_path: Path, kind: str
) -> None:
    world = a_world(kind)
    play = make_play(tmp_path, world)
    held = begin(play, world, kind)
    undo(play, world)
    said = [obj for (of, _, _), obj in world.objects_by_key.items() if of == "events"]
    ours = [event for event in said if labels_of(event).get(ENTRY_LABEL) == held.entry.id]
    assert {(event["reason"], event["type"]) for event in ours} == {
        ("FaultInjected", "Warning"),
        ("FaultUndone", "Normal"),
    }
    assert all(kind in event["message"] for event in ours)
    about = {event["involvedObject"]["name"] for event in ours}
    assert about == {ref.name for ref in held.fault.touched(held.case)} or about == {"focus-harness"}


@pytest.mark.parametrize(
    "error",
    [Unreachable("no answer"), AccessDenied("403"), ClusterRefused("422", 422)],
    ids=lambda e: type(e).__name__,
)
def test_an_announcement_that_cannot_be_written_changes_nothing(
    make_play: MakePlay, tmp_path: Path, error: HarnessError
) -> None:
    world = small_cluster()
    before = world.declared()

    def refuse(what: str) -> None:
        if what.startswith("create events"):
            raise error

    world.before_write = refuse
    play = make_play(tmp_path, world)
    held = play.begin(fault_named("cordon-worker"), arguments("cordon-worker"), 30)
    announce(play.site, held.fault, held.case, "FaultInjected", "text")
    assert [ending.verified for ending in play.undo()] == [True]
    assert world.declared() == before
    assert site_of(world).world.objects("events", OURS) == []


def test_an_old_undo_leaves_the_mark_of_a_newer_entry(make_play: MakePlay, tmp_path: Path) -> None:
    """A machine that wakes up undoes once more what is undone long since, while another run has its fault in."""
    world = small_cluster()
    old = make_play(tmp_path / "old", world)
    held = old.begin(fault_named("cordon-worker"), arguments("cordon-worker"), 30)
    held.fault.undo(old.site, held.case)  # by somebody else; its own process sleeps
    new = make_play(tmp_path / "new", world)
    newer = new.begin(fault_named("cordon-worker"), arguments("cordon-worker"), 30)
    held.fault.undo(old.site, held.case)
    assert all(change.ref.name for change in newer.case.before.changes)
    for change in newer.case.before.changes:
        node = world.find("nodes", change.ref.name)
        assert node is not None
        assert node["metadata"]["labels"]["focus-harness/entry"] == newer.entry.id
        assert node["spec"]["unschedulable"] is True
    assert [ending.verified for ending in new.undo()] == [True]
    assert not any(node["spec"].get("unschedulable") for node in world.objects("nodes"))


def test_a_process_that_stood_still_injects_nothing_more_although_nobody_claimed(
    make_play: MakePlay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reverter undoes without a claim in this machine's journal."""
    world = small_cluster()
    play = make_play(tmp_path, world)
    play.alive = Alive(tmp_path / "undo", "chaos-1")
    slept = iter([0.0])

    def sleep(what: str) -> None:
        if what.startswith("patch nodes") and next(slept, None) is not None:
            monkeypatch.setattr("harness.chaos.alive.boot_seconds", lambda: time.monotonic() + 60)
            world._store(("nodes", "", "worker-1"), dict(world.objects_by_key["nodes", "", "worker-1"]))

    world.before_write = sleep
    with pytest.raises(Stopped, match="stood still for"):
        play.begin(fault_named("cordon-worker"), arguments("cordon-worker", nodes="all"), 30)
    world.before_write = lambda _what: None
    assert not any(node["spec"].get("unschedulable") for node in world.objects("nodes"))
    play.alive.close()


def test_what_an_operator_does_between_our_look_and_our_write_is_never_overwritten(
    make_play: MakePlay, tmp_path: Path
) -> None:
    world = small_cluster()
    play = make_play(tmp_path, world)
    held = play.begin(fault_named("mongo-outage"), arguments("mongo-outage"), 30)

    def scale(what: str) -> None:
        if what == "patch deployments/mongodb":
            world.before_write = lambda _what: None
            world.patch("deployments", "mongodb", {"spec": {"replicas": 5}})

    world.before_write = scale
    held.fault.undo(play.site, held.case)
    found = world.find("deployments", "mongodb")
    assert found is not None
    assert found["spec"]["replicas"] == 5


def test_what_was_changed_since_it_was_looked_at_is_not_injected(make_play: MakePlay, tmp_path: Path) -> None:
    """Or the undo would take the operator's change back as if it were ours."""
    world = small_cluster()

    def cordon(what: str) -> None:
        if what.startswith("create configmaps"):
            world.before_write = lambda _what: None
            world.patch("nodes", "worker-1", {"spec": {"unschedulable": True}})

    world.before_write = cordon
    play = make_play(tmp_path, world)
    with pytest.raises(InjectionFailed, match="nodes/worker-1 was changed by somebody else just now"):
        play.begin(fault_named("cordon-worker"), arguments("cordon-worker", nodes="all"), 30)
    node = world.find("nodes", "worker-1")
    assert node is not None
    assert node["spec"]["unschedulable"] is True, "the operator's"


def test_a_sweep_leaves_what_somebody_else_changed(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    play = make_play(tmp_path, world)
    play.begin(fault_named("mongo-outage"), arguments("mongo-outage"), 30)
    world.patch("deployments", "mongodb", {"spec": {"replicas": 5}})
    done = [text for _, text in sweep(play.site, frozenset())]
    assert done == ["changed by somebody else meanwhile; left so, only the mark is taken off"]
    found = world.find("deployments", "mongodb")
    assert found is not None
    assert found["spec"]["replicas"] == 5
    assert "focus-harness/entry" not in found["metadata"].get("labels", {})


def test_an_account_comes_back_beside_whom_somebody_added_meanwhile(
    make_play: MakePlay, tmp_path: Path
) -> None:
    world = small_cluster()
    play = make_play(tmp_path, world)
    held = play.begin(fault_named("revoke-kubernetes-access"), arguments("revoke-kubernetes-access"), 30)
    (change, *_) = held.case.before.changes
    guest = {"kind": "User", "name": "guest"}
    world.patch(change.ref.kind, change.ref.name, {"subjects": [*change.there["subjects"], guest]})
    assert [ending.verified for ending in play.undo()] == [True]
    found = world.find(change.ref.kind, change.ref.name)
    assert found is not None
    assert guest in found["subjects"]
    assert all(subject in found["subjects"] for subject in change.back["subjects"])
