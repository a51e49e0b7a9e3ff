"""What can be asked of the hands, timers by name, and how impairments reach the process they are about."""

import asyncio
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.sandbox.hands import Request, api_request, later_request, network_request, seconds_of
from harness.sandbox.impairments import NONE, Impairment, follow, impair, impairment_of
from harness.sandbox.settings import Settings
from harness.sandbox.state import Sandbox
from harness.sandbox.timers import Timer, Timers

SANDBOX = Sandbox("s", Path("/nowhere"), 16, Settings.make("seed", "fast"))


def test_amounts_are_read_with_their_unit_and_nothing_else_is() -> None:
    assert [seconds_of(text) for text in ("200ms", "2s", "0.5s", "1.5m")] == [0.2, 2.0, 0.5, 90.0]
    for text in ("", "2", "s", "-1s", "2 s", "2h"):
        with pytest.raises(InputError, match="write it like 200ms"):
            seconds_of(text)


def test_an_amount_that_is_not_given_is_the_usual_one() -> None:
    assert network_request(SANDBOX, "worker-node", "slow") == Request(
        "network", "proxy/worker-node", "slow", 0.2
    )
    assert network_request(SANDBOX, "worker-node", "slow", "1s").amount_s == 1.0
    assert api_request("slow").amount_s == 2.0


def test_a_timer_is_only_armed_with_what_can_be_done() -> None:
    armed = later_request(SANDBOX, "n", 5, ("node", "worker-node", "thaw"))
    assert armed.then == Request("process", "kubelet/worker-node", "thaw")
    assert (armed.timer, armed.after_s, armed.words) == ("n", 5, "node worker-node thaw")
    assert later_request(SANDBOX, "n", 5, ("api", "up")).then == api_request("up")
    assert later_request(SANDBOX, "n", 5, ("network", "master-node", "slow", "1s")).then == network_request(
        SANDBOX, "master-node", "slow", "1s"
    )
    assert later_request(SANDBOX, "n", 0, ("whatever",)).then is None
    for words in ((), ("node", "worker-node"), ("down",), ("api", "up", "1s", "2s")):
        with pytest.raises(InputError, match="cannot be done later"):
            later_request(SANDBOX, "n", 5, words)
    with pytest.raises(InputError, match="no node 'nowhere'"):
        later_request(SANDBOX, "n", 5, ("node", "nowhere", "thaw"))
    with pytest.raises(InputError, match="unknown verb 'melt'"):
        later_request(SANDBOX, "n", 5, ("node", "worker-node", "melt"))


def timer(name: str, due_s: float, verb: str = "up") -> Timer:
    return Timer(name, due_s, api_request(verb), f"api {verb}")


def test_timers_come_due_in_order_and_once() -> None:
    timers = Timers()
    assert timers.next_in_s(0) is None
    timers.arm(timer("late", 9))
    timers.arm(timer("soon", 5))
    assert timers.next_in_s(1) == 4
    assert timers.take_due(4.9) == []
    assert [one.name for one in timers.take_due(10)] == ["soon", "late"]
    assert timers.take_due(10) == []
    assert timers.next_in_s(10) is None


def test_a_timer_that_is_armed_again_is_replaced_and_one_that_is_forgotten_never_comes() -> None:
    timers = Timers()
    assert not timers.arm(timer("a", 5))
    assert timers.arm(timer("a", 8, "down"))
    assert timers.take_due(7) == []
    assert [one.words for one in timers.pending()] == ["api down"]
    assert timers.forget("a")
    assert not timers.forget("a")
    assert timers.take_due(99) == []


def test_an_impairment_is_seen_soon_and_holds_until_it_is_taken_back(tmp_path: Path) -> None:
    seen: list[Impairment] = []

    async def scene() -> None:
        impair(tmp_path, "proxy/worker-node", Impairment(delay_s=0.2))
        following = asyncio.create_task(follow(tmp_path, "proxy/worker-node", seen.append))
        await asyncio.sleep(0)
        assert seen == [Impairment(delay_s=0.2)]
        impair(tmp_path, "proxy/other", Impairment(drops=True))
        impair(tmp_path, "proxy/worker-node", Impairment(drops=True))
        await asyncio.sleep(0.25)
        impair(tmp_path, "proxy/worker-node", NONE)
        impair(tmp_path, "proxy/worker-node", NONE)
        await asyncio.sleep(0.25)
        following.cancel()

    asyncio.run(scene())
    assert seen[1:] == [Impairment(drops=True), NONE]
    assert impairment_of(tmp_path, "proxy/other") == Impairment(drops=True)
    assert impairment_of(tmp_path, "proxy/worker-node") == NONE
