"""api-server-down: nobody reaches the Kubernetes API. Cause of a 503: kubernetes unreachable."""

from typing import ClassVar

from harness.chaos.faults.api_server import ApiServerFault
from harness.chaos.faults.fault import Case, Signature
from harness.chaos.faults.handmade import Reached
from harness.chaos.faults.outage import NoArguments
from harness.chaos.world import Site


class ApiServerDown(ApiServerFault[NoArguments]):
    """Take the API server away."""

    kind: ClassVar[str] = "api-server-down"
    there: ClassVar[str] = "down"
    title: ClassVar[str] = "ends the API server by the target's `hands.api` command (`down`)"
    undo_text: ClassVar[str] = (
        "starts it again (`up`); only the guard, the timer or a person can, nothing inside the cluster"
    )
    signature: ClassVar[Signature] = Signature(
        seen="no answer of the API; 503 kubernetes_unreachable; running streams go on",
        where="readyz, watches, POST /configure",
        within_s=3.0,
        gone_within_s=15.0,
    )
    arguments = NoArguments

    def is_active(self, site: Site, case: Case[NoArguments, Reached]) -> bool:
        """It does not answer."""
        return not site.world.answers()
