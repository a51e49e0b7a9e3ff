"""mongo-outage: MongoDB is scaled to nothing for the hold, and back. Cause of a 503: mongodb."""

from typing import ClassVar

from harness.chaos.faults.fault import Loss, Signature
from harness.chaos.faults.outage import RoleOutage
from harness.target import RoleName


class MongoOutage(RoleOutage):
    """Scale the role `mongodb` to zero."""

    role = RoleName.MONGODB
    kind: ClassVar[str] = "mongo-outage"
    title: ClassVar[str] = "scales MongoDB's workload to 0"
    undo_text: ClassVar[str] = (
        "scales it back, unless somebody else has scaled it meanwhile; waits until as many are ready"
    )
    blast_radius: ClassVar[str] = "the workload of the role `mongodb`, nothing else"
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss("mongodb-pod", "the pods themselves, connections, data outside a volume"),
    )
    signature: ClassVar[Signature] = Signature(
        seen="MongoDB has no pod; 503 mongodb; MongoDB does not answer",
        where="the workload's replicas, ping, POST /configure",
        within_s=10.0,
        gone_within_s=45.0,
    )
