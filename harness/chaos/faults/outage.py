"""What mongo-outage and focus-server-outage share: a role's workload is scaled to nothing and back.

Somebody who scales it meanwhile is left alone and named. It is no fault by itself.
"""

from typing import ClassVar

import msgspec

from harness.chaos.faults.fault import ENTRY_ANNOTATION, Case, Fault, Reading, change, unmark
from harness.chaos.faults.killing import PLURAL, serves
from harness.chaos.world import Site
from harness.cluster import Object, Right, uid_of
from harness.cluster.kinds import annotations_of
from harness.errors import InjectionFailed, TargetError
from harness.target import RoleName


class OutageArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to choose."""


class OutageBefore(msgspec.Struct, frozen=True):
    """The workload as it was."""

    kind: str
    name: str
    uid: str
    replicas: int
    ready: int


class RoleOutage(Fault[OutageArguments, OutageBefore]):
    """Scale one role's workload to zero."""

    role: ClassVar[RoleName]
    arguments = OutageArguments
    before = OutageBefore

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read and patch the workload, list its pods."""
        namespace = site.kubernetes.namespace
        workload = PLURAL[site.role(self.role).kind]
        return (
            Right("get", workload, namespace),
            Right("patch", workload, namespace),
            Right("list", "pods", namespace),
        )

    def look(self, site: Site, arguments: OutageArguments) -> OutageBefore:
        """Find the workload."""
        role = site.role(self.role)
        workload = site.world.find(PLURAL[role.kind], role.name)
        if workload is None:
            raise TargetError(
                f"{role.kind} {role.name!r} (role {self.role.value}) does not exist; correct the target file"
            )
        if ENTRY_ANNOTATION in annotations_of(workload):
            raise InjectionFailed(
                f"{role.kind} {role.name!r}: scaled by a fault already; `harness undo` ends it"
            )
        replicas = _wanted(workload)
        if not replicas:
            raise InjectionFailed(
                f"{role.kind} {role.name!r} is scaled to 0 already; there is nothing to take away"
            )
        return OutageBefore(role.kind, role.name, uid_of(workload), replicas, _ready(workload))

    def describe(self, case: Case[OutageArguments, OutageBefore]) -> str:
        """Name the workload."""
        before = case.before
        return f"{before.kind} {before.name} ({before.replicas} replicas)"

    def inject(self, site: Site, case: Case[OutageArguments, OutageBefore]) -> None:
        """Scale to zero, at the version just read."""
        before = case.before
        change(site, case, PLURAL[before.kind], before.name, before.uid, {"spec": {"replicas": 0}})

    def is_active(self, site: Site, case: Case[OutageArguments, OutageBefore]) -> bool:
        """No pod of the role serves."""
        pods = site.world.objects("pods", selector=site.role(self.role).selector)
        return not any(serves(pod) for pod in pods)

    def undo(self, site: Site, case: Case[OutageArguments, OutageBefore]) -> None:
        """Scale back what carries our mark and is still at zero; write in any case, so that a late request conflicts."""
        before = case.before
        found = site.world.find(PLURAL[before.kind], before.name)
        if found is None or uid_of(found) != before.uid:
            return
        is_ours = annotations_of(found).get(ENTRY_ANNOTATION) == case.entry and _wanted(found) == 0
        patch: Object = {"spec": {"replicas": before.replicas}} if is_ours else {}
        unmark(site, case, PLURAL[before.kind], before.name, patch)

    def reading(self, site: Site, case: Case[OutageArguments, OutageBefore]) -> Reading:
        """Compare replicas wanted and ready, and our mark, with before."""
        before = case.before
        found = site.world.find(PLURAL[before.kind], before.name)
        if found is None or uid_of(found) != before.uid:
            return Reading((), "gone", (f"{before.kind} {before.name} was removed by somebody else",))
        seen = f"{before.name}: {_ready(found)} ready of {_wanted(found)}"
        if annotations_of(found).get(ENTRY_ANNOTATION) == case.entry:
            return Reading((f"{before.kind} {before.name} still carries the fault's mark",), seen)
        notes: tuple[str, ...] = ()
        if _wanted(found) != before.replicas:
            notes = (
                f"{before.kind} {before.name} was scaled from {before.replicas} to {_wanted(found)} by somebody else",
            )
        is_back = _ready(found) >= min(before.ready, _wanted(found))
        return Reading(() if is_back else (f"{seen}, {before.ready} before",), seen, notes)

    def mend(self, site: Site, case: Case[OutageArguments, OutageBefore]) -> str:
        """Return the kubectl line."""
        before = case.before
        namespace = site.kubernetes.namespace
        return (
            f"kubectl -n {namespace} scale {before.kind.lower()}/{before.name} --replicas={before.replicas}"
        )


def _wanted(workload: Object) -> int:
    return int(workload.get("spec", {}).get("replicas", 1))


def _ready(workload: Object) -> int:
    return int(workload.get("status", {}).get("readyReplicas") or 0)
