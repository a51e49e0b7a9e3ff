"""slow-network: what passes between clients and streams takes longer. Cause of late frames and streams that start slowly."""

import re
from typing import ClassVar

import msgspec

from harness.chaos.faults.fault import Case, Signature
from harness.chaos.faults.handmade import Reached
from harness.chaos.faults.network_path import StreamPath
from harness.chaos.world import Site
from harness.errors import InputError


class SlowNetworkArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`nodes` as for cordon-worker (stream ports are often those of one node); `delay`, such as `200ms`, each way."""

    nodes: str = "all"
    delay: str = "200ms"


class SlowNetwork(StreamPath[SlowNetworkArguments]):
    """Delay the stream path."""

    kind: ClassVar[str] = "slow-network"
    does: ClassVar[str] = "slow down"
    there: ClassVar[str] = "slow"
    title: ClassVar[str] = (
        "adds `delay` each way to the chosen workers' stream ports by the target's `hands.network` command (`slow`)"
    )
    undo_text: ClassVar[str] = "takes it away (`clear`)"
    signature: ClassVar[Signature] = Signature(
        seen="frames come late by the delay, none is lost; streams take longer to become ready",
        where="streams: time to ready, gaps between frames",
        within_s=3.0,
        gone_within_s=5.0,
    )
    arguments = SlowNetworkArguments

    def look(self, site: Site, arguments: SlowNetworkArguments) -> Reached:
        """Choose workers."""
        if not re.fullmatch(r"\d+(\.\d+)?(ms|s)", arguments.delay):
            raise InputError(f"delay: {arguments.delay!r} is not a time such as 200ms or 1.5s")
        return self.nodes(site, arguments.nodes)

    def amount(self, arguments: SlowNetworkArguments) -> str:
        """Return the delay."""
        return arguments.delay

    def describe(self, case: Case[SlowNetworkArguments, Reached]) -> str:
        """Name nodes and delay."""
        return f"{super().describe(case)} ({case.arguments.delay} each way)"
