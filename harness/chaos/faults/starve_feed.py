"""starve-feed: The player is scaled to nothing for the hold, and back: the live feed dries up.

Cause of streams that stand still, and of windows that vanish.
"""

from typing import ClassVar

from harness.chaos.faults.fault import Loss, Signature
from harness.chaos.faults.outage import RoleOutage
from harness.target import RoleName


class StarveFeed(RoleOutage):
    """Scale the role `player` to zero."""

    role = RoleName.PLAYER
    kind: ClassVar[str] = "starve-feed"
    title: ClassVar[str] = "scales the player's workload to 0"
    undo_text: ClassVar[str] = (
        "scales it back, unless somebody else has scaled it meanwhile; waits until as many are ready"
    )
    blast_radius: ClassVar[str] = "the workload of the role `player`, and every live window that needs it"
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss("player-pod", "the player's pods; the live windows that cleanup ends meanwhile"),
    )
    signature: ClassVar[Signature] = Signature(
        seen="live windows stop sending; after that cleanup takes healthy viewers' windows for idle and removes them",
        where="streams, windows that end before their time",
        within_s=10.0,
        gone_within_s=30.0,
    )
