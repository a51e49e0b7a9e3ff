"""focus-server-outage: Focus Server is scaled to nothing for the hold, and back. Cause of a 503: the ingress has nobody.

Streams live in pods of their own and go on; what Focus Server kept in memory only is gone.
"""

from typing import ClassVar

from harness.chaos.faults.fault import Loss, Signature
from harness.chaos.faults.outage import RoleOutage
from harness.target import RoleName


class FocusServerOutage(RoleOutage):
    """Scale the role `focus_server` to zero."""

    role = RoleName.FOCUS_SERVER
    kind: ClassVar[str] = "focus-server-outage"
    title: ClassVar[str] = "scales Focus Server's workload to 0"
    undo_text: ClassVar[str] = (
        "scales it back, unless somebody else has scaled it meanwhile; waits until as many are ready"
    )
    blast_radius: ClassVar[str] = "the workload of the role `focus_server`, nothing else"
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss("focus-server-pod", "the pods themselves, requests in flight, what they kept in memory only"),
    )
    signature: ClassVar[Signature] = Signature(
        seen="Focus Server has no pod; 503 from the ingress; running streams go on",
        where="the workload's replicas, its endpoints, POST /configure",
        within_s=10.0,
        gone_within_s=30.0,
    )
