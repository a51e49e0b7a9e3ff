"""Does a pod fit on a node, and if not, why: the scheduler's filters in Kubernetes' order and words. Pure.

Each node fails by its first filter that fails, as in kube-scheduler's default profile. Not covered, because nothing
in the sandbox uses them: pod affinity, topology spread, volume topology, preemption of running pods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from harness.sandbox.api import Obj
from harness.sandbox.controllers.podfacts import is_over, requests_of, tolerates
from harness.sandbox.controlplane import quantity, selectors

UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"


@dataclass
class NodeUse:
    """A node and what the pods on it hold."""

    node: Obj
    requested: dict[str, Fraction] = field(default_factory=dict)
    pods: int = 0
    host_ports: set[tuple[str, int]] = field(default_factory=set)

    def add(self, pod: Obj) -> None:
        """Count a pod of this node."""
        if is_over(pod):
            return
        self.pods += 1
        for resource, amount in requests_of(pod).items():
            self.requested[resource] = self.requested.get(resource, Fraction(0)) + amount
        self.host_ports |= host_ports_of(pod)

    def allocatable(self, resource: str) -> Fraction:
        """Return how much of a resource the node has for pods."""
        amount = ((self.node.get("status") or {}).get("allocatable") or {}).get(resource, "0")
        return quantity.parse(amount)


@dataclass(frozen=True)
class Misfit:
    """Why a node cannot take a pod, and whether removing other pods could help."""

    reasons: tuple[str, ...]
    resolvable: bool = False


def host_ports_of(pod: Obj) -> set[tuple[str, int]]:
    """Return the host ports a pod wants."""
    return {
        (port.get("protocol", "TCP"), port["hostPort"])
        for container in pod["spec"].get("containers") or []
        for port in container.get("ports") or []
        if port.get("hostPort")
    }


def misfit(pod: Obj, use: NodeUse) -> Misfit | None:
    """Return why the pod does not fit on the node; None if it does."""
    for check in (_unschedulable, _name, _taints, _affinity, _ports, _resources):
        found = check(pod, use)
        if found is not None:
            return found
    return None


def _unschedulable(pod: Obj, use: NodeUse) -> Misfit | None:
    if not use.node["spec"].get("unschedulable"):
        return None
    if tolerates(pod["spec"].get("tolerations") or [], UNSCHEDULABLE_TAINT):
        return None
    return Misfit(("node(s) were unschedulable",))


def _name(pod: Obj, use: NodeUse) -> Misfit | None:
    wanted = pod["spec"].get("nodeName")
    if wanted and wanted != use.node["metadata"]["name"]:
        return Misfit(("node(s) didn't match the requested node name",))
    return None


def _taints(pod: Obj, use: NodeUse) -> Misfit | None:
    tolerations = pod["spec"].get("tolerations") or []
    for taint in use.node["spec"].get("taints") or []:
        if taint["effect"] in ("NoSchedule", "NoExecute") and not tolerates(tolerations, taint):
            return Misfit(("node(s) had untolerated taint(s)",))
    return None


def _affinity(pod: Obj, use: NodeUse) -> Misfit | None:
    labels = use.node["metadata"].get("labels") or {}
    wrong = Misfit(("node(s) didn't match Pod's node affinity/selector",))
    for key, value in (pod["spec"].get("nodeSelector") or {}).items():
        if labels.get(key) != value:
            return wrong
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return None
    terms = required.get("nodeSelectorTerms") or []
    return None if any(_term_holds(term, use.node) for term in terms) else wrong


def _term_holds(term: Obj, node: Obj) -> bool:
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    by_label = selectors.from_object({"matchExpressions": term.get("matchExpressions") or []})
    by_field = selectors.from_object({"matchExpressions": term.get("matchFields") or []})
    if not term.get("matchExpressions") and not term.get("matchFields"):
        return False
    return by_label.holds(labels) and by_field.holds({"metadata.name": node["metadata"]["name"]})


def _ports(pod: Obj, use: NodeUse) -> Misfit | None:
    if host_ports_of(pod) & use.host_ports:
        return Misfit(("node(s) didn't have free ports for the requested pod ports",), resolvable=True)
    return None


def _resources(pod: Obj, use: NodeUse) -> Misfit | None:
    reasons = []
    if use.pods + 1 > use.allocatable("pods"):
        reasons.append("Too many pods")
    for resource, amount in requests_of(pod).items():
        if amount > use.allocatable(resource) - use.requested.get(resource, Fraction(0)):
            reasons.append(f"Insufficient {resource}")
    return Misfit(tuple(reasons), resolvable=True) if reasons else None


def score(pod: Obj, use: NodeUse) -> tuple[int, Fraction, int]:
    """Return how little the pod prefers the node, and how full it would be; the least one is taken.

    A preference outweighs fullness, where a real scheduler adds both up.
    """
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    liked = sum(
        int(term["weight"])
        for term in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []
        if _term_holds(term["preference"], use.node)
    )
    fullest = Fraction(0)
    for resource, amount in requests_of(pod).items():
        whole = use.allocatable(resource)
        if whole:
            fullest = max(fullest, (use.requested.get(resource, Fraction(0)) + amount) / whole)
    penalty = sum(
        1 for taint in use.node["spec"].get("taints") or [] if taint["effect"] == "PreferNoSchedule"
    )
    return -liked, fullest + penalty, use.pods


def why_nowhere(misfits: Iterable[Misfit]) -> str:
    """Say in the scheduler's words why no node took the pod."""
    found = list(misfits)
    if not found:
        return "no nodes available to schedule pods"
    reasons = Counter(reason for one in found for reason in one.reasons)
    preemption = Counter(NO_VICTIMS if one.resolvable else NOT_HELPFUL for one in found)
    head = f"0/{len(found)} nodes are available: "
    return f"{head}{_listed(reasons)}. no new claims to deallocate, preemption: {head}{_listed(preemption)}."


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
