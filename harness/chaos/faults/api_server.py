"""What api-server-slow and api-server-down share: the API server, by a command of the target. It is no fault by itself."""

from typing import ClassVar, TypeVar

from harness.chaos.faults.fault import Case, Reading
from harness.chaos.faults.handmade import HandFault, Reached, Victim
from harness.chaos.world import HandName, Site
from harness.cluster import Right

A = TypeVar("A")
API_SERVER = Reached((Victim("the API server"),))


class ApiServerFault(HandFault[A]):
    """Spoil the API server."""

    hand: ClassVar[HandName] = "api"
    back: ClassVar[str] = "up"
    restores_access: ClassVar[bool] = True
    blinds: ClassVar[bool] = True
    blast_radius: ClassVar[str] = (
        "the whole cluster: nobody can start, change or see anything; what runs goes on"
    )

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Nothing: no API call is made."""
        return ()

    def look(self, site: Site, arguments: A) -> Reached:
        """See that there is a command, and a timer."""
        self.refuse_without_hand(site)
        return API_SERVER

    def reading(self, site: Site, case: Case[A, Reached]) -> Reading:
        """Ask whether it is ready."""
        return (
            Reading((), "ready")
            if site.world.answers()
            else Reading(("the API server is not ready",), "not ready")
        )
