"""What kill-mongo and kill-focus-server share: a role's pods are deleted without grace; their controller makes new ones.

With `repeat` each new pod is killed too while the fault is held, so that the absence lasts; without it the absence ends when
the controller is done. It is no fault by itself.
"""

from typing import ClassVar

import msgspec

from harness.chaos.faults.fault import Case, Fault, Reading, fence, remove
from harness.chaos.world import Site
from harness.cluster import Object, Right, is_ready, name_of, uid_of
from harness.errors import InjectionFailed, TargetError
from harness.target import RoleName

PLURAL = {"Deployment": "deployments", "StatefulSet": "statefulsets"}


class KillArguments(msgspec.Struct, frozen=True):
    """`repeat`: kill the successors too while held."""

    repeat: bool = True


class PodBefore(msgspec.Struct, frozen=True):
    """A pod that is killed."""

    name: str
    uid: str


class KillBefore(msgspec.Struct, frozen=True):
    """The workload as it was."""

    kind: str
    name: str
    uid: str
    replicas: int
    ready: int
    pods: tuple[PodBefore, ...]


class KillRole(Fault[KillArguments, KillBefore]):
    """Kill the pods of one role."""

    role: ClassVar[RoleName]

    arguments = KillArguments
    before = KillBefore

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read the workload; read, fence and delete its pods."""
        namespace = site.kubernetes.namespace
        workload = PLURAL[site.role(self.role).kind]
        return (
            Right("get", workload, namespace),
            *(Right(verb, "pods", namespace) for verb in ("get", "list", "patch", "delete")),
        )

    def look(self, site: Site, arguments: KillArguments) -> KillBefore:
        """Find the workload and its pods."""
        role = site.role(self.role)
        workload = site.world.find(PLURAL[role.kind], role.name)
        if workload is None:
            raise TargetError(
                f"{role.kind} {role.name!r} (role {self.role.value}) does not exist; correct the target file"
            )
        pods = site.world.objects("pods", selector=role.selector)
        if not pods:
            raise TargetError(
                f"selector {role.selector!r} (role {self.role.value}) matches no pod; nothing to kill"
            )
        ready = int(workload.get("status", {}).get("readyReplicas") or 0)
        if not ready:
            raise InjectionFailed(
                f"{role.kind} {role.name!r} has no ready pod already; it is down before the fault"
            )
        return KillBefore(
            kind=role.kind,
            name=role.name,
            uid=uid_of(workload),
            replicas=int(workload.get("spec", {}).get("replicas", 1)),
            ready=ready,
            pods=tuple(PodBefore(name_of(pod), uid_of(pod)) for pod in pods),
        )

    def describe(self, case: Case[KillArguments, KillBefore]) -> str:
        """Name the pods."""
        return ", ".join(pod.name for pod in case.before.pods)

    def inject(self, site: Site, case: Case[KillArguments, KillBefore]) -> None:
        """Delete each pod, by uid and version: a late request hits neither it nor a successor."""
        for pod in case.before.pods:
            remove(site, case, pod.name, pod.uid)

    def is_active(self, site: Site, case: Case[KillArguments, KillBefore]) -> bool:
        """No pod of the role is ready."""
        return not any(serves(pod) for pod in self._pods(site))

    def lasts(self, arguments: KillArguments) -> bool:
        """It lasts only as long as successors are killed too."""
        return arguments.repeat

    def sustain(self, site: Site, case: Case[KillArguments, KillBefore]) -> None:
        """Kill successors, if asked to."""
        if not case.arguments.repeat:
            return
        for pod in self._pods(site):
            if "deletionTimestamp" not in pod["metadata"]:
                remove(site, case, name_of(pod), uid_of(pod))

    def undo(self, site: Site, case: Case[KillArguments, KillBefore]) -> None:
        """Fence the pods against a late delete; the controller brings them back, and `reading` waits for that."""
        for pod in self._pods(site):
            fence(site, case, "pods", name_of(pod))

    def reading(self, site: Site, case: Case[KillArguments, KillBefore]) -> Reading:
        """Compare replicas wanted and ready with before."""
        before = case.before
        workload = site.world.find(PLURAL[before.kind], before.name)
        if workload is None or uid_of(workload) != before.uid:
            return Reading((), "gone", (f"{before.kind} {before.name} was removed by somebody else",))
        wanted = int(workload.get("spec", {}).get("replicas", 1))
        ready = int(workload.get("status", {}).get("readyReplicas") or 0)
        seen = f"{before.name}: {ready} ready of {wanted}"
        if wanted != before.replicas:
            note = (
                f"{before.kind} {before.name} was scaled from {before.replicas} to {wanted} by somebody else"
            )
            return Reading(() if ready >= min(wanted, before.ready) else (seen,), seen, (note,))
        return Reading(() if ready >= before.ready else (f"{seen}, {before.ready} before",), seen)

    def mend(self, site: Site, case: Case[KillArguments, KillBefore]) -> str:
        """Return the kubectl line."""
        before = case.before
        namespace = site.kubernetes.namespace
        return f"kubectl -n {namespace} rollout status {before.kind.lower()}/{before.name}"

    def _pods(self, site: Site) -> list[Object]:
        return site.world.objects("pods", selector=site.role(self.role).selector)


def serves(pod: Object) -> bool:
    """Say whether a pod is ready and not on its way out."""
    return is_ready(pod) and "deletionTimestamp" not in pod["metadata"]
