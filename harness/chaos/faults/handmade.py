"""What the faults share that no API call makes: a command of the target reaches the node, the network or the API server.

Nothing inside the cluster could undo them, so before the command is given a timer is armed (`hands.<name>_timer`) that gives the
opposite command when the longest hold is over, whoever is left by then; it is forgotten once the undo is verified. What comes late from a process that was stopped cannot
be fenced here as a write can; it looks again afterwards and takes it back. It is no fault by itself.
"""

import math
from functools import partial
from typing import ClassVar, TypeVar

import msgspec

from harness.chaos.faults.fault import Case, Fault
from harness.chaos.world import HandName, Site
from harness.errors import HarnessError, TargetError

SPARE_S = 5
"""The timer comes this much after the longest hold: guard and reverter first."""


class Victim(msgspec.Struct, frozen=True):
    """What a command reaches; `uid` of the node, empty for the API server."""

    name: str
    uid: str = ""


class Reached(msgspec.Struct, frozen=True):
    """What a fault reaches by a hand."""

    victims: tuple[Victim, ...]


A = TypeVar("A")


class HandFault(Fault[A, Reached]):
    """The shared life of a fault made by commands."""

    hand: ClassVar[HandName]
    there: ClassVar[str]
    back: ClassVar[str]
    """The verbs that make it and take it back."""
    undone_inside: ClassVar[bool] = False
    before = Reached

    def amount(self, arguments: A) -> str:
        """Return how much of it, for hands that are told."""
        return ""

    def refuse_without_hand(self, site: Site) -> None:
        """Raise TargetError if the target names no command, or no timer that would take it back."""
        hands = site.target.hands
        if getattr(hands, self.hand) is None:
            raise TargetError(
                f"target {site.target.name!r} names no command for {self.kind}; add hands.{self.hand} (docs/targets.md)"
            )
        if getattr(hands, f"{self.hand}_timer") is None:
            raise TargetError(
                f"{self.kind} cannot be undone from inside the cluster, and target {site.target.name!r} names no timer that "
                f"would; add hands.{self.hand}_timer (docs/targets.md)"
            )

    def describe(self, case: Case[A, Reached]) -> str:
        """Name what is reached."""
        return ", ".join(victim.name for victim in case.before.victims)

    def inject(self, site: Site, case: Case[A, Reached]) -> None:
        """Arm the timer, give the command; take it back if the entry was undone meanwhile."""
        after_s = math.ceil(case.max_hold_s) + SPARE_S
        amount = self.amount(case.arguments)

        def take(victim: Victim) -> None:
            site.later(self.hand, self.back, after_s, victim.name)
            case.still_mine()
            site.reach(self.hand, self.there, victim.name, amount)

        case.still_mine()
        try:
            site.at_once([partial(take, victim) for victim in case.before.victims])
            case.still_mine()
        except HarnessError:
            self.undo(site, case)
            self.settle(site, case)
            raise

    def undo(self, site: Site, case: Case[A, Reached]) -> None:
        """Give the opposite command, which changes nothing where there is nothing to take back."""
        site.at_once([partial(site.reach, self.hand, self.back, one.name) for one in case.before.victims])

    def settle(self, site: Site, case: Case[A, Reached]) -> None:
        """Forget the timers."""
        site.at_once([partial(site.later, self.hand, self.back, 0, one.name) for one in case.before.victims])

    def mend(self, site: Site, case: Case[A, Reached]) -> str:
        """Return the commands."""
        return "; ".join(
            site.hand_in_words(self.hand, self.back, victim.name) for victim in case.before.victims
        )
