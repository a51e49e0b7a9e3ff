"""The circumstances of every 503, so that a person sees why: open windows against MaxWindows, shares, what was down.

Called by judge. Reads the `World` only, never what was injected. `suggests` names, in the order in which Focus Server checks,
every cause of the seed document that the observations at that time suggest; it is a plain reading, not yet blame.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.judge.findings import Interval, Limit, Shares
from harness.judge.sightings import DOWN, UNKNOWN, Seen
from harness.judge.slots import SLOTS_WATCHER
from harness.judge.steps import Ints
from harness.judge.world import DEPENDENCIES, World

POLL_NS = 1_200_000_000
"""A dependency is asked about once a second: it may have gone down this long before it was seen down."""
SLOW_POLL_NS = {"broker": 2_200_000_000}
WATCH_NS = 250_000_000
"""A change in the cluster is seen within this time, as a rule."""

UNEXPLAINED, BLIND = "unexplained", "unknown"
CAUSES = (
    "focus_server_down",
    "kubernetes_unreachable",
    "mongodb_unavailable",
    "broker_unavailable",
    "waiting_for_fibre",
    "gpu_exhausted",
    "worker_unavailable",
    "max_windows",
)
"""What `suggests` may name, in this order; else `unexplained`, or `unknown` where a watcher was blind."""
_DOWN_CAUSE = {
    "focus_server": "focus_server_down",
    "kubernetes_api": "kubernetes_unreachable",
    "mongodb": "mongodb_unavailable",
    "broker": "broker_unavailable",
    "fibre": "waiting_for_fibre",
}
WATCHERS = ("pods", "nodes", SLOTS_WATCHER, "mongodb", "broker", "focus_server")
"""Whose blind spots can hide a cause."""
_LIMITS = (Limit.AT_LIMIT, Limit.PERHAPS, Limit.BELOW, Limit.NO_LIMIT)
_SHARES = (Shares.FREE, Shares.NONE_SCHEDULABLE, Shares.NONE, Shares.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Contexts:
    """The circumstances of many requests, one row each; columns are parallel arrays."""

    certain: Ints
    """Lowest count of certainly open windows while the request was decided."""
    possible: Ints
    """Highest count of possibly open windows, the request's own not counted."""
    limit: Ints
    shares: Ints
    down: NDArray[np.int64]
    """One column per dependency in `DEPENDENCIES`, 1 if it was seen down."""
    blind: NDArray[np.int64]
    """One column per watcher in `WATCHERS`, 1 if it could not see."""

    def keys(self) -> NDArray[np.int64]:
        """Return one row of numbers per request; equal circumstances have equal rows."""
        return np.column_stack([self.limit, self.shares, self.down, self.blind])


@dataclass(frozen=True, slots=True)
class Circumstances:
    """The circumstances of one request, in words."""

    limit: Limit
    shares: Shares
    down: tuple[str, ...]
    blind: tuple[str, ...]
    suggests: tuple[str, ...]


def contexts(world: World, max_windows: int | None, sent_ns: Ints, done_ns: Ints) -> Contexts:
    """Return the circumstances under which requests were decided, each somewhere between sent and done."""
    certain = world.windows.certain.lowest(sent_ns, done_ns)
    possible = world.windows.possible.highest(sent_ns, done_ns)
    possible = possible - (done_ns > sent_ns)  # the request itself is among the possible ones
    possible = np.maximum(possible, certain)
    if max_windows is None:
        limit = np.full(len(sent_ns), _LIMITS.index(Limit.NO_LIMIT))
    else:
        limit = np.where(certain >= max_windows, 0, np.where(possible >= max_windows, 1, 2))
    down = np.column_stack([_down(world, name, sent_ns, done_ns) for name in DEPENDENCIES])
    blind = np.column_stack([_blind(world, name, sent_ns, done_ns) for name in WATCHERS])
    return Contexts(certain, possible, limit, _shares(world, sent_ns, done_ns), down, blind)


def _down(world: World, name: str, sent_ns: Ints, done_ns: Ints) -> Ints:
    """Return 1 where a dependency may have been down: one that was seen down stays so until it is seen up."""
    from_ns = sent_ns - WATCH_NS
    asked = _any(world.dependencies[name], DOWN, from_ns, done_ns + SLOW_POLL_NS.get(name, POLL_NS))
    return asked | _any(world.ready_pods[name], DOWN, from_ns, done_ns + WATCH_NS)


def _blind(world: World, name: str, sent_ns: Ints, done_ns: Ints) -> Ints:
    """Return 1 where nobody could see: a dependency that cannot be asked from here still shows by its pods."""
    blind = world.blind_at(name, sent_ns, done_ns)
    if name in world.ready_pods:
        unknown = _any(world.ready_pods[name], UNKNOWN, sent_ns, done_ns)
        blind = blind & (world.blind_at("pods", sent_ns, done_ns) | unknown)
    return blind


def _any(seen: Seen, value: int, from_ns: Ints, to_ns: Ints) -> Ints:
    """Return 1 where `seen` had `value` at some instant of the interval."""
    return seen.steps.equal(value).highest(from_ns, to_ns)


def _shares(world: World, sent_ns: Ints, done_ns: Ints) -> Ints:
    from_ns, to_ns = sent_ns - WATCH_NS, done_ns + WATCH_NS
    none = _any(world.spare_shares, 0, from_ns, to_ns)
    none_schedulable = _any(world.spare_schedulable, 0, from_ns, to_ns)
    unknown = _any(world.spare_shares, UNKNOWN, done_ns, done_ns)
    unknown |= world.blind_at("pods", sent_ns, done_ns) | world.blind_at("nodes", sent_ns, done_ns)
    return np.where(none == 1, 2, np.where(none_schedulable == 1, 1, np.where(unknown == 1, 3, 0)))


def circumstances(row: NDArray[np.int64], world: World) -> Circumstances:
    """Put one row of `Contexts.keys` in words."""
    limit, shares = _LIMITS[int(row[0])], _SHARES[int(row[1])]
    flags = row[2:].astype(bool)
    down = tuple(name for name, is_down in zip(DEPENDENCIES, flags, strict=False) if is_down)
    blind = tuple(
        name
        for name, is_blind in zip(WATCHERS, flags[len(DEPENDENCIES) :], strict=True)
        if is_blind and (name in world.blind or name not in OPTIONAL_WATCHERS)
    )
    return Circumstances(limit, shares, down, blind, _suggests(limit, shares, down, blind))


OPTIONAL_WATCHERS = ("broker", "mongodb")
"""A target without them has nothing to see there: their absence is no blind spot."""


def _suggests(limit: Limit, shares: Shares, down: tuple[str, ...], blind: tuple[str, ...]) -> tuple[str, ...]:
    found = {_DOWN_CAUSE[name] for name in down}
    if shares == Shares.NONE:
        found.add("gpu_exhausted")
    elif shares == Shares.NONE_SCHEDULABLE:
        found.add("worker_unavailable")
    if limit == Limit.AT_LIMIT or (limit == Limit.PERHAPS and not found and not blind):
        found.add("max_windows")
    if found:
        return tuple(cause for cause in CAUSES if cause in found)
    return (BLIND,) if blind else (UNEXPLAINED,)


def evidence(world: World, found: Circumstances, at_ns: int) -> tuple[str, ...]:
    """Return the identities of the records that tell what held at `at_ns`, those that say `down` before the others."""
    asked = [seen[name] for name in found.down for seen in (world.dependencies, world.ready_pods)]
    down = [seen for seen in asked if seen.value(at_ns) == DOWN]
    if found.shares in (Shares.NONE, Shares.NONE_SCHEDULABLE):
        down.append(world.spare_schedulable)
    return tuple(identity for seen in down or asked if (identity := seen.evidence(at_ns)))


def interval(contexts_of: Contexts, chosen: NDArray[np.int64]) -> Interval:
    """Return the lowest certain and the highest possible count among the chosen requests."""
    return Interval(
        certain=int(contexts_of.certain[chosen].min()), possible=int(contexts_of.possible[chosen].max())
    )
