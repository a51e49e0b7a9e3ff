"""drain-worker: workers are cordoned and their pods evicted, as `kubectl drain` does. Cause of a 503: worker unavailable.

Evictions respect disruption budgets: a pod whose budget allows none stays, is asked again while the fault is held, and is named.
DaemonSets' and static pods stay, and so does the reverter. Pods of others are named before anything is done, and hit
only if the target accepts it.
"""

from dataclasses import replace
from typing import ClassVar

import msgspec

from harness.chaos.faults.alteration import Alteration, Altered, find
from harness.chaos.faults.cordon_worker import cordon, schedulable_among
from harness.chaos.faults.fault import Case, Loss, Ref, Signature, fence, ref_of
from harness.chaos.faults.workers import (
    FOREIGN_LOSS,
    choose_workers,
    is_cordoned,
    is_reverter,
    refuse_foreign,
    refuse_too_many,
)
from harness.chaos.world import Site
from harness.cluster import Conflict, Object, Right, name_of, uid_of, version_of
from harness.cluster.kinds import labels_of
from harness.errors import AccessDenied, TargetError


class DrainArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`nodes`: `all` workers, a number of them, or names separated by commas."""

    nodes: str = "1"


class DrainWorker(Alteration[DrainArguments]):
    """Cordon workers and evict their pods."""

    kind: ClassVar[str] = "drain-worker"
    title: ClassVar[str] = (
        "cordons the chosen workers and evicts their pods, as far as disruption budgets allow"
    )
    undo_text: ClassVar[str] = (
        "uncordons those that were schedulable before; evicted pods do not come back as themselves"
    )
    blast_radius: ClassVar[str] = (
        "`limits.max_nodes`, `limits.max_pods`; pods of other namespaces only with `limits.namespaces` or `accept: [foreign-pods]`"
    )
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss("evicted-pods", "the windows on those nodes, their streams, and whatever else was evicted"),
    )
    signature: ClassVar[Signature] = Signature(
        seen="nodes unschedulable and empty; their streams break; 503 worker_unavailable where nothing else is free",
        where="nodes, grpc pods, streams, POST /configure",
        within_s=40.0,
        gone_within_s=5.0,
    )
    arguments = DrainArguments

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read and patch nodes; read, fence and evict pods; read budgets."""
        ours = (site.kubernetes.namespace, site.kubernetes.harness_namespace, *site.target.limits.namespaces)
        places = ("",) if FOREIGN_LOSS in site.target.accept else tuple(dict.fromkeys(ours))
        return (
            *(Right(verb, "nodes") for verb in ("get", "list", "patch")),
            Right("list", "pods"),
            *(Right(verb, "pods", place) for place in places for verb in ("get", "patch")),
            *(Right("create", "pods", place, "eviction") for place in places),
            *(Right("list", "poddisruptionbudgets", place) for place in places),
        )

    def look(self, site: Site, arguments: DrainArguments) -> Altered:
        """Choose workers and count their pods."""
        ours = schedulable_among(choose_workers(site, arguments.nodes))
        names = [name_of(node) for node in ours]
        refuse_too_many(site, self.kind, "drain", names)
        pods = _evictable(site, names)
        refuse_foreign(site, self.kind, "evict", pods)
        limit = site.target.limits.max_pods
        if len(pods) > limit:
            raise TargetError(
                f"drain-worker would evict {len(pods)} pods of {', '.join(names)}, the target allows {limit} "
                "(limits.max_pods); raise it in the target file, or ask for fewer `nodes`"
            )
        what = f"{', '.join(names)} ({len(pods)} pods)"
        return Altered(
            what, changes=tuple(cordon(node) for node in ours), ended=tuple(ref_of("pods", p) for p in pods)
        )

    def inject(self, site: Site, case: Case[DrainArguments, Altered]) -> None:
        """Cordon, then evict."""
        super().inject(site, _without_pods(case))
        self.sustain(site, case)

    def sustain(self, site: Site, case: Case[DrainArguments, Altered]) -> None:
        """Evict what is still there and was there when the nodes were cordoned."""
        for pod in case.before.ended:
            found = find(site, pod)
            if found is None or "deletionTimestamp" in found["metadata"]:
                continue
            case.still_mine()
            try:
                site.world.evict(
                    pod.name, pod.namespace or None, uid=pod.uid, resource_version=version_of(found)
                )
            except Conflict:
                continue  # it changed; asked again in a moment

    def is_active(self, site: Site, case: Case[DrainArguments, Altered]) -> bool:
        """The nodes are unschedulable, and nothing is left on them but what budgets keep."""
        nodes = [site.world.find("nodes", change.ref.name) for change in case.before.changes]
        if not all(node is not None and is_cordoned(node) for node in nodes):
            return False
        left = [found for pod in case.before.ended if (found := find(site, pod)) is not None]
        kept = _kept(site, left)
        return all(uid_of(pod) in kept for pod in left)

    def obstacle(self, site: Site, case: Case[DrainArguments, Altered]) -> str:
        """Name what is still there."""
        left = [pod.name for pod in case.before.ended if find(site, pod) is not None]
        return f"not gone yet: {', '.join(left)}" if left else ""

    def undo(self, site: Site, case: Case[DrainArguments, Altered]) -> None:
        """Uncordon, and fence the pods that are left against a late eviction."""
        super().undo(site, _without_pods(case))
        for pod in case.before.ended:
            try:
                if find(site, pod) is not None:
                    fence(site, case, pod)
            except AccessDenied:
                continue  # the reverter has no rights on pods of others; an eviction is bound to their version anyway

    def seen(self, ref: Ref, found: Object) -> str:
        """Return whether the node takes pods."""
        return f"{ref.name}={'cordoned' if is_cordoned(found) else 'schedulable'}"

    def mend(self, site: Site, case: Case[DrainArguments, Altered]) -> str:
        """Return the kubectl line."""
        return f"kubectl uncordon {' '.join(change.ref.name for change in case.before.changes)}"


def _without_pods(case: Case[DrainArguments, Altered]) -> Case[DrainArguments, Altered]:
    return replace(case, before=msgspec.structs.replace(case.before, ended=()))


def _evictable(site: Site, nodes: list[str]) -> list[Object]:
    return [
        pod
        for pod in site.world.objects("pods", "*")
        if pod.get("spec", {}).get("nodeName") in nodes
        and pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}
        and "deletionTimestamp" not in pod["metadata"]
        and not _stays(pod)
    ]


def _stays(pod: Object) -> bool:
    metadata = pod["metadata"]
    owners = metadata.get("ownerReferences") or ()
    mirror = "kubernetes.io/config.mirror" in (metadata.get("annotations") or {})
    return mirror or is_reverter(pod) or any(owner.get("kind") == "DaemonSet" for owner in owners)


def _kept(site: Site, pods: list[Object]) -> set[str]:
    """Return the uids of pods that a budget keeps: it allows no disruption now."""
    kept: set[str] = set()
    for place in {pod["metadata"].get("namespace") for pod in pods}:
        here = [pod for pod in pods if pod["metadata"].get("namespace") == place]
        for budget in site.world.objects("poddisruptionbudgets", place):
            if int(budget.get("status", {}).get("disruptionsAllowed") or 0) == 0:
                wanted = budget["spec"].get("selector") or {}
                kept |= {uid_of(pod) for pod in here if _selects(wanted, labels_of(pod))}
    return kept


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    for term in selector.get("matchExpressions") or ():
        value, values = labels.get(term["key"]), term.get("values") or ()
        holds = value is not None if term["operator"] in {"Exists", "DoesNotExist"} else value in values
        if holds != (term["operator"] in {"In", "Exists"}):
            return False
    return (selector.get("matchLabels") or {}).items() <= labels.items()
