"""kill-mongo: MongoDB's pod is deleted without grace; its controller starts a new one. Cause of a 503: mongodb.

Acknowledged data is on the volume and stays.
"""

from typing import ClassVar

from harness.chaos.faults.fault import Loss, Signature
from harness.chaos.faults.killing import KillRole
from harness.target import RoleName


class KillMongo(KillRole):
    """Kill the pods of the role `mongodb`."""

    role = RoleName.MONGODB
    kind: ClassVar[str] = "kill-mongo"
    title: ClassVar[str] = (
        "deletes MongoDB's pods with grace 0, their successors too while held (`repeat: true`)"
    )
    undo_text: ClassVar[str] = (
        "stops killing; the controller's new pod is waited for until as many are ready as before"
    )
    blast_radius: ClassVar[str] = "the pods of the role `mongodb`, nothing else"
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss(
            "mongodb-pod",
            "the pods themselves, connections, writes not yet acknowledged, data outside a volume",
        ),
    )
    signature: ClassVar[Signature] = Signature(
        seen="no ready MongoDB pod; 503 mongodb; MongoDB does not answer",
        where="MongoDB's pods, ping, POST /configure",
        within_s=5.0,
        gone_within_s=45.0,
    )
