"""revoke-kubernetes-access: Focus Server's service account loses its bindings. Cause of a 503: kubernetes unreachable, by rights."""

from typing import ClassVar

from harness.chaos.faults.alteration import Altered, workload_of
from harness.chaos.faults.bindings import AccountFault
from harness.chaos.faults.fault import Signature
from harness.chaos.faults.outage import NoArguments, scale_rights
from harness.chaos.world import Site
from harness.cluster import Right
from harness.target import RoleName


class RevokeKubernetesAccess(AccountFault[NoArguments]):
    """Take Focus Server's rights away."""

    kind: ClassVar[str] = "revoke-kubernetes-access"
    title: ClassVar[str] = (
        "takes Focus Server's service account out of every RoleBinding and ClusterRoleBinding that names it"
    )
    undo_text: ClassVar[str] = "puts it back into those, unless somebody else has changed their subjects"
    blast_radius: ClassVar[str] = "the bindings of one service account; rights it has by a group stay"
    signature: ClassVar[Signature] = Signature(
        seen="the API answers Focus Server with 403; 503 kubernetes_unreachable; running streams go on",
        where="Focus Server's log, POST /configure",
        within_s=3.0,
        gone_within_s=5.0,
    )
    arguments = NoArguments

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Beside the bindings: read the workload, which names the account."""
        return (*super().rights(site), *scale_rights(site, RoleName.FOCUS_SERVER, change=False))

    def look(self, site: Site, arguments: NoArguments) -> Altered:
        """Find the account that the workload's pods run as."""
        _, found = workload_of(site, RoleName.FOCUS_SERVER)
        return self.without(
            site, str(found["spec"]["template"]["spec"].get("serviceAccountName") or "default")
        )
