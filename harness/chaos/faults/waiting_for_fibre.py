"""waiting-for-fibre: Focus Server is started while nobody feeds it, and waits for the fibre. Cause of a 503: waiting for fibre.

It learns the fibre's metadata from the feed when it starts, and keeps it: so the player is scaled to nothing and then Focus Server's
pods are killed. Historic windows go on.
"""

from typing import ClassVar

import msgspec

from harness.chaos.faults.alteration import Alteration, Altered, find, serving
from harness.chaos.faults.fault import Case, Loss, Signature
from harness.chaos.faults.killing import killed
from harness.chaos.faults.outage import NoArguments, scale_rights, scaled_to_nothing
from harness.chaos.world import Site
from harness.cluster import Right
from harness.target import RoleName


class WaitingForFibre(Alteration[NoArguments]):
    """Start Focus Server without a feed."""

    kind: ClassVar[str] = "waiting-for-fibre"
    title: ClassVar[str] = "scales the player to 0, then deletes Focus Server's pods with grace 0"
    undo_text: ClassVar[str] = (
        "scales the player back, unless somebody else has; Focus Server finds the feed by itself"
    )
    blast_radius: ClassVar[str] = (
        "the workloads of the roles `player` and `focus_server`; every live window loses its feed"
    )
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss("player-pod", "the player's pods; the live windows that cleanup ends meanwhile"),
        Loss("focus-server-pod", "Focus Server's pods, requests in flight, what they kept in memory only"),
    )
    signature: ClassVar[Signature] = Signature(
        seen="GET /live_metadata says `waiting for fiber`; 503 waiting_for_fibre to live windows, none to historic ones",
        where="live_metadata, POST /configure",
        within_s=20.0,
        gone_within_s=30.0,
    )
    arguments = NoArguments

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Scale the player; kill Focus Server's pods."""
        namespace = site.kubernetes.namespace
        return (
            *scale_rights(site, RoleName.PLAYER),
            *scale_rights(site, RoleName.FOCUS_SERVER, change=False),
            *(Right(verb, "pods", namespace) for verb in ("get", "patch", "delete")),
        )

    def look(self, site: Site, arguments: NoArguments) -> Altered:
        """Find both workloads."""
        player, server = scaled_to_nothing(site, RoleName.PLAYER), killed(site, RoleName.FOCUS_SERVER)
        return msgspec.structs.replace(
            player,
            what=f"{player.what}, {server.what}",
            ended=server.ended,
            workloads=(*player.workloads, *server.workloads),
        )

    def is_active(self, site: Site, case: Case[NoArguments, Altered]) -> bool:
        """No player, and a Focus Server that was started without one."""
        started_anew = all(find(site, pod) is None for pod in case.before.ended)
        return (
            serving(site, RoleName.PLAYER) == 0 and started_anew and serving(site, RoleName.FOCUS_SERVER) > 0
        )
