"""Which workers a fault means, and what it may not take: shared by the faults on nodes. Reads, never writes."""

from harness.chaos.world import Site
from harness.cluster import Object, is_ready, name_of
from harness.cluster.kinds import labels_of
from harness.errors import InjectionFailed, InputError, TargetError

FOREIGN_LOSS = "foreign-pods"
"""What a target file accepts if pods of others may be hit."""
REVERTER_LABELS = {"app.kubernetes.io/name": "focus-harness-reverter"}


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
        free = [node for node in workers if not is_cordoned(node) and is_ready(node)]
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


def refuse_too_many(site: Site, kind: str, does: str, names: list[str]) -> None:
    """Raise TargetError if that is more nodes than the target allows."""
    limit = site.target.limits.max_nodes
    if len(names) > limit:
        raise TargetError(
            f"{kind} would {does} {len(names)} nodes ({', '.join(names)}), the target allows {limit}; "
            "raise `limits.max_nodes` in the target file, or ask for fewer `nodes`"
        )


def refuse_reverters_home(site: Site, kind: str, names: list[str]) -> None:
    """Raise TargetError if the reverter runs on one of these nodes: what undoes faults is never a victim."""
    for pod in site.world.objects("pods", site.kubernetes.harness_namespace):
        node = pod.get("spec", {}).get("nodeName")
        if node in names and is_reverter(pod):
            raise TargetError(
                f"{kind}: the reverter runs on {node}, and what undoes faults is never a victim; choose other `nodes`, "
                "or keep it elsewhere (harness reverter install --node-selector)"
            )


def refuse_foreign(site: Site, kind: str, does: str, pods: list[Object]) -> None:
    """Raise TargetError with the names of those pods that are none of the system's, ours or the target's further namespaces."""
    kubernetes = site.kubernetes
    ours = {kubernetes.namespace, kubernetes.harness_namespace, *site.target.limits.namespaces}
    foreign = [
        f"{namespace}/{name_of(pod)}"
        for pod in pods
        if (namespace := pod["metadata"].get("namespace", kubernetes.namespace)) not in ours
    ]
    if foreign and FOREIGN_LOSS not in site.target.accept:
        raise TargetError(
            f"{kind} would {does} pods of others: {', '.join(foreign)}; if that is acceptable here, write "
            f"`accept: [{FOREIGN_LOSS}]`, or their namespaces into `limits.namespaces` of the target file"
        )


def is_reverter(pod: Object) -> bool:
    """Say whether a pod is the one that undoes faults inside the cluster."""
    return REVERTER_LABELS.items() <= labels_of(pod).items()


def is_cordoned(node: Object) -> bool:
    """Say whether new pods are kept off a node."""
    return bool(node.get("spec", {}).get("unschedulable"))


def is_sound(node: Object) -> bool:
    """Say whether a node takes new pods: Ready and schedulable."""
    return is_ready(node) and not is_cordoned(node)
