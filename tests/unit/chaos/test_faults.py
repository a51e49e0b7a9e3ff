"""One contract for every fault, and what each refuses; played against a cluster in memory."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from memory_world import SYSTEM, TARGET, MemoryWorld, site_of, small_cluster
from plays import MakePlay, a_world, arguments, begin, opened, steps, undo

from harness.chaos.copies import remove_copy
from harness.chaos.faults import FAULTS, fault_named
from harness.chaos.journal import Journal
from harness.chaos.play import Play
from harness.chaos.world import Site
from harness.cluster import Conflict
from harness.errors import Exit, InjectionFailed, InputError, TargetError, Unreachable
from harness.history.events import FaultStep

KINDS = [fault.kind for fault in FAULTS]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_brings_the_declared_state_back_and_records_its_five_instants(
    make_play: MakePlay, tmp_path: Path, kind: str
) -> None:
    world = a_world(kind)
    before = world.declared()
    play = make_play(tmp_path, world)

    held = begin(play, world, kind)
    assert held.fault.is_active(play.site, held.case)
    assert world.declared() != before
    endings = undo(play, world)
    assert [(ending.verified, ending.notes) for ending in endings] == [(True, ())]
    assert world.declared() == before
    assert not held.fault.is_active(play.site, held.case) or kind in STILL_TRUE
    assert play.finish() == Exit.OK
    wanted = [FaultStep.OPENED, FaultStep.INJECTED, FaultStep.EFFECTIVE, FaultStep.UNDONE, FaultStep.VERIFIED]
    assert steps(tmp_path) == wanted


STILL_TRUE = {"kill-streams", "slow-network", "drop-network"}
"""Of these the cluster shows nothing that ends with the undo: killed windows stay away, and the network is not its business."""


@pytest.mark.parametrize("kind", KINDS)
def test_undo_without_injection_and_twice_changes_nothing_declared(
    make_play: MakePlay, tmp_path: Path, kind: str
) -> None:
    world = a_world(kind)
    site = site_of(world)
    before = world.declared()
    fault = fault_named(kind)
    look = fault.look(site, arguments(kind))
    assert world.writes == [], "to look is to change nothing"
    entry, case = make_play(tmp_path, world)._entry(fault, arguments(kind), look, 60)
    fault.undo(site, case)
    fault.undo(site, case)
    assert not fault.reading(site, case).differences
    assert world.declared() == before
    assert fault.mend(site, case).startswith(("kubectl ", "reach "))
    assert entry.what


@pytest.mark.parametrize("kind", KINDS)
def test_a_late_request_after_undo_does_not_last(make_play: MakePlay, tmp_path: Path, kind: str) -> None:
    """A process stopped before any of its writes goes on after the guard has undone its entry."""
    for number in range(100):
        world = a_world(kind)
        before = world.declared()
        play = make_play(tmp_path / str(number), world)
        if not _inject_overtaken(play, world, kind, number):
            assert number, "nothing was written"
            return
        assert world.declared() == before, f"stopped before write {number} of {world.writes}"
    raise AssertionError("more than a hundred writes")


def _inject_overtaken(play: Play, world: MemoryWorld, kind: str, number: int) -> bool:
    """Inject, stopped before write `number` and undone there by the guard; say whether there were so many writes."""
    fault, case = opened(play, kind)
    left = iter(range(number))
    overtaken = False
    spared: set[str] = set()

    def stopped(_what: str) -> None:
        nonlocal overtaken, spared
        if next(left, None) is None:
            world.before_write = lambda _what: None
            overtaken = True
            Journal(play.journal.path).claim("guard")
            fault.undo(play.site, case)
            fault.settle(play.site, case)
            remove_copy(play.site, case.entry)
            spared = world.pods()

    world.before_write = stopped
    finds_out = pytest.raises if number == 0 else suppress  # the last write of all has nobody to tell
    with finds_out(InjectionFailed):
        fault.inject(play.site, case)
    assert spared <= world.pods() or kind in NOT_FENCED
    return overtaken


NOT_FENCED = {"worker-crash", "fill-windows"}
"""No version fences a command or a question: what it hits, or is given, before it is taken back is gone."""


def test_operators_cordon_stays(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster(cordoned=("worker-1",))
    play = make_play(tmp_path, world)
    play.begin(fault_named("cordon-worker"), arguments("cordon-worker"), 30)
    play.undo()
    node = world.find("nodes", "worker-1")
    assert node is not None
    assert node["spec"] == {"unschedulable": True}
    assert not any(what == "patch nodes/worker-1" for what in world.writes)


def test_what_somebody_cordoned_meanwhile_is_said_and_left(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    site = site_of(world)
    play = make_play(tmp_path, world)
    fault = fault_named("cordon-worker")
    look = fault.look(site, arguments("cordon-worker"))
    _, case = play._entry(fault, arguments("cordon-worker"), look, 60)
    world.patch("nodes", "worker-2", {"spec": {"unschedulable": True}})
    fault.undo(site, case)
    reading = fault.reading(site, case)
    assert not reading.differences
    assert reading.notes == ("node worker-2 was cordoned by somebody else meanwhile; left so",)


@pytest.mark.parametrize(
    ("kind", "given", "cordoned", "error", "message"),
    [
        (
            "cordon-worker",
            {"nodes": "worker-9"},
            (),
            InputError,
            "no such worker; workers here: worker-1, worker-2",
        ),
        ("cordon-worker", {"nodes": "0"}, (), InputError, "chooses nothing"),
        ("cordon-worker", {"nodes": "2"}, (), InjectionFailed, "no schedulable worker"),
        (
            "cordon-worker",
            {"nodes": "all"},
            ("worker-1", "worker-2"),
            InjectionFailed,
            "cordoned already by somebody",
        ),
        ("saturate-gpu", {"fill": "150%"}, (), InputError, "not a percentage"),
        ("saturate-gpu", {"leave": 6}, (), InjectionFailed, "nothing to take"),
        ("saturate-gpu", {}, ("worker-1", "worker-2"), TargetError, "no Ready, schedulable worker offers"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    make_play: MakePlay,
    tmp_path: Path,
    kind: str,
    given: dict[str, object],
    cordoned: tuple[str, ...],
    error: type[Exception],
    message: str,
) -> None:
    world = small_cluster(cordoned)
    play = make_play(tmp_path, world)
    with pytest.raises(error, match=message):
        play.begin(fault_named(kind), arguments(kind, **given), 30)
    assert world.writes == []
    assert not play.open_entries


def test_limits_are_refused_with_numbers(make_play: MakePlay, tmp_path: Path) -> None:
    limits = TARGET.limits.model_copy(update={"max_nodes": 1, "max_gpu_share": 0.5, "max_hold_s": 20.0})
    target = TARGET.model_copy(update={"limits": limits})
    world = small_cluster()
    play = make_play(tmp_path, world, target)
    with pytest.raises(TargetError, match=r"would cordon 2 nodes .* the target allows 1"):
        play.begin(fault_named("cordon-worker"), arguments("cordon-worker"), 10)
    with pytest.raises(TargetError, match="would hold 6 of 6 shares, the target allows 3"):
        play.begin(fault_named("saturate-gpu"), arguments("saturate-gpu"), 10)
    with pytest.raises(TargetError, match="held for 30 s, the target allows 20 s"):
        play.begin(fault_named("cordon-worker"), arguments("cordon-worker"), 30)
    assert world.writes == []


def test_what_is_destroyed_for_good_must_be_accepted_off_the_sandbox(
    make_play: MakePlay, tmp_path: Path
) -> None:
    target = TARGET.model_copy(update={"is_sandbox": False})
    play = make_play(tmp_path, small_cluster(), target)
    with pytest.raises(TargetError, match=r"accept: \[mongodb-pod\]"):
        play.begin(fault_named("kill-mongo"), arguments("kill-mongo"), 10)


def test_a_fault_already_active_is_refused(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    make_play(tmp_path / "a", world).begin(fault_named("cordon-worker"), arguments("cordon-worker"), 30)
    with pytest.raises(InjectionFailed, match="cordoned by a fault already"):
        make_play(tmp_path / "b", world).begin(fault_named("cordon-worker"), arguments("cordon-worker"), 30)


def test_no_copy_in_the_cluster_no_fault(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()

    def refuse(what: str) -> None:
        if what.startswith("create configmaps"):
            raise Unreachable("POST configmaps: no answer")

    world.before_write = refuse
    play = make_play(tmp_path, world)
    with pytest.raises(Unreachable):
        play.begin(fault_named("cordon-worker"), arguments("cordon-worker"), 30)
    assert {what for what in world.writes if what.startswith("patch")} <= {
        "patch nodes/worker-1",
        "patch nodes/worker-2",
    }
    assert "unschedulable" not in str(world.find("nodes", "worker-1"))
    assert not play.open_entries
    assert play.finish() == Exit.TARGET


def test_a_fault_somebody_else_ended_is_not_held(
    make_play: MakePlay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.chaos.play.NOT_HELD_S", 0.2)
    monkeypatch.setattr("harness.chaos.play.LOOK_S", 0.05)
    world = small_cluster()
    play = make_play(tmp_path, world)
    play.begin(fault_named("cordon-worker"), arguments("cordon-worker"), 30)
    world.patch("nodes", "worker-1", {"spec": {"unschedulable": None}})
    play.hold(0.6)
    play.undo()
    play.finish()
    assert FaultStep.NOT_HELD in steps(tmp_path)
    assert steps(tmp_path)[-1] == FaultStep.VERIFIED


@pytest.mark.parametrize(("waits_for", "active"), [("CrashLoopBackOff", True), ("ContainerCreating", False)])
def test_a_container_has_crashed_before_it_is_restarted_for_the_first_time(
    make_play: MakePlay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits_for: str, active: bool
) -> None:
    world = small_cluster()
    play = make_play(tmp_path, world)
    held = begin(play, world, "focus-server-crash-loop")
    waiting = {"restartCount": 0, "state": {"waiting": {"reason": waits_for}}}
    pod = {"metadata": {"name": "focus-server-1"}, "status": {"containerStatuses": [waiting]}}
    monkeypatch.setattr(world, "objects", lambda *_where, **_how: [pod])
    assert held.fault.is_active(play.site, held.case) == active


def test_shares_that_become_free_while_held_are_taken_too(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster(shares=2)
    limits = {"limits": {GPU_NAME: "1"}}
    pod = {"metadata": {"name": "window"}, "spec": {"containers": [{"resources": limits}]}}
    world.create("pods", pod)
    play = make_play(tmp_path, world)
    held = play.begin(fault_named("saturate-gpu"), arguments("saturate-gpu"), 30)
    assert held.case.before.hogs == 3
    assert len(world.objects("pods", "focus-harness")) == 4, "one waits in line for the window's share"
    world.delete("pods", "window")
    assert held.fault.is_active(play.site, held.case)
    held.fault.sustain(play.site, held.case)
    assert len(world.objects("pods", "focus-harness")) == 4
    play.undo()
    assert not world.objects("pods", "focus-harness")


GPU_NAME = TARGET.gpu_resource


def test_a_part_of_the_shares_stays_that_part(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster(shares=2)
    limits = {"limits": {GPU_NAME: "1"}}
    world.create("pods", {"metadata": {"name": "window"}, "spec": {"containers": [{"resources": limits}]}})
    play = make_play(tmp_path, world)
    held = play.begin(fault_named("saturate-gpu"), arguments("saturate-gpu", fill="67%"), 30)
    world.delete("pods", "window")
    held.fault.sustain(play.site, held.case)
    assert held.fault.is_active(play.site, held.case)
    assert len(world.objects("pods", "focus-harness")) == 2


def test_stopping_ends_the_hold_at_once(make_play: MakePlay, tmp_path: Path) -> None:
    play = make_play(tmp_path, small_cluster())
    play.begin(fault_named("cordon-worker"), arguments("cordon-worker"), 30)
    play.stop_now("SIGTERM")
    start = time.monotonic()
    play.hold(30)
    assert time.monotonic() - start < 3
    play.undo()
    assert play.finish() == Exit.STOPPED


def test_a_cluster_that_stops_answering_ends_the_hold_and_is_undone_when_it_is_back(
    make_play: MakePlay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.chaos.play.BLIND_S", 0.2)
    monkeypatch.setattr("harness.chaos.play.LOOK_S", 0.05)
    world = small_cluster()
    play = make_play(tmp_path, world)
    play.begin(fault_named("cordon-worker"), arguments("cordon-worker"), 30)
    asked = 0

    def silent(_what: str) -> None:
        nonlocal asked
        asked += 1
        if asked < 12:  # some for the hold, a few more for the first tries to undo
            raise Unreachable("no answer")

    world.before_read = silent
    play.hold(30)
    assert asked < 12
    assert [ending.verified for ending in play.undo()] == [True]
    assert not any(node["spec"].get("unschedulable") for node in world.objects("nodes"))
    assert play.finish() == Exit.INJECTION


@pytest.mark.parametrize(("silent_s", "in_"), [(0.3, True), (2.5, False)])
def test_a_cluster_that_is_silent_for_a_while_keeps_no_fault_from_coming_in(
    make_play: MakePlay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent_s: float, in_: bool
) -> None:
    """Another fault of the run, or somebody else, has the API server away just when the effect is looked for."""
    monkeypatch.setattr("harness.chaos.play.BLIND_S", 1.0)
    world = small_cluster()
    play = make_play(tmp_path, world)
    fault = fault_named("cordon-worker")
    until = 0.0

    def silent(_what: str) -> None:
        if time.monotonic() < until:
            raise Unreachable("no answer")

    def inject(site: Site, case: Any) -> None:
        nonlocal until
        injected(site, case)
        until, world.before_read = time.monotonic() + silent_s, silent

    injected = fault.inject
    monkeypatch.setattr(fault, "inject", inject)
    if in_:
        assert play.begin(fault, arguments("cordon-worker"), 30).injected_ns
        return
    with pytest.raises(Unreachable):
        play.begin(fault, arguments("cordon-worker"), 30)


def test_a_node_that_vanished_is_refused_before_and_said_afterwards(
    make_play: MakePlay, tmp_path: Path
) -> None:
    world = small_cluster()
    site = site_of(world)
    play = make_play(tmp_path, world)
    fault = fault_named("cordon-worker")
    look = fault.look(site, arguments("cordon-worker"))
    _, case = play._entry(fault, arguments("cordon-worker"), look, 60)
    world.delete("nodes", "worker-1")
    with pytest.raises(InjectionFailed, match="nodes/worker-1 vanished before it could be changed"):
        fault.inject(site, case)
    fault.undo(site, case)
    reading = fault.reading(site, case)
    assert not reading.differences
    assert reading.notes == ("nodes/worker-1 is gone",)


def test_a_node_changed_by_its_kubelet_between_reading_and_writing_is_cordoned_all_the_same(
    make_play: MakePlay,
    tmp_path: Path,
) -> None:
    world = small_cluster()
    beats = iter(range(3))

    def beat(what: str) -> None:
        if what.startswith("patch nodes") and next(beats, None) is not None:
            world._store(("nodes", "", "worker-1"), dict(world.objects_by_key["nodes", "", "worker-1"]))

    play = make_play(tmp_path, world)
    world.before_write = beat
    play.begin(fault_named("cordon-worker"), arguments("cordon-worker"), 30)
    world.before_write = lambda _what: None
    assert play.undo()[0].verified


def test_memory_world_conflicts_like_a_cluster() -> None:
    world = small_cluster()
    node = world.find("nodes", "worker-1")
    assert node is not None
    version = node["metadata"]["resourceVersion"]
    world.patch("nodes", "worker-1", {"spec": {"unschedulable": None}})
    world.patch("nodes", "worker-1", {"spec": {"unschedulable": True}}, resource_version=version)
    with pytest.raises(Conflict):
        world.patch("nodes", "worker-1", {"spec": {}}, resource_version=version)


def test_a_killed_stream_pod_that_its_job_has_not_counted_yet_is_over_all_the_same(
    make_play: MakePlay, tmp_path: Path
) -> None:
    world = small_cluster(windows=2)
    play = make_play(tmp_path, world)
    fault, case = opened(play, "kill-streams", share="100%")
    first, second = (world.objects_by_key["pods", SYSTEM, ref.name] for ref in case.before.ended)
    first["status"]["phase"] = "Failed"
    assert not fault.is_active(play.site, case)
    second["status"]["phase"] = "Failed"
    assert fault.is_active(play.site, case)
