"""drop-network: nothing passes between clients and streams, and nothing is refused. Cause of streams that stand still."""

from typing import ClassVar

import msgspec

from harness.chaos.faults.fault import Loss, Signature
from harness.chaos.faults.handmade import Reached
from harness.chaos.faults.network_path import StreamPath
from harness.chaos.world import Site


class DropArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`nodes` as for cordon-worker (stream ports are often those of one node)."""

    nodes: str = "all"


class DropNetwork(StreamPath[DropArguments]):
    """Drop everything on the stream path."""

    kind: ClassVar[str] = "drop-network"
    does: ClassVar[str] = "cut off"
    there: ClassVar[str] = "drop"
    title: ClassVar[str] = (
        "drops every packet of the chosen workers' stream ports by the target's `hands.network` command (`drop`)"
    )
    undo_text: ClassVar[str] = "lets them pass again (`clear`)"
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss(
            "stalled-streams",
            "streams that somebody gives up while nothing passes: clients, or cleanup, which takes them for idle",
        ),
    )
    signature: ClassVar[Signature] = Signature(
        seen="frames stop and nothing breaks; new windows never become ready",
        where="streams, windows accepted and never served",
        within_s=3.0,
        gone_within_s=5.0,
    )
    arguments = DropArguments

    def look(self, site: Site, arguments: DropArguments) -> Reached:
        """Choose workers."""
        return self.nodes(site, arguments.nodes)
