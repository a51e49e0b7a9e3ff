"""Faults from outside, named by module path in the target file, and actions that nobody undoes."""

import sys
from pathlib import Path

import pytest
from memory_world import TARGET, site_of, small_cluster
from plays import MakePlay, steps

from harness.chaos.faults import fault_named, faults_outside
from harness.chaos.preflight import needed_rights, preflight_faults, rehearse, unverified_actions
from harness.chaos.replay import replay
from harness.chaos.story import planned_faults, read_story
from harness.chaos.world import freeze, thaw
from harness.cluster import Right
from harness.errors import InputError, TargetError
from harness.history.events import FaultStep

MODULE = '''
"""dark-rack: a taint keeps new pods off a worker."""

import msgspec

from harness.chaos.faults.alteration import Alteration, Altered, Change, find
from harness.chaos.faults.fault import Loss, Signature, ref_of
from harness.chaos.faults.workers import choose_workers
from harness.cluster import Right, name_of

TAINT = {"key": "rack", "value": "dark", "effect": "NoSchedule"}


class RackArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rack: str = "worker-1"


class DarkRack(Alteration[RackArguments]):
    kind = "dark-rack"
    title = "taints a worker"
    undo_text = "takes the taint off"
    blast_radius = "one worker"
    losses = (Loss("rack-time", "the time"),)
    signature = Signature(seen="no new pods there", where="nodes", within_s=2.0, gone_within_s=2.0)
    arguments = RackArguments

    def rights(self, site):
        return (Right("patch", "nodes"),)

    def look(self, site, arguments):
        (node,) = choose_workers(site, arguments.rack)
        change = Change(ref_of("nodes", node), {"spec": {"taints": [TAINT]}}, {"spec": {"taints": None}})
        return Altered(name_of(node), changes=(change,))

    def is_active(self, site, case):
        return all(find(site, change.ref)["spec"].get("taints") for change in case.before.changes)


class Ours(DarkRack):
    kind = "cordon-worker"


NO_FAULT = object()
'''
EXPERIMENT = """
title: Dark rack
description: x
configuration:
  rack: {type: env, key: HARNESS_RACK, default: worker-1}
method:
  - name: darken
    type: action
    provider:
      type: python
      module: harness.chaos.actions
      func: inject
      arguments: {fault: dark-rack, hold_s: 20, arguments: {rack: "${rack}"}}
"""
PATH = "racks:DarkRack"


@pytest.fixture(autouse=True)
def racks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the module where `harness` is started."""
    (tmp_path / "racks.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "racks", raising=False)


def naming(*paths: str, sandbox: bool = True, accept: tuple[str, ...] = ()) -> object:
    """Return a target that names these faults."""
    return TARGET.model_copy(update={"faults": paths, "is_sandbox": sandbox, "accept": accept})


def test_a_fault_from_outside_is_played_and_undone_like_ours(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    before = world.declared()
    play = make_play(tmp_path, world, naming(PATH))
    fault = fault_named("dark-rack", [PATH])
    play.begin(fault, fault.arguments(), 30)
    assert world.find("nodes", "worker-1")["spec"]["taints"]  # type: ignore[index]
    assert [ending.verified for ending in play.undo()] == [True]
    assert world.declared() == before
    assert steps(tmp_path)[-1] == FaultStep.VERIFIED


def test_whoever_undoes_finds_it_by_the_frozen_target(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    target = naming(PATH)
    play = make_play(tmp_path, world, target)
    fault = fault_named("dark-rack", [PATH])
    play.begin(fault, fault.arguments(), 30)
    thawed = thaw(freeze(target))  # type: ignore[arg-type]
    assert thawed.faults == (PATH,)
    endings = replay([play.journal], lambda _: site_of(world, thawed), "guard", lambda *_: None)
    assert [ending.verified for ending in endings] == [True]


def test_an_experiment_plays_it_by_its_kind(tmp_path: Path) -> None:
    file = tmp_path / "dark.yaml"
    file.write_text(EXPERIMENT)
    story = read_story(file)
    assert story.faults == ("dark-rack",)
    assert story.unverified == ()
    ((kind, asked),) = planned_faults(story, {"rack": "worker-2"}, [PATH])
    assert (kind, asked.rack) == ("dark-rack", "worker-2")
    rehearse(naming(PATH), small_cluster(), file, {})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="workers here: worker-1, worker-2"):
        rehearse(naming(PATH), small_cluster(), file, {"rack": "worker-9"})  # type: ignore[arg-type]


def test_its_rights_and_losses_count_as_ours_do(make_play: MakePlay, tmp_path: Path) -> None:
    target = naming(PATH, sandbox=False)
    play = make_play(tmp_path, small_cluster(), target)
    fault = fault_named("dark-rack", [PATH])
    assert Right("patch", "nodes") in needed_rights(play.site, [fault])
    with pytest.raises(TargetError, match=r"dark-rack destroys for good: the time; .*accept: \[rack-time\]"):
        play.begin(fault, fault.arguments(), 30)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module:Fault", "'no_such_module:Fault' .* cannot be loaded: ModuleNotFoundError"),
        ("racks:NoSuchClass", "cannot be loaded: AttributeError"),
        ("racks", "cannot be loaded"),
        ("racks:NO_FAULT", "is no Fault; write module:Class"),
        ("racks:Ours", "its kind 'cordon-worker' is one of ours; give it another"),
    ],
)
def test_what_cannot_be_loaded_is_refused_clearly_and_before_anything(path: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        faults_outside([path])
    world = small_cluster()
    with pytest.raises(TargetError, match=message):
        preflight_faults(naming(path), world, ["dark-rack"])  # type: ignore[arg-type]
    assert world.writes == []


def test_a_fault_that_no_target_names_is_not_known() -> None:
    with pytest.raises(
        TargetError, match=r"fault 'dark-rack' is not known here .* name its module under `faults`"
    ):
        fault_named("dark-rack")


def foreign(tmp_path: Path, provider: str, unverified: str = "") -> Path:
    """Write an experiment with an action that is none of ours."""
    file = tmp_path / "foreign.yaml"
    file.write_text(
        f"title: x\ndescription: x\nmethod:\n  - name: pull-the-plug\n    type: action\n{unverified}"
        f"    provider: {provider}\n"
    )
    return file


PROVIDERS = [
    "{type: process, path: reboot}",
    "{type: python, module: chaosk8s.pod.actions, func: terminate_pods}",
]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("unverified", ["", "    unverified: false\n", '    unverified: "yes"\n'])
def test_an_action_that_nobody_undoes_has_to_say_so(tmp_path: Path, provider: str, unverified: str) -> None:
    with pytest.raises(InputError, match=r"action 'pull-the-plug' has no undo of ours; .*`unverified: true`"):
        read_story(foreign(tmp_path, provider, unverified))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_unverified_action_runs_on_the_sandbox_only_and_is_named(tmp_path: Path, provider: str) -> None:
    file = foreign(tmp_path, provider, "    unverified: true\n")
    assert read_story(file).unverified == ("pull-the-plug",)
    assert unverified_actions([file]) == ("foreign: pull-the-plug",)
    rehearse(TARGET, small_cluster(), file, {})  # type: ignore[arg-type]
    with pytest.raises(
        TargetError, match="pull-the-plug: nobody undoes these actions; they run on the sandbox only"
    ):
        rehearse(naming(sandbox=False), small_cluster(), file, {})  # type: ignore[arg-type]


def test_probes_of_others_are_no_actions(tmp_path: Path) -> None:
    file = tmp_path / "probing.yaml"
    file.write_text(
        "title: x\ndescription: x\nmethod:\n  - name: look\n    type: probe\n    provider: {type: http, url: 'http://127.0.0.1'}\n"
    )
    assert read_story(file).unverified == ()
