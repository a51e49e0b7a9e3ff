"""Faults that no API call makes: their timer is armed before the command, and forgotten after the undo."""

from pathlib import Path

import pytest
from memory_world import TARGET, site_of, small_cluster
from plays import MakePlay, arguments

from harness.chaos.faults import FAULTS, fault_named
from harness.chaos.faults.handmade import SPARE_S, HandFault
from harness.errors import Exit, InjectionFailed, TargetError, Unreachable
from harness.target.model import Hands

BY_HAND = [fault for fault in FAULTS if isinstance(fault, HandFault)]


def test_what_no_api_call_makes_is_what_nothing_inside_the_cluster_can_undo() -> None:
    assert {fault.kind for fault in FAULTS if not fault.undone_inside} == {fault.kind for fault in BY_HAND}
    assert len(BY_HAND) == 6


@pytest.mark.parametrize("fault", BY_HAND, ids=lambda fault: fault.kind)
def test_the_timer_is_armed_before_the_command_and_forgotten_once_the_undo_is_verified(
    make_play: MakePlay, tmp_path: Path, fault: HandFault[object]
) -> None:
    world = small_cluster()
    play = make_play(tmp_path, world)
    held = play.begin(fault, arguments(fault.kind), 30)
    hand = fault.hand
    after_s = round(held.case.max_hold_s) + SPARE_S
    assert after_s > held.case.max_hold_s, "guard and reverter come first"
    nodes = ["" if hand == "api" else f" {victim.name}" for victim in held.case.before.victims]

    def commands(node: str) -> list[str]:  # nodes are reached side by side; each in its own order
        return [what for what in world.writes if what.startswith(hand) and node in what]

    for node in nodes:
        assert commands(node) == [f"{hand}_timer {fault.back}{node} {after_s}", f"{hand} {fault.there}{node}"]
    assert set(world.timers.values()) == {fault.back}
    world.writes.clear()
    assert [ending.verified for ending in play.undo()] == [True]
    for node in nodes:
        first, *again, last = commands(node)
        assert {first, *again} == {f"{hand} {fault.back}{node}"}
        assert last == f"{hand}_timer {fault.back}{node} 0", "the timer stays until the undo is verified"
    assert not world.timers
    assert not world.reached


@pytest.mark.parametrize("fault", BY_HAND, ids=lambda fault: fault.kind)
@pytest.mark.parametrize("missing", ["", "_timer"], ids=["command", "timer"])
def test_without_its_command_or_its_timer_a_fault_is_refused(
    make_play: MakePlay, tmp_path: Path, fault: HandFault[object], missing: str
) -> None:
    hands = TARGET.hands.model_copy(update={f"{fault.hand}{missing}": None})
    world = small_cluster()
    play = make_play(tmp_path, world, TARGET.model_copy(update={"hands": hands}))
    with pytest.raises(TargetError, match=rf"add hands\.{fault.hand}{missing} \(docs/targets\.md\)"):
        play.begin(fault, arguments(fault.kind), 30)
    assert world.writes == []


def test_a_timer_that_cannot_be_armed_leaves_the_command_out(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    before = world.declared()

    def refuse(what: str) -> None:
        if what == "node_timer thaw worker-1 115":
            raise Unreachable("hands.node_timer ended with 1")

    world.before_write = refuse
    play = make_play(tmp_path, world)
    with pytest.raises(Unreachable):
        play.begin(fault_named("worker-not-ready"), arguments("worker-not-ready", nodes="worker-1"), 30)
    assert not any(what.startswith("node freeze") for what in world.writes)
    assert world.declared() == before
    assert play.finish() == Exit.TARGET


def test_a_command_that_fails_to_take_back_keeps_its_timer(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    play = make_play(tmp_path, world)
    fault = fault_named("worker-not-ready")
    held = play.begin(fault, arguments(fault.kind), 30)

    def refuse(what: str) -> None:
        if what == "node thaw worker-1":
            raise Unreachable("hands.node ended with 255")

    world.before_write = refuse
    with pytest.raises(Unreachable):
        fault.undo(play.site, held.case)
    assert world.reached == {"node worker-1": "freeze"}, "worker-2 was thawed all the same"
    assert world.timers["node worker-1"] == "thaw"
    world.before_write = lambda _what: None
    assert play.undo()[0].verified
    assert not world.timers


def test_by_hand_is_said_in_the_words_of_the_target(make_play: MakePlay, tmp_path: Path) -> None:
    world = small_cluster()
    play = make_play(tmp_path, world)
    for kind, line in {
        "worker-crash": "reach worker-1 start; reach worker-2 start",
        "slow-network": "reach network worker-1 clear; reach network worker-2 clear",
        "api-server-down": "reach api up",
    }.items():
        fault = fault_named(kind)
        _, case = play._entry(fault, arguments(kind), fault.look(site_of(world), arguments(kind)), 60)
        assert fault.mend(play.site, case) == line


@pytest.mark.parametrize("delay", ["", "soon", "200", "4s", "0ms"])
def test_an_api_delay_that_is_none_is_refused(make_play: MakePlay, tmp_path: Path, delay: str) -> None:
    play = make_play(tmp_path, small_cluster())
    with pytest.raises(Exception, match="is not a time up to 3s"):
        play.begin(fault_named("api-server-slow"), arguments("api-server-slow", delay=delay), 30)


def test_hands_say_which_words_are_filled_in() -> None:
    with pytest.raises(ValueError, match=r"only \{verb\}, \{amount\}, \{after_s\} are filled in"):
        Hands.model_validate({"api_timer": "later {node}"})


def test_two_faults_on_one_nodes_network_cannot_overlap(make_play: MakePlay, tmp_path: Path) -> None:
    """One `clear` would end both, and the first to be undone would end the other unseen."""
    world = small_cluster()
    first = make_play(tmp_path / "a", world)
    first.begin(fault_named("slow-network"), arguments("slow-network", nodes="worker-1"), 30)
    second = make_play(tmp_path / "b", world)
    with pytest.raises(
        InjectionFailed, match=r"slow-network has the network of worker-1 .* cannot overlap on a node"
    ):
        second.begin(fault_named("drop-network"), arguments("drop-network", nodes="all"), 30)
    second.begin(fault_named("drop-network"), arguments("drop-network", nodes="worker-2"), 30)
    assert [ending.verified for ending in (*second.undo(), *first.undo())] == [True, True]
