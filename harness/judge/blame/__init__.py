"""Why each window was refused, failed or was not served: exactly one primary cause each, what else held, and the evidence.

`blame` is total: `unexplained` (everybody could see, and nothing explains it) and `unknown` (somebody who would have seen was blind) are
answers of their own. It knows observations and client outcomes alone; what was injected is none of its business.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.judge.blame.cause import Cause, Claim
from harness.judge.blame.causes import CAUSES, VERSION
from harness.judge.blame.creates import Creates
from harness.judge.blame.failures import Failures, failed_creates, failed_windows, failures_of
from harness.judge.blame.lives import ClusterLives, Life, lives_of
from harness.judge.record import RunRecord
from harness.judge.steps import Ints
from harness.judge.world import World

__all__ = ["CAUSES", "NAMES", "UNEXPLAINED", "UNKNOWN", "VERSION", "Blames", "Cause", "Failures", "blame"]

UNEXPLAINED, UNKNOWN = "unexplained", "unknown"
NAMES: tuple[str, ...] = (*(cause.name for cause in CAUSES), UNEXPLAINED, UNKNOWN)
AROUND_NS = 1_500_000_000
"""A blind spot this near a decision may have hidden what decided it."""


@dataclass(frozen=True)
class Blames:
    """Every failure with its cause, in arrays parallel to `failures`."""

    failures: Failures
    causes: tuple[str, ...]
    """All names; `primary` and the columns of `held` point into them."""
    primary: Ints
    held: NDArray[np.bool_]
    """One row per failure, one column per name: the primary cause, and whatever else was seen to hold."""
    behind: tuple[str, ...]
    """What lies behind the primary cause, in words; empty where nothing was seen."""
    blind: NDArray[np.bool_]
    """Whether somebody who would have seen a cause could not see."""
    creates: Creates
    lives: tuple[Life, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the primary cause of each failure."""
        return tuple(self.causes[number] for number in self.primary.tolist())

    def evidence(self, index: int) -> tuple[str, ...]:
        """Return the identities of the records that show the primary cause of one failure."""
        creates = len(self.creates)
        if index >= creates:
            return self.lives[index - creates].evidence()
        cause = CAUSES[int(self.primary[index])] if int(self.primary[index]) < len(CAUSES) else None
        return cause.evidence(self.creates, index) if cause is not None and cause.evidence else ()


def blame(record: RunRecord, world: World, *, logs: bool = True) -> Blames:
    """Find the cause of every failure; without `logs` the server's log is not looked at."""
    creates = Creates(world, failed_creates(record), record.attempts.texts, record.run.max_windows, logs)
    closed = failed_windows(record)
    lives = tuple(lives_of(world, ClusterLives(world), closed, record.frames)) if closed else ()
    claims = np.concatenate([_claims_of_creates(creates), _claims_of_windows(lives)])
    blind = np.concatenate([_blind_to(creates, AROUND_NS), _blind_to_windows(lives)])
    primary, held = _decide(claims, blind)
    dark = np.any(blind, axis=1)
    return Blames(
        failures=failures_of(record),
        causes=NAMES,
        primary=primary,
        held=held,
        behind=_behind(creates, primary[: len(creates)]) + ("",) * len(lives),
        blind=dark,
        creates=creates,
        lives=lives,
    )


def _claims_of_creates(creates: Creates) -> NDArray[np.int8]:
    claims = np.zeros((len(creates), len(CAUSES)), dtype=np.int8)
    if len(creates):
        for column, cause in enumerate(CAUSES):
            if cause.creates is not None:
                claims[:, column] = cause.creates(creates)
    return claims


def _claims_of_windows(lives: tuple[Life, ...]) -> NDArray[np.int8]:
    claims = [[_claim_of_window(cause, life) for cause in CAUSES] for life in lives]
    return np.array(claims, dtype=np.int8).reshape(len(lives), len(CAUSES))


def _claim_of_window(cause: Cause, life: Life) -> Claim:
    """Return a cause's claim; where its own watchers could not see, what is not certain is merely possible."""
    claim = cause.window(life) if cause.window else Claim.NO
    if Claim.NO < claim < Claim.CERTAIN and life.blind(*cause.needs):
        return Claim.POSSIBLE
    return claim


def _blind_to(creates: Creates, around_ns: int) -> NDArray[np.bool_]:
    """Return for which creates each cause may have hidden: a watcher that it needs could not see."""
    columns = [
        np.any(
            [_missing(creates, watcher, around_ns) for watcher in sorted(cause.needs)]
            or [np.zeros(len(creates), bool)],
            axis=0,
        )
        if cause.creates is not None
        else np.zeros(len(creates), dtype=bool)
        for cause in CAUSES
    ]
    return np.column_stack(columns) if len(creates) else np.zeros((0, len(CAUSES)), dtype=bool)


def _missing(creates: Creates, watcher: str, around_ns: int) -> NDArray[np.bool_]:
    world = creates.world
    if not world.could_be_seen(watcher):
        return np.zeros(len(creates), dtype=bool)
    from_ns, to_ns = creates.sent_ns - around_ns, creates.done_ns + around_ns
    return world.blind_at(watcher, from_ns, to_ns).astype(bool)


def _blind_to_windows(lives: tuple[Life, ...]) -> NDArray[np.bool_]:
    rows = [
        [
            cause.window is not None
            and any(life.world.could_be_seen(watcher) and life.blind(watcher) for watcher in cause.needs)
            for cause in CAUSES
        ]
        for life in lives
    ]
    return np.array(rows, dtype=bool).reshape(len(lives), len(CAUSES))


def _decide(claims: NDArray[np.int8], blind: NDArray[np.bool_]) -> tuple[Ints, NDArray[np.bool_]]:
    """Return each failure's primary cause and all that held.

    What was seen at the time stands. What was seen near it stands where nobody was blind around the time, or where nothing else is
    possible; what is merely possible only where nobody was blind.
    """
    count = len(claims)
    usual = np.array([cause.usual for cause in CAUSES])
    first_hand = usual[None, :] & (claims > Claim.NO) & (claims < Claim.CERTAIN)
    rank = np.where(first_hand, 2 * np.maximum(claims, np.int8(Claim.NEAR)) + 1, 2 * claims)
    first = rank.argmax(axis=1)  # the order of CAUSES decides other ties
    best = claims[np.arange(count), first]
    alone = (claims > Claim.NO).sum(axis=1) == 1
    dark = np.any(blind, axis=1)
    stands = (
        (best >= Claim.LIKELY) | ((best == Claim.NEAR) & (~dark | alone)) | ((best == Claim.POSSIBLE) & ~dark)
    )
    nothing = np.where(dark, NAMES.index(UNKNOWN), NAMES.index(UNEXPLAINED))
    primary: Ints = np.where(stands, first, nothing).astype(np.int64)
    held = np.zeros((count, len(NAMES)), dtype=bool)
    held[:, : len(CAUSES)] = claims >= Claim.LIKELY
    held[np.arange(count), primary] = True
    return primary, held


def _behind(creates: Creates, primary: Ints) -> tuple[str, ...]:
    told = np.array([""] * len(creates), dtype=object)
    for column, cause in enumerate(CAUSES):
        chosen = primary == column
        if cause.behind is not None and chosen.any():
            words = np.array(cause.reasons, dtype=object)
            told[chosen] = words[cause.behind(creates)[chosen]]
    return tuple(told.tolist())
