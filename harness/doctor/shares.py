"""Count GPU shares: all of them, what bound pods hold, what is free, and what is free where a new pod may go.

Used by the checks `gpu` and `nodes`. A share is free if no bound, unfinished pod asks for it; a node that is cordoned, NotReady or tainted
keeps its free shares to itself.
"""

from dataclasses import dataclass

from harness.cluster import Object, gpu_request, is_ready, name_of
from harness.cluster.kinds import holds_resources
from harness.doctor.sight import Sight


@dataclass(frozen=True, slots=True)
class Node:
    """The shares of one node."""

    name: str
    total: int
    used: int
    sound: bool

    @property
    def free(self) -> int:
        """What no pod holds."""
        return max(0, self.total - self.used)


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of all nodes that have any."""

    nodes: tuple[Node, ...]

    @property
    def total(self) -> int:
        """All shares."""
        return sum(node.total for node in self.nodes)

    @property
    def used(self) -> int:
        """Held by pods."""
        return sum(node.used for node in self.nodes)

    @property
    def free(self) -> int:
        """Held by nobody, wherever."""
        return sum(node.free for node in self.nodes)

    @property
    def free_sound(self) -> int:
        """Held by nobody on nodes that take new pods."""
        return sum(node.free for node in self.nodes if node.sound)


def count_shares(sight: Sight) -> Shares:
    """Count the shares; raises CannotLook."""
    resource = sight.target.gpu_resource
    held: dict[str, int] = {}
    for pod in sight.objects("pods", "*"):
        if holds_resources(pod) and (asked := gpu_request(pod, resource)):
            held[pod["spec"]["nodeName"]] = held.get(pod["spec"]["nodeName"], 0) + asked
    counted = []
    for node in sight.objects("nodes"):
        total = int((node.get("status", {}).get("allocatable") or {}).get(resource, 0))
        if total:
            name = name_of(node)
            counted.append(Node(name, total, held.get(name, 0), is_sound(node)))
    return Shares(tuple(counted))


def is_sound(node: Object) -> bool:
    """Say whether new windows may go to a node."""
    return is_ready(node) and not node.get("spec", {}).get("unschedulable") and not keeps_off(node)


def keeps_off(node: Object) -> list[str]:
    """Return the taints that keep new pods off a node."""
    taints = node.get("spec", {}).get("taints") or ()
    return [
        f"{one['key']}:{one['effect']}" for one in taints if one.get("effect") in {"NoSchedule", "NoExecute"}
    ]
