"""kill-focus-server: Focus Server's pod is deleted without grace; its controller starts a new one. Cause of a 503: the ingress has nobody.

Streams live in pods of their own and go on; what Focus Server kept in memory only is gone.
"""

from typing import ClassVar

from harness.chaos.faults.fault import Loss, Signature
from harness.chaos.faults.killing import KillRole
from harness.target import RoleName


class KillFocusServer(KillRole):
    """Kill the pods of the role `focus_server`."""

    role = RoleName.FOCUS_SERVER
    kind: ClassVar[str] = "kill-focus-server"
    title: ClassVar[str] = (
        "deletes Focus Server's pods with grace 0, their successors too while held (`repeat: true`)"
    )
    undo_text: ClassVar[str] = (
        "stops killing; the controller's new pod is waited for until as many are ready as before"
    )
    blast_radius: ClassVar[str] = "the pods of the role `focus_server`, nothing else"
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss("focus-server-pod", "the pods themselves, requests in flight, what they kept in memory only"),
    )
    signature: ClassVar[Signature] = Signature(
        seen="no ready Focus Server pod; 503 from the ingress; running streams go on",
        where="Focus Server's pods and endpoints, POST /configure",
        within_s=5.0,
        gone_within_s=30.0,
    )
