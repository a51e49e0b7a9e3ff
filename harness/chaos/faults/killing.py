"""What kill-mongo and kill-focus-server share: a role's pods are deleted without grace; their controller makes new ones.

With `repeat` each new pod is killed too while the fault is held, so that the absence lasts; without it the absence ends when
the controller is done. It is no fault by itself.
"""

from typing import ClassVar

import msgspec

from harness.chaos.faults.alteration import PLURAL, Alteration, Altered, serving, workload_of
from harness.chaos.faults.fault import Case, fence, ref_of, remove
from harness.chaos.world import Site
from harness.cluster import Object, Right
from harness.errors import InjectionFailed, TargetError
from harness.target import RoleName


class KillArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`repeat`: kill the successors too while held."""

    repeat: bool = True


class KillRole(Alteration[KillArguments]):
    """Kill the pods of one role."""

    role: ClassVar[RoleName]
    arguments = KillArguments

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read the workload; read, fence and delete its pods."""
        namespace = site.kubernetes.namespace
        workload = PLURAL[site.role(self.role).kind]
        return (
            Right("get", workload, namespace),
            *(Right(verb, "pods", namespace) for verb in ("get", "list", "patch", "delete")),
        )

    def look(self, site: Site, arguments: KillArguments) -> Altered:
        """Find the workload and its pods."""
        return killed(site, self.role)

    def is_active(self, site: Site, case: Case[KillArguments, Altered]) -> bool:
        """No pod of the role is ready."""
        return serving(site, self.role) == 0

    def lasts(self, arguments: KillArguments) -> bool:
        """It lasts only as long as successors are killed too."""
        return arguments.repeat

    def sustain(self, site: Site, case: Case[KillArguments, Altered]) -> None:
        """Kill successors, if asked to."""
        if not case.arguments.repeat:
            return
        for pod in _pods(site, self.role):
            if "deletionTimestamp" not in pod["metadata"]:
                remove(site, case, ref_of("pods", pod))

    def undo(self, site: Site, case: Case[KillArguments, Altered]) -> None:
        """Fence the pods against a late delete; the controller brings them back, and `reading` waits for that."""
        for pod in _pods(site, self.role):
            fence(site, case, ref_of("pods", pod))


def killed(site: Site, role_name: RoleName) -> Altered:
    """Return the alteration that ends a role's pods; raises InjectionFailed if it has no ready one."""
    workload, _ = workload_of(site, role_name)
    pods = _pods(site, role_name)
    if not pods:
        selector = site.role(role_name).selector
        raise TargetError(f"selector {selector!r} (role {role_name.value}) matches no pod; nothing to kill")
    if not workload.ready:
        raise InjectionFailed(f"{workload.ref} has no ready pod already; it is down before the fault")
    refs = tuple(ref_of("pods", pod) for pod in pods)
    return Altered(", ".join(ref.name for ref in refs), ended=refs, workloads=(workload,))


def _pods(site: Site, role: RoleName) -> list[Object]:
    return site.world.objects("pods", selector=site.role(role).selector)
