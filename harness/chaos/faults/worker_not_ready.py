"""worker-not-ready: the kubelet of a worker stops; what runs there goes on, and nothing new starts. Cause of a 503: worker unavailable.

No API reaches a kubelet: the target names a command (`hands.node`, with `{node}` and `{verb}`) that freezes and thaws it. What
comes late from a process that was stopped cannot be fenced here as a write can; it looks again afterwards and takes it back.
"""

from typing import ClassVar

import msgspec

from harness.chaos.faults.cordon_worker import choose_workers
from harness.chaos.faults.fault import Case, Fault, Loss, Reading, Signature
from harness.chaos.world import Site
from harness.cluster import Right, is_ready, name_of, uid_of
from harness.cluster.kinds import condition
from harness.errors import HarnessError, InjectionFailed, TargetError


class NotReadyArguments(msgspec.Struct, frozen=True):
    """`nodes`: `all` workers, a number of them, or names separated by commas."""

    nodes: str = "1"


class Worker(msgspec.Struct, frozen=True):
    """A worker whose kubelet is stopped."""

    name: str
    uid: str


class NotReadyBefore(msgspec.Struct, frozen=True):
    """The chosen workers; all were Ready."""

    nodes: tuple[Worker, ...]


class WorkerNotReady(Fault[NotReadyArguments, NotReadyBefore]):
    """Stop the kubelets of workers."""

    kind: ClassVar[str] = "worker-not-ready"
    title: ClassVar[str] = (
        "stops the kubelet of the chosen workers with the target's `hands.node` command (`freeze`)"
    )
    undo_text: ClassVar[str] = "lets it go on (`thaw`), and waits until the node is Ready again"
    blast_radius: ClassVar[str] = (
        "`limits.max_nodes`; a number never takes the last schedulable worker, `all` does"
    )
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
    arguments = NotReadyArguments
    before = NotReadyBefore

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read nodes."""
        return tuple(Right(verb, "nodes") for verb in ("get", "list"))

    def look(self, site: Site, arguments: NotReadyArguments) -> NotReadyBefore:
        """Choose Ready workers by the target's selector."""
        if site.target.hands.node is None:
            raise TargetError(
                f"target {site.target.name!r} names no command that reaches its nodes; add hands.node, "
                "with {node} and {verb} (freeze, thaw)"
            )
        chosen = choose_workers(site, arguments.nodes)
        down = [name_of(node) for node in chosen if not is_ready(node)]
        if down:
            raise InjectionFailed(f"{', '.join(down)}: not Ready already; there is nothing to stop")
        limit = site.target.limits.max_nodes
        if len(chosen) > limit:
            raise TargetError(
                f"worker-not-ready would stop {len(chosen)} nodes ({', '.join(map(name_of, chosen))}), the target "
                f"allows {limit}; raise `limits.max_nodes` in the target file, or ask for fewer `nodes`"
            )
        return NotReadyBefore(tuple(Worker(name_of(node), uid_of(node)) for node in chosen))

    def describe(self, case: Case[NotReadyArguments, NotReadyBefore]) -> str:
        """Name the nodes."""
        return ", ".join(node.name for node in case.before.nodes)

    def inject(self, site: Site, case: Case[NotReadyArguments, NotReadyBefore]) -> None:
        """Freeze each kubelet; take it back if the entry was undone meanwhile."""
        for node in case.before.nodes:
            case.still_mine()
            site.reach_node(node.name, "freeze")
            try:
                case.still_mine()
            except HarnessError:
                site.reach_node(node.name, "thaw")
                raise

    def is_active(self, site: Site, case: Case[NotReadyArguments, NotReadyBefore]) -> bool:
        """None of them is Ready."""
        return not any(ready == "True" for _, ready in self._seen(site, case))

    def undo(self, site: Site, case: Case[NotReadyArguments, NotReadyBefore]) -> None:
        """Thaw each kubelet; thawing one that runs changes nothing."""
        failures: list[Exception] = []
        for node in case.before.nodes:
            try:
                site.reach_node(node.name, "thaw")
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def reading(self, site: Site, case: Case[NotReadyArguments, NotReadyBefore]) -> Reading:
        """Look at the Ready conditions."""
        seen = self._seen(site, case)
        gone = {node.name for node in case.before.nodes} - {name for name, _ in seen}
        return Reading(
            tuple(f"node {name} is not Ready ({ready})" for name, ready in seen if ready != "True"),
            " ".join(f"{name}={ready}" for name, ready in seen),
            tuple(f"node {name} is gone" for name in sorted(gone)),
        )

    def mend(self, site: Site, case: Case[NotReadyArguments, NotReadyBefore]) -> str:
        """Return the commands."""
        command = site.target.hands.node or "start the kubelet on {node}"
        return "; ".join(command.format(node=node.name, verb="thaw") for node in case.before.nodes)

    def _seen(self, site: Site, case: Case[NotReadyArguments, NotReadyBefore]) -> list[tuple[str, str]]:
        found = [(node, site.world.find("nodes", node.name)) for node in case.before.nodes]
        return [
            (node.name, condition(obj, "Ready"))
            for node, obj in found
            if obj is not None and uid_of(obj) == node.uid
        ]
