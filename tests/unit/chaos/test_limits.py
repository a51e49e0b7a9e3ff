"""What a fault may take: refused with the numbers before anything is written, and never the pod that undoes faults."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from memory_world import TARGET, MemoryWorld, budget, site_of, small_cluster
from plays import MakePlay, arguments, opened

from harness.chaos.faults import fault_named
from harness.chaos.faults.workers import REVERTER_LABELS
from harness.chaos.preflight import fighters
from harness.cluster import Right
from harness.errors import InputError, TargetError
from harness.target import Target


def limited(accept: tuple[str, ...] = (), **limits: object) -> Target:
    """Return a target with these limits."""
    return TARGET.model_copy(update={"limits": TARGET.limits.model_copy(update=limits), "accept": accept})


def put_pod(
    world: MemoryWorld, name: str, namespace: str, labels: Mapping[str, str] = {}, **metadata: object
) -> None:
    """Put a pod of somebody on worker-1."""
    spec = {"nodeName": "worker-1", "containers": [{"name": "c"}]}
    world.create(
        "pods", {"metadata": {"name": name, "labels": dict(labels), **metadata}, "spec": spec}, namespace
    )
    world.writes.clear()


@pytest.mark.parametrize(
    ("kind", "given", "limits", "message"),
    [
        ("drain-worker", {"nodes": "worker-1"}, {"max_pods": 3}, r"would evict 7 pods of worker-1, the target allows 3 \(limits\.max_pods\)"),
        ("drain-worker", {"nodes": "all"}, {"max_nodes": 1}, r"would drain 2 nodes \(worker-1, worker-2\), the target allows 1"),
        ("kill-streams", {"share": "100%"}, {"max_pods": 3}, r"would end 4 of 4 stream pods, the target allows 3 \(limits\.max_pods\)"),
        ("saturate-gpu", {}, {"max_pods": 1}, r"would hold 2 of 6 shares, the target allows 1 .*limits\.max_pods 1"),
        ("fill-windows", {"windows": "60%"}, {}, r"would hold 18 of 30 windows, the target allows 15 \(limits\.max_window_share 0\.5\)"),
        ("worker-crash", {"nodes": "all"}, {"max_nodes": 1}, r"would kill 2 nodes"),
        ("slow-network", {"nodes": "all"}, {"max_nodes": 1}, r"would slow down 2 nodes"),
        ("drop-network", {"nodes": "all"}, {"max_nodes": 1}, r"would cut off 2 nodes"),
        ("exhaust-pod-ips", {"nodes": "all"}, {"max_nodes": 1}, r"would fill 2 nodes"),
    ],
)  # fmt: skip
def test_what_would_take_too_much_is_refused_with_the_numbers(
    make_play: MakePlay,
    tmp_path: Path,
    kind: str,
    given: dict[str, object],
    limits: dict[str, object],
    message: str,
) -> None:
    world = small_cluster(windows=4)
    play = make_play(tmp_path, world, limited(**limits))
    with pytest.raises(TargetError, match=message):
        play.begin(fault_named(kind), arguments(kind, **given), 30)
    assert world.writes == []
    assert not play.open_entries


def test_without_max_windows_squatters_are_counted_against_the_budget(
    make_play: MakePlay, tmp_path: Path
) -> None:
    target = TARGET.model_copy(update={"max_windows": "unlimited"})
    play = make_play(tmp_path, small_cluster(), target)
    fault = fault_named("fill-windows")
    with pytest.raises(
        TargetError, match=r"would hold 61 windows, the target allows 60 \(budget\.max_open_windows\)"
    ):
        play.begin(fault, arguments("fill-windows", windows="61"), 30)
    with pytest.raises(InputError, match="the target has no MaxWindows; write a number"):
        play.begin(fault, arguments("fill-windows", windows="50%"), 30)


def test_pods_that_only_fill_stay_within_the_limit_on_every_node(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    for node in ("worker-1", "worker-2"):
        world.objects_by_key["nodes", "", node]["addresses"] = 100
    play = make_play(tmp_path, world, limited(max_pods=23))
    fault, case = opened(play, "exhaust-pod-ips")
    fault.inject(play.site, case)
    for _ in range(3):
        fault.sustain(play.site, case)
    assert len(world.objects("pods", "focus-harness")) == 23
    assert "23 idle pods all got an address, limits.max_pods is 23" in fault.obstacle(play.site, case)


def test_drain_names_pods_of_others_and_refuses_them(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    put_pod(world, "db", "billing")
    put_pod(world, "web", "shop")
    asked = arguments("drain-worker", nodes="worker-1")
    play = make_play(tmp_path / "a", world)
    with pytest.raises(
        TargetError, match=r"pods of others: billing/db, shop/web; .*`accept: \[foreign-pods\]`"
    ):
        play.begin(fault_named("drain-worker"), asked, 30)
    with pytest.raises(TargetError, match=r"pods of others: billing/db; "):
        make_play(tmp_path / "b", world, limited(namespaces=("shop",))).begin(
            fault_named("drain-worker"), asked, 30
        )
    assert world.writes == []
    make_play(tmp_path / "c", world, limited(accept=("foreign-pods",))).begin(
        fault_named("drain-worker"), asked, 30
    )
    assert world.find("pods", "db", "billing") is None


def test_drain_asks_for_the_rights_where_it_may_evict() -> None:
    fault = fault_named("drain-worker")
    world = small_cluster()
    evict = {
        right.namespace
        for right in fault.rights(site_of(world, limited(namespaces=("shop",))))
        if right.subresource == "eviction"
    }
    assert evict == {"panda", "focus-harness", "shop"}
    everywhere = fault.rights(site_of(world, limited(accept=("foreign-pods",))))
    assert Right("create", "pods", "", "eviction") in everywhere


def test_drain_leaves_what_a_budget_keeps_asks_again_and_counts_as_done(
    make_play: MakePlay, tmp_path: Path
) -> None:
    world = small_cluster(windows=2)
    budget(world, "mongodb")
    play = make_play(tmp_path, world)
    held = play.begin(fault_named("drain-worker"), arguments("drain-worker", nodes="worker-1"), 30)
    here = [
        pod["metadata"]["labels"] for pod in world.objects("pods") if pod["spec"]["nodeName"] == "worker-1"
    ]
    assert here == [{"app": "mongodb"}]
    assert "not gone yet: mongodb-" in held.fault.obstacle(play.site, held.case)
    world.patch("poddisruptionbudgets", "mongodb", {"status": {"disruptionsAllowed": 1}})
    held.fault.sustain(play.site, held.case)
    assert held.fault.obstacle(play.site, held.case) == ""
    assert play.undo()[0].verified


def test_drain_counts_a_budget_of_another_namespace_too(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    put_pod(world, "db", "shop", {"app": "db"})
    spec = {"selector": {"matchLabels": {"app": "db"}}}
    world.create(
        "poddisruptionbudgets",
        {"metadata": {"name": "db"}, "spec": spec, "status": {"disruptionsAllowed": 0}},
        "shop",
    )
    play = make_play(tmp_path, world, limited(namespaces=("shop",)))
    held = play.begin(fault_named("drain-worker"), arguments("drain-worker", nodes="worker-1"), 30)
    assert held.fault.is_active(play.site, held.case)
    assert world.find("pods", "db", "shop") is not None


def test_drain_leaves_daemons_static_pods_and_the_reverter(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    put_pod(world, "daemon", "panda")
    world.objects_by_key["pods", "panda", "daemon"]["metadata"]["ownerReferences"] = [
        {
            "kind": "DaemonSet",
            "name": "d",
            "uid": world.objects_by_key["nodes", "", "master"]["metadata"]["uid"],
        }
    ]
    put_pod(world, "static", "panda", annotations={"kubernetes.io/config.mirror": "x"})
    put_pod(world, "reverter", "focus-harness", REVERTER_LABELS)
    play = make_play(tmp_path, world)
    play.begin(fault_named("drain-worker"), arguments("drain-worker", nodes="worker-1"), 30)
    for name, namespace in (("daemon", "panda"), ("static", "panda"), ("reverter", "focus-harness")):
        assert world.find("pods", name, namespace) is not None


@pytest.mark.parametrize("kind", ["worker-not-ready", "worker-crash"])
def test_the_reverters_node_is_never_a_victim(make_play: MakePlay, tmp_path: Path, kind: str) -> None:
    world = small_cluster()
    put_pod(world, "reverter", "focus-harness", REVERTER_LABELS)
    for nodes in ("all", "1", "worker-1"):
        with pytest.raises(TargetError, match=r"the reverter runs on worker-1, .* never a victim"):
            make_play(tmp_path / nodes, world).begin(fault_named(kind), arguments(kind, nodes=nodes), 30)
    assert world.writes == []
    play = make_play(tmp_path / "other", world)
    play.begin(fault_named(kind), arguments(kind, nodes="worker-2"), 30)
    assert play.undo()[0].verified
    assert world.find("pods", "reverter", "focus-harness") is not None


@pytest.mark.parametrize("share", ["0%", "101%", "half", "50"])
def test_a_share_that_is_none_is_refused(make_play: MakePlay, tmp_path: Path, share: str) -> None:
    play = make_play(tmp_path, small_cluster(windows=1))
    with pytest.raises(InputError, match=r"share: .* is not a percentage from above 0% to 100%"):
        play.begin(fault_named("kill-streams"), arguments("kill-streams", share=share), 30)


def test_gpu_memory_is_filled_only_where_that_is_accepted(make_play: MakePlay, tmp_path: Path) -> None:
    asked = arguments("saturate-gpu", load="memory", image="burner:1")
    with pytest.raises(TargetError, match=r"`accept: \[gpu-memory\]`"):
        make_play(tmp_path / "a", small_cluster()).begin(fault_named("saturate-gpu"), asked, 30)
    world = small_cluster()
    play = make_play(tmp_path / "b", world, limited(accept=("gpu-memory",)))
    play.begin(fault_named("saturate-gpu"), asked, 30)
    (first, *_) = world.objects("pods", "focus-harness")
    assert first["spec"]["containers"][0]["env"] == [{"name": "HOG_LOAD", "value": "memory"}]
    assert play.undo()[0].verified


def test_shares_of_chosen_workers_are_taken_there_and_nowhere_else(
    make_play: MakePlay, tmp_path: Path
) -> None:
    world = small_cluster()
    play = make_play(tmp_path, world)
    play.begin(fault_named("saturate-gpu"), arguments("saturate-gpu", nodes="worker-2"), 30)
    assert {pod["spec"]["nodeName"] for pod in world.objects("pods", "focus-harness")} == {"worker-2"}
    assert len(world.objects("pods", "focus-harness")) == 3


def test_windows_that_cleanup_took_are_taken_again_while_held(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    play = make_play(tmp_path, world)
    held = play.begin(fault_named("fill-windows"), arguments("fill-windows", windows="3"), 30)
    held.fault.sustain(play.site, held.case)
    jobs = world.objects("jobs")
    assert len(jobs) == 3
    world.delete("jobs", jobs[0]["metadata"]["name"])
    held.fault.sustain(play.site, held.case)
    assert len(world.objects("jobs")) == 3
    play.undo()
    assert world.objects("jobs") == []


def test_a_server_that_gives_no_window_is_said_at_once(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    world.patch("deployments", "focus-server", {"spec": {"replicas": 0}})
    play = make_play(tmp_path, world)
    with pytest.raises(Exception, match="no window was given: POST /configure: 503"):
        play.begin(fault_named("fill-windows"), arguments("fill-windows"), 30)
    assert not play.open_entries


def test_a_server_that_takes_long_is_waited_for_with_signs_of_life(
    make_play: MakePlay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.chaos.world.PROGRESS_S", 0.01)
    world = small_cluster()
    play = make_play(tmp_path, world)
    fault, case = opened(play, "fill-windows")
    beats = 0

    def beat() -> None:
        nonlocal beats
        beats += 1

    def slow(target: Target) -> str:
        time.sleep(0.1)
        return world.open_window(target)

    fault.inject(replace(play.site, progress=beat, open_window=slow), case)
    assert beats > 3
    assert len(world.objects("jobs")) == 1


def waiting_pod(name: str, namespace: str) -> dict[str, object]:
    limits = {"limits": {TARGET.gpu_resource: "9"}}  # more than any node has: it waits
    metadata = {"name": name, "namespace": namespace}
    return {"metadata": metadata, "spec": {"containers": [{"resources": limits}]}}


def test_pods_of_others_that_wait_for_shares_are_named_before_they_are_starved(
    make_play: MakePlay, tmp_path: Path
) -> None:
    world = small_cluster()
    world.create("pods", waiting_pod("training-7", "research"), "research")
    world.writes.clear()
    play = make_play(tmp_path, world)
    with pytest.raises(
        TargetError, match=r"take shares from waiting pods of others: research/training-7;.*foreign-pods"
    ):
        play.begin(fault_named("saturate-gpu"), arguments("saturate-gpu"), 30)
    assert world.writes == []
    accepting = TARGET.model_copy(update={"accept": ("foreign-pods",)})
    assert make_play(tmp_path / "b", world, accepting).begin(
        fault_named("saturate-gpu"), arguments("saturate-gpu"), 30
    )


def test_those_who_will_fight_back_are_named() -> None:
    world = small_cluster()
    world.patch("deployments", "mongodb", {"metadata": {"labels": {"argocd.argoproj.io/instance": "prod"}}})
    owner = world.create("configmaps", {"metadata": {"name": "an-operators-object"}})
    reference = {"kind": "FocusServer", "name": "main", "uid": owner["metadata"]["uid"]}
    world.patch("deployments", "focus-server", {"metadata": {"ownerReferences": [reference]}})
    found = fighters(TARGET, world)  # type: ignore[arg-type]
    assert any("mongodb" in text and "Argo CD" in text for text in found)
    assert any("FocusServer main, whose operator will put it back" in text for text in found)
    assert fighters(TARGET, small_cluster()) == ()  # type: ignore[arg-type]
