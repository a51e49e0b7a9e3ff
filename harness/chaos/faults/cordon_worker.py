"""cordon-worker: workers take no new pods; what runs there goes on. The seed's cause of a 503: worker unavailable.

Nodes that an operator had cordoned before are remembered as such and never touched.
"""

from typing import ClassVar

import msgspec

from harness.chaos.faults.fault import ENTRY_ANNOTATION, Case, Fault, Reading, Signature, change, unmark
from harness.chaos.world import Site
from harness.cluster import Object, Right, is_ready, name_of, uid_of
from harness.cluster.kinds import annotations_of
from harness.errors import InjectionFailed, InputError, TargetError


class CordonArguments(msgspec.Struct, frozen=True):
    """`nodes`: `all` workers, a number of them, or names separated by commas."""

    nodes: str = "1"


class NodeBefore(msgspec.Struct, frozen=True):
    """A worker as it was; `cordoned` ones are somebody else's and stay as they are."""

    name: str
    uid: str
    cordoned: bool


class CordonBefore(msgspec.Struct, frozen=True):
    """The chosen workers as they were."""

    nodes: tuple[NodeBefore, ...]

    @property
    def ours(self) -> tuple[NodeBefore, ...]:
        """The nodes this fault cordons."""
        return tuple(node for node in self.nodes if not node.cordoned)


class CordonWorker(Fault[CordonArguments, CordonBefore]):
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
    before = CordonBefore

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read and patch nodes."""
        return tuple(Right(verb, "nodes") for verb in ("get", "list", "patch"))

    def look(self, site: Site, arguments: CordonArguments) -> CordonBefore:
        """Choose workers by the target's selector."""
        chosen = choose_workers(site, arguments.nodes)
        held = [name_of(node) for node in chosen if ENTRY_ANNOTATION in annotations_of(node)]
        if held:
            raise InjectionFailed(f"{', '.join(held)}: cordoned by a fault already; `harness undo` ends it")
        before = CordonBefore(
            tuple(NodeBefore(name_of(node), uid_of(node), _is_cordoned(node)) for node in chosen)
        )
        if not before.ours:
            names = ", ".join(node.name for node in before.nodes)
            raise InjectionFailed(f"{names}: cordoned already by somebody else; there is nothing to cordon")
        limit = site.target.limits.max_nodes
        if len(before.ours) > limit:
            raise TargetError(
                f"cordon-worker would cordon {len(before.ours)} nodes ({', '.join(n.name for n in before.ours)}), "
                f"the target allows {limit}; raise `limits.max_nodes` in the target file, or ask for fewer `nodes`"
            )
        return before

    def describe(self, case: Case[CordonArguments, CordonBefore]) -> str:
        """Name the nodes."""
        return ", ".join(node.name for node in case.before.ours)

    def inject(self, site: Site, case: Case[CordonArguments, CordonBefore]) -> None:
        """Cordon each, at the version just read."""
        for node in case.before.ours:
            change(site, case, "nodes", node.name, node.uid, {"spec": {"unschedulable": True}})

    def is_active(self, site: Site, case: Case[CordonArguments, CordonBefore]) -> bool:
        """All of them are unschedulable."""
        for node in case.before.ours:
            found = site.world.find("nodes", node.name)
            if found is None or not _is_cordoned(found):
                return False
        return True

    def undo(self, site: Site, case: Case[CordonArguments, CordonBefore]) -> None:
        """Uncordon what carries our mark; write to the others too, so that a late cordon conflicts."""
        failures: list[Exception] = []
        for node in case.before.ours:
            try:
                found = site.world.find("nodes", node.name)
                if found is None or uid_of(found) != node.uid:
                    continue  # the node left; its successor was never ours
                is_ours = annotations_of(found).get(ENTRY_ANNOTATION) == case.entry
                patch: Object = {"spec": {"unschedulable": None}} if is_ours else {}
                unmark(site, case, "nodes", node.name, patch)
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def reading(self, site: Site, case: Case[CordonArguments, CordonBefore]) -> Reading:
        """Compare `unschedulable` and our mark, node by node."""
        differences: list[str] = []
        notes: list[str] = []
        seen: list[str] = []
        for node in case.before.nodes:
            found = site.world.find("nodes", node.name)
            if found is None or uid_of(found) != node.uid:
                notes.append(f"node {node.name} is gone")
                continue
            cordoned = _is_cordoned(found)
            seen.append(f"{node.name}={'cordoned' if cordoned else 'schedulable'}")
            if annotations_of(found).get(ENTRY_ANNOTATION) == case.entry:
                differences.append(f"node {node.name} still carries the fault's mark")
            elif cordoned and not node.cordoned:
                notes.append(f"node {node.name} was cordoned by somebody else meanwhile; left so")
            elif node.cordoned and not cordoned:
                notes.append(f"node {node.name} was uncordoned by somebody else meanwhile; left so")
        return Reading(tuple(differences), " ".join(seen), tuple(notes))

    def mend(self, site: Site, case: Case[CordonArguments, CordonBefore]) -> str:
        """Return the kubectl line."""
        return f"kubectl uncordon {' '.join(node.name for node in case.before.ours)}"


def choose_workers(site: Site, nodes: str) -> list[Object]:
    """Return the workers that `nodes` means: `all`, a number of schedulable Ready ones, or names."""
    selector = site.kubernetes.worker_selector
    workers = sorted(site.world.objects("nodes", selector=selector), key=name_of)
    if not workers:
        raise TargetError(f"worker_selector {selector!r} matches no node; correct it in the target file")
    if nodes == "all":
        return workers
    if nodes.isdigit():
        wanted = int(nodes)
        free = [node for node in workers if not _is_cordoned(node) and is_ready(node)]
        if wanted < 1:
            raise InputError(f"nodes: {nodes!r} chooses nothing; write a number from 1, `all`, or names")
        if wanted >= len(free):
            raise InjectionFailed(
                f"nodes: {wanted} would leave no schedulable worker ({len(free)} there now); write `all` to mean that"
            )
        return free[:wanted]
    by_name = {name_of(node): node for node in workers}
    names = [name.strip() for name in nodes.split(",") if name.strip()]
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        raise InputError(
            f"nodes: {', '.join(unknown) or repr(nodes)}: no such worker; workers here: {', '.join(by_name)}"
        )
    return [by_name[name] for name in names]


def _is_cordoned(node: Object) -> bool:
    return bool(node.get("spec", {}).get("unschedulable"))
