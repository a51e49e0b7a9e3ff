"""focus-restart-without-mongo: Focus Server is started while MongoDB is away, the start-up trap. Cause of a 503: Focus Server down.

MongoDB is scaled to nothing and then Focus Server's pods are killed. A server that looks for MongoDB at its start crash-loops until
MongoDB is back; it has to come back by itself, in that order.
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


class FocusRestartWithoutMongo(Alteration[NoArguments]):
    """Start Focus Server without MongoDB."""

    kind: ClassVar[str] = "focus-restart-without-mongo"
    title: ClassVar[str] = "scales MongoDB to 0, then deletes Focus Server's pods with grace 0"
    undo_text: ClassVar[str] = (
        "scales MongoDB back, unless somebody else has; waits until both are as ready as before"
    )
    blast_radius: ClassVar[str] = "the workloads of the roles `mongodb` and `focus_server`, nothing else"
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss("mongodb-pod", "MongoDB's pods, connections, data outside a volume"),
        Loss("focus-server-pod", "Focus Server's pods, requests in flight, what they kept in memory only"),
    )
    signature: ClassVar[Signature] = Signature(
        seen="no MongoDB pod; Focus Server starts anew and crash-loops, or serves and refuses: 503 from the ingress or 503 mongodb",
        where="both workloads' pods and restarts, POST /configure",
        within_s=20.0,
        gone_within_s=90.0,
    )
    arguments = NoArguments

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Scale MongoDB; kill Focus Server's pods."""
        namespace = site.kubernetes.namespace
        return (
            *scale_rights(site, RoleName.MONGODB),
            *scale_rights(site, RoleName.FOCUS_SERVER, change=False),
            *(Right(verb, "pods", namespace) for verb in ("get", "patch", "delete")),
        )

    def look(self, site: Site, arguments: NoArguments) -> Altered:
        """Find both workloads."""
        mongodb, server = scaled_to_nothing(site, RoleName.MONGODB), killed(site, RoleName.FOCUS_SERVER)
        return msgspec.structs.replace(
            mongodb,
            what=f"{mongodb.what}, {server.what}",
            ended=server.ended,
            workloads=(*mongodb.workloads, *server.workloads),
        )

    def is_active(self, site: Site, case: Case[NoArguments, Altered]) -> bool:
        """No MongoDB, and none of the Focus Server pods from before."""
        return serving(site, RoleName.MONGODB) == 0 and all(
            find(site, pod) is None for pod in case.before.ended
        )
