"""worker-crash: a worker dies with everything that runs on it, and comes back empty. Cause of a 503: worker unavailable.

No API reaches a node's power: the target names a command (`hands.node`) that kills and starts it.
"""

from typing import ClassVar

from harness.chaos.faults.fault import Loss, Signature
from harness.chaos.faults.worker_not_ready import KubeletFault


class WorkerCrash(KubeletFault):
    """Kill workers with their pods."""

    kind: ClassVar[str] = "worker-crash"
    does: ClassVar[str] = "kill"
    there: ClassVar[str] = "kill"
    back: ClassVar[str] = "start"
    title: ClassVar[str] = (
        "kills the chosen workers with everything on them by the target's `hands.node` command (`kill`)"
    )
    undo_text: ClassVar[str] = "starts them (`start`), and waits until they are Ready again"
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss(
            "crashed-pods", "every pod of the node: the windows there, their streams, data outside a volume"
        ),
    )
    signature: ClassVar[Signature] = Signature(
        seen="streams of the node break at once; node NotReady once its grace is over; 503 worker_unavailable where nothing else is free",
        where="streams, nodes' Ready condition, POST /configure",
        within_s=60.0,
        gone_within_s=30.0,
    )
