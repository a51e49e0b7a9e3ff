"""rabbitmq-outage: RabbitMQ is scaled to nothing for the hold, and back.

Cause of a 503: broker unavailable.
"""

from typing import ClassVar

from harness.chaos.faults.fault import Loss, Signature
from harness.chaos.faults.outage import RoleOutage
from harness.target import RoleName


class RabbitmqOutage(RoleOutage):
    """Scale the role `broker` to zero."""

    role = RoleName.BROKER
    kind: ClassVar[str] = "rabbitmq-outage"
    title: ClassVar[str] = "scales RabbitMQ's workload to 0"
    undo_text: ClassVar[str] = (
        "scales it back, unless somebody else has scaled it meanwhile; waits until as many are ready"
    )
    blast_radius: ClassVar[str] = "the workload of the role `broker`, and every live window that needs it"
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss("broker-pod", "the pods themselves, connections, messages that were not persistent"),
    )
    signature: ClassVar[Signature] = Signature(
        seen="the broker has no pod; live windows stop sending; 503 broker_unavailable where creates need queues",
        where="the workload's replicas, connecting to the broker, streams, POST /configure",
        within_s=20.0,
        gone_within_s=90.0,
    )
