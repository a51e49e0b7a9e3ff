"""cordon-worker: workers take no new pods; what runs there goes on. The seed's cause of a 503: worker unavailable.

Nodes that an operator had cordoned before are never touched.
"""

from typing import ClassVar

import msgspec

from harness.chaos.faults.alteration import Alteration, Altered, Change
from harness.chaos.faults.fault import ENTRY_LABEL, Case, Ref, Signature, ref_of
from harness.chaos.faults.workers import choose_workers, is_cordoned, refuse_too_many
from harness.chaos.world import Site
from harness.cluster import Object, Right, name_of
from harness.cluster.kinds import labels_of
from harness.errors import InjectionFailed


class CordonArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`nodes`: `all` workers, a number of them, or names separated by commas."""

    nodes: str = "1"


class CordonWorker(Alteration[CordonArguments]):
    """Cordon workers."""

    kind: ClassVar[str] = "cordon-worker"
    title: ClassVar[str] = (
        "sets `spec.unschedulable` on the chosen workers (`nodes: all`, a number, or names)"
    )
    undo_text: ClassVar[str] = "clears it on those that were schedulable before; others are left as they were"
    blast_radius: ClassVar[str] = (
        "`limits.max_nodes`; a number never takes the last schedulable worker, `all` does"
    )
    signature: ClassVar[Signature] = Signature(
        seen="nodes unschedulable; no new stream pod is placed; 503 worker_unavailable where nothing else is free",
        where="nodes, Pending grpc pods, POST /configure",
        within_s=2.0,
        gone_within_s=5.0,
    )
    arguments = CordonArguments

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read and patch nodes."""
        return tuple(Right(verb, "nodes") for verb in ("get", "list", "patch"))

    def look(self, site: Site, arguments: CordonArguments) -> Altered:
        """Choose workers by the target's selector."""
        ours = schedulable_among(choose_workers(site, arguments.nodes))
        names = [name_of(node) for node in ours]
        refuse_too_many(site, self.kind, "cordon", names)
        return Altered(", ".join(names), changes=tuple(cordon(node) for node in ours))

    def is_active(self, site: Site, case: Case[CordonArguments, Altered]) -> bool:
        """All of them are unschedulable."""
        found = [site.world.find("nodes", change.ref.name) for change in case.before.changes]
        return all(node is not None and is_cordoned(node) for node in found)

    def seen(self, ref: Ref, found: Object) -> str:
        """Return whether the node takes pods."""
        return f"{ref.name}={'cordoned' if is_cordoned(found) else 'schedulable'}"

    def meanwhile(self, altered: Change, found: Object) -> str:
        """Say who keeps it cordoned."""
        return f"node {altered.ref.name} was cordoned by somebody else meanwhile; left so"

    def mend(self, site: Site, case: Case[CordonArguments, Altered]) -> str:
        """Return the kubectl line."""
        return f"kubectl uncordon {' '.join(change.ref.name for change in case.before.changes)}"


def schedulable_among(chosen: list[Object]) -> list[Object]:
    """Return those that nobody has cordoned; raises InjectionFailed if a fault has, or there is none."""
    held = [name_of(node) for node in chosen if ENTRY_LABEL in labels_of(node)]
    if held:
        raise InjectionFailed(f"{', '.join(held)}: cordoned by a fault already; `harness undo` ends it")
    ours = [node for node in chosen if not is_cordoned(node)]
    if not ours:
        names = ", ".join(name_of(node) for node in chosen)
        raise InjectionFailed(f"{names}: cordoned already by somebody else; there is nothing to cordon")
    return ours


def cordon(node: Object) -> Change:
    """Return the change that keeps new pods off a node."""
    return Change(ref_of("nodes", node), {"spec": {"unschedulable": True}}, {"spec": {"unschedulable": None}})
