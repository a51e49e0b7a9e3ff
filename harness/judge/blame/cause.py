"""What a cause is: a name, what it says to a person, and rules that look at a failure's surroundings and claim or do not claim it.

Every file in `causes/` makes one `Cause`; `causes.CAUSES` lists them in the order in which ties are decided. A rule sees observations
and client outcomes only. It answers with a `Claim` per failure, never with a guess about what was injected.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from harness.judge.blame.creates import Creates
    from harness.judge.blame.lives import Life


class Claim(IntEnum):
    """How far the observations go."""

    NO = 0
    POSSIBLE = 1
    """It may have held, and nothing speaks against it: enough only where nothing else is claimed and nobody was blind."""
    NEAR = 2
    """Seen to hold a moment before or after: it held, if whoever saw it saw it late."""
    LIKELY = 3
    """Seen to hold at some instant of the decision."""
    CERTAIN = 4
    """Seen to hold before, during and after: it stands even where others were blind."""


Claims = NDArray[np.int8]
"""One `Claim` per failed create."""

NOWHERE = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why a window was refused, failed or was never served."""

    name: str
    heading: str
    """What it says to a person, as a heading."""
    sentence: str
    """The same in one sentence."""
    remedy: str
    """What to do about it, in a few words."""
    needs: frozenset[str] = NOWHERE
    """Watchers without which it can hide."""
    creates: "Callable[[Creates], Claims] | None" = None
    """The rule for creates that failed; None: it cannot make a create fail."""
    window: "Callable[[Life], Claim] | None" = None
    """The rule for an accepted window that was not served, or not to its end."""
    evidence: "Callable[[Creates, int], tuple[str, ...]] | None" = None
    """Identities of the records that show it for one create."""
    behind: "Callable[[Creates], NDArray[np.int8]] | None" = None
    """Per create the number of a text in `reasons` that names what lies behind, 0 for nothing."""
    reasons: tuple[str, ...] = ("",)
    """What can lie behind, in words; the first is nothing."""
    usual: bool = False
    """Whether it is what refuses as a rule: a cause that is seen no better gives way to it, unless that one is certain."""


def where(condition: NDArray[np.bool_], claim: Claim) -> Claims:
    """Return `claim` where the condition holds, NO elsewhere."""
    return np.where(condition, np.int8(claim), np.int8(Claim.NO))


def strongest(*claims: Claims) -> Claims:
    """Return the strongest of several claims, one by one."""
    found = claims[0]
    for other in claims[1:]:
        found = np.maximum(found, other)
    return found


def nothing(count: int) -> Claims:
    """Return no claim for `count` creates."""
    return np.zeros(count, dtype=np.int8)
