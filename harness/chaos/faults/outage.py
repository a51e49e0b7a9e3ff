"""What the outages share: a role's workload is scaled to nothing and back.

Somebody who scales it meanwhile is left alone and named. It is no fault by itself.
"""

from typing import ClassVar

import msgspec

from harness.chaos.faults.alteration import (
    PLURAL,
    Alteration,
    Altered,
    Change,
    refuse_if_marked,
    serving,
    workload_of,
)
from harness.chaos.faults.fault import Case
from harness.chaos.world import Site
from harness.cluster import Right
from harness.errors import InjectionFailed
from harness.target import RoleName


class NoArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to choose."""


class RoleOutage(Alteration[NoArguments]):
    """Scale one role's workload to zero."""

    role: ClassVar[RoleName]
    arguments = NoArguments

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read and patch the workload, list its pods."""
        return scale_rights(site, self.role)

    def look(self, site: Site, arguments: NoArguments) -> Altered:
        """Find the workload."""
        return scaled_to_nothing(site, self.role)

    def is_active(self, site: Site, case: Case[NoArguments, Altered]) -> bool:
        """No pod of the role serves."""
        return serving(site, self.role) == 0

    def mend(self, site: Site, case: Case[NoArguments, Altered]) -> str:
        """Return the kubectl line."""
        (workload,) = case.before.workloads
        namespace = site.kubernetes.namespace
        return f"kubectl -n {namespace} scale {workload.ref} --replicas={workload.replicas}"


def scaled_to_nothing(site: Site, role: RoleName) -> Altered:
    """Return the alteration that scales a role's workload to 0; raises InjectionFailed if it is there already."""
    workload, found = workload_of(site, role)
    refuse_if_marked(workload.ref, found)
    if not workload.replicas:
        raise InjectionFailed(f"{workload.ref} is scaled to 0 already; there is nothing to take away")
    change = Change(workload.ref, {"spec": {"replicas": 0}}, {"spec": {"replicas": workload.replicas}})
    what = f"{workload.ref} ({workload.replicas} replicas)"
    return Altered(what, changes=(change,), workloads=(workload,))


def scale_rights(site: Site, role: RoleName, *, change: bool = True) -> tuple[Right, ...]:
    """Return what it takes to see, and with `change` to patch, a role's workload, and to list its pods."""
    namespace = site.kubernetes.namespace
    workload = PLURAL[site.role(role).kind]
    verbs = ("get", "patch") if change else ("get",)
    return (*(Right(verb, workload, namespace) for verb in verbs), Right("list", "pods", namespace))
