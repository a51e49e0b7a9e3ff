"""worker-not-ready: the kubelet of a worker stops; what runs there goes on, and nothing new starts. Cause of a 503: worker unavailable.

No API reaches a kubelet: the target names a command (`hands.node`) that freezes and thaws it.
"""

from typing import ClassVar

import msgspec

from harness.chaos.faults.fault import Case, Loss, Reading, Signature
from harness.chaos.faults.handmade import HandFault, Reached, Victim
from harness.chaos.faults.workers import choose_workers, refuse_reverters_home, refuse_too_many
from harness.chaos.world import HandName, Site
from harness.cluster import Right, is_ready, name_of, uid_of
from harness.cluster.kinds import condition
from harness.errors import InjectionFailed


class NodesArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`nodes`: `all` workers, a number of them, or names separated by commas."""

    nodes: str = "1"


class KubeletFault(HandFault[NodesArguments]):
    """Take workers' kubelets away. It is no fault by itself."""

    hand: ClassVar[HandName] = "node"
    does: ClassVar[str]
    blast_radius: ClassVar[str] = (
        "`limits.max_nodes`; a number never takes the last schedulable worker, `all` does; never the reverter's node"
    )
    arguments = NodesArguments

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read nodes; see where the reverter runs."""
        return (
            *(Right(verb, "nodes") for verb in ("get", "list")),
            Right("list", "pods", site.kubernetes.harness_namespace),
        )

    def look(self, site: Site, arguments: NodesArguments) -> Reached:
        """Choose Ready workers by the target's selector."""
        self.refuse_without_hand(site)
        chosen = choose_workers(site, arguments.nodes)
        down = [name_of(node) for node in chosen if not is_ready(node)]
        if down:
            raise InjectionFailed(f"{', '.join(down)}: not Ready already; there is nothing to stop")
        names = [name_of(node) for node in chosen]
        refuse_too_many(site, self.kind, self.does, names)
        refuse_reverters_home(site, self.kind, names)
        return Reached(tuple(Victim(name_of(node), uid_of(node)) for node in chosen))

    def is_active(self, site: Site, case: Case[NodesArguments, Reached]) -> bool:
        """None of them is Ready."""
        return not any(ready == "True" for _, ready in _seen(site, case))

    def reading(self, site: Site, case: Case[NodesArguments, Reached]) -> Reading:
        """Look at the Ready conditions."""
        seen = _seen(site, case)
        gone = {node.name for node in case.before.victims} - {name for name, _ in seen}
        return Reading(
            tuple(f"node {name} is not Ready ({ready})" for name, ready in seen if ready != "True"),
            " ".join(f"{name}={ready}" for name, ready in seen),
            tuple(f"node {name} is gone" for name in sorted(gone)),
        )


class WorkerNotReady(KubeletFault):
    """Stop the kubelets of workers."""

    kind: ClassVar[str] = "worker-not-ready"
    does: ClassVar[str] = "stop"
    there: ClassVar[str] = "freeze"
    back: ClassVar[str] = "thaw"
    title: ClassVar[str] = (
        "stops the kubelet of the chosen workers with the target's `hands.node` command (`freeze`)"
    )
    undo_text: ClassVar[str] = "lets it go on (`thaw`), and waits until the node is Ready again"
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss(
            "evicted-pods",
            "pods of the node, if it is held longer than they tolerate an unreachable node (300 s)",
        ),
    )
    signature: ClassVar[Signature] = Signature(
        seen="node NotReady once its grace is over; running streams go on; 503 worker_unavailable where nothing else is free",
        where="nodes' Ready condition, POST /configure",
        within_s=60.0,
        gone_within_s=30.0,
    )


def _seen(site: Site, case: Case[NodesArguments, Reached]) -> list[tuple[str, str]]:
    found = [(node, site.world.find("nodes", node.name)) for node in case.before.victims]
    return [
        (node.name, condition(obj, "Ready"))
        for node, obj in found
        if obj is not None and uid_of(obj) == node.uid
    ]
