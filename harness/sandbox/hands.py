"""What the hands on the hardware can be asked for, and how a command line says it.

The command line turns words into a `Request` here, at once or for later; the supervisor carries it out. Everything that
is wrong with the words is an InputError, so that a timer is never armed with an action that cannot be.
"""

from __future__ import annotations

import re

import msgspec

from harness.errors import InputError
from harness.sandbox.state import Sandbox

PROCESS_VERBS = ("freeze", "thaw", "kill", "start")
NETWORK_VERBS = ("slow", "drop", "clear")
API_VERBS = ("down", "slow", "up")
NETWORK_SLOW, API_SLOW = "200ms", "2s"
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0}


class Request(msgspec.Struct, frozen=True):
    """What the command line asks of the supervisor."""

    do: str
    """`down`, `status`, `process`, `network`, `api` or `later`."""
    role: str = ""
    """Whom: a process of the sandbox, or what runs in pods."""
    verb: str = ""
    amount_s: float = 0.0
    timer: str = ""
    after_s: int = 0
    then: Request | None = None
    """What a timer does when its time has come."""
    words: str = ""
    """How a person said what the timer does."""


def node_request(sandbox: Sandbox, node: str, verb: str) -> Request:
    """Return the request for a node's kubelet."""
    sandbox.node_index(node)
    return Request("process", f"kubelet/{node}", _one_of(verb, PROCESS_VERBS))


def network_request(sandbox: Sandbox, node: str, verb: str, amount: str = "") -> Request:
    """Return the request for what passes through a node's proxy; the amount counts for `slow` only."""
    sandbox.node_index(node)
    return Request(
        "network", f"proxy/{node}", _one_of(verb, NETWORK_VERBS), seconds_of(amount or NETWORK_SLOW)
    )


def api_request(verb: str, amount: str = "") -> Request:
    """Return the request for the control plane; the amount counts for `slow` only."""
    return Request("api", "control-plane", _one_of(verb, API_VERBS), seconds_of(amount or API_SLOW))


def later_request(sandbox: Sandbox, timer: str, after_s: int, words: tuple[str, ...]) -> Request:
    """Return the request that arms a timer with an action, or, after 0 seconds, forgets it."""
    if after_s == 0:
        return Request("later", timer=timer)
    return Request("later", timer=timer, after_s=after_s, then=_action(sandbox, words), words=" ".join(words))


def _action(sandbox: Sandbox, words: tuple[str, ...]) -> Request:
    match words:
        case ("node", node, verb):
            return node_request(sandbox, node, verb)
        case ("network", node, verb, *amount) if len(amount) < 2:
            return network_request(sandbox, node, verb, *amount)
        case ("api", verb, *amount) if len(amount) < 2:
            return api_request(verb, *amount)
    raise InputError(
        f"{' '.join(words)!r} cannot be done later: say `node NODE VERB`, `network NODE VERB [AMOUNT]` or `api VERB [AMOUNT]`"
    )


def seconds_of(amount: str) -> float:
    """Return the seconds of `200ms`, `2s` or `1.5m`."""
    found = _AMOUNT.fullmatch(amount)
    if found is None:
        raise InputError(f"amount {amount!r}: write it like 200ms, 2s or 1.5m")
    return float(found[1]) * _UNIT_S[found[2]]


def _one_of(verb: str, verbs: tuple[str, ...]) -> str:
    if verb not in verbs:
        raise InputError(f"unknown verb {verb!r}: one of {', '.join(verbs)}")
    return verb
