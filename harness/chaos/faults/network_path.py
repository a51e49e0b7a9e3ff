"""What slow-network and drop-network share: the way from clients to the streams, by a command of the target. It is no fault by itself."""

from functools import partial
from typing import ClassVar, TypeVar

from harness.chaos.faults.fault import ENTRY_LABEL, Case, Reading
from harness.chaos.faults.handmade import HandFault, Reached, Victim
from harness.chaos.faults.workers import choose_workers, refuse_too_many
from harness.chaos.world import HandName, Site
from harness.cluster import Right, name_of, uid_of
from harness.errors import InjectionFailed

KINDS = ("slow-network", "drop-network")
A = TypeVar("A")


class StreamPath(HandFault[A]):
    """Spoil the network of workers' stream ports."""

    hand: ClassVar[HandName] = "network"
    back: ClassVar[str] = "clear"
    does: ClassVar[str]
    blast_radius: ClassVar[str] = (
        "`limits.max_nodes`; what reaches those nodes' ports from outside, nothing inside the cluster"
    )

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read nodes and the entries."""
        return (
            *(Right(verb, "nodes") for verb in ("get", "list")),
            Right("list", "configmaps", site.kubernetes.harness_namespace),
        )

    def nodes(self, site: Site, nodes: str) -> Reached:
        """Choose workers by the target's selector."""
        self.refuse_without_hand(site)
        chosen = choose_workers(site, nodes)
        names = [name_of(node) for node in chosen]
        refuse_too_many(site, self.kind, self.does, names)
        self._refuse_if_reached(site, names)
        return Reached(tuple(Victim(name_of(node), uid_of(node)) for node in chosen))

    def _refuse_if_reached(self, site: Site, names: list[str]) -> None:
        """Raise InjectionFailed if another fault has these nodes' network: one `clear` would end both."""
        for entry in site.world.objects("configmaps", site.kubernetes.harness_namespace, ENTRY_LABEL):
            said = entry.get("data") or {}
            if said.get("fault") in KINDS and any(name in said.get("victims", "") for name in names):
                raise InjectionFailed(
                    f"{said['fault']} has the network of {said['victims']} already; they cannot overlap on a node"
                )

    def is_active(self, site: Site, case: Case[A, Reached]) -> bool:
        """The commands were given; the API knows nothing of it, the clients do."""
        return all(site.world.find("nodes", victim.name) is not None for victim in case.before.victims)

    def reading(self, site: Site, case: Case[A, Reached]) -> Reading:
        """Give the opposite command once more: it says whether nothing is left."""
        victims = case.before.victims
        site.at_once([partial(site.reach, self.hand, self.back, victim.name) for victim in victims])
        return Reading((), "cleared")
