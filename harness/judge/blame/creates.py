"""The failed creates of a run and what was seen around each of them: the questions that causes ask, answered for all at once.

Called by the rules in `causes/`. A create was decided somewhere between `sent_ns` and `done_ns`. What a watch sees it sees a little
late; what is asked once a second may have changed a second before anybody saw it: each question says how far it looks around.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.history.events import Outcome
from harness.history.samples import Rows
from harness.judge.blame.bodies import FRONT, SERVER, UNTOLD, writers_of
from harness.judge.blame.cause import Claim, Claims, strongest, where
from harness.judge.sightings import DOWN, UNKNOWN, UP, Seen
from harness.judge.slots import SLOTS_WATCHER
from harness.judge.steps import Ints, Steps
from harness.judge.world import World

Flags = NDArray[np.bool_]

MS = 1_000_000
WATCH_NS = 300 * MS
"""A change in the cluster is seen within this time, as a rule."""
POLL_NS = 1_300 * MS
"""A dependency is asked about once a second: it may have gone down this long before it was seen down."""
SLOW_POLL_NS = {"broker": 2_300 * MS, "fibre": 2_300 * MS}
"""These are asked every other second."""
AFTER_NS = {"kubernetes_api": 2_500 * MS}
"""A server may need this long to find a dependency again that answers others already."""
BACK_NS = 2_500 * MS
"""A dependency that is seen up again may have been up for this long: its last question ran into a timeout."""
REUSE_NS = 300 * MS
"""A server may go by an answer of a dependency that is this old."""
COUNTED_NS = 500 * MS
"""A server that counts shares and slots says so within this time."""
SLOW_NS = 300 * MS
"""A dependency whose answer takes this long may be too slow for the server's patience, which is not known."""


@dataclass(frozen=True)
class Creates:
    """Failed creates with the world around them; every answer is an array with one entry per create."""

    world: World
    rows: Rows
    texts: tuple[str, ...]
    max_windows: int | None
    logs: bool = True
    """Whether the server's log may be looked at."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sent_ns(self) -> Ints:
        """When each was sent."""
        found: Ints = self.rows["sent_ns"]
        return found

    @property
    def done_ns(self) -> Ints:
        """When each outcome was known."""
        found: Ints = self.rows["done_ns"]
        return found

    @cached_property
    def counting(self) -> "Creates":
        """The same creates in the moments in which the server may have counted what is free: what it waits for comes before."""
        rows = self.rows.copy()
        rows["sent_ns"] = np.maximum(self.sent_ns, self.done_ns - COUNTED_NS)
        return replace(self, rows=rows)

    @cached_property
    def took_ns(self) -> Ints:
        """How long each was waited for."""
        return self.done_ns - self.sent_ns

    # --- how they ended ---------------------------------------------------------------------------

    def ended(self, *outcomes: Outcome) -> Flags:
        """Return which ended in one of `outcomes`."""
        numbers = [self.texts.index(outcome) for outcome in outcomes if outcome in self.texts]
        found: Flags = np.isin(self.rows["outcome"], numbers)
        return found

    @cached_property
    def status(self) -> Ints:
        """Return the HTTP status of each, 0 without an answer."""
        found: Ints = self.rows["status"].astype(np.int64)
        return found

    @cached_property
    def writers(self) -> NDArray[np.int8]:
        """Return who wrote each answer's body (`bodies`).

        A body that nobody is known by is the server's where the run shows it: it came while the server was certainly there, and never while
        it was certainly away.
        """
        by_text = writers_of(self.texts)
        if not len(by_text):
            return np.zeros(len(self), dtype=np.int8)
        ready = self.world.ready_pods["focus_server"].steps
        pods_there = ready.lowest(self.sent_ns - BACK_NS, self.done_ns + BACK_NS) > 0
        answered = self.always(self.world.dependencies["focus_server"].steps, UP, BACK_NS, BACK_NS)
        away = self.always(ready, DOWN, WATCH_NS, WATCH_NS)
        said = self.rows["body"]
        by_text = by_text.copy()
        known = np.zeros(len(by_text), dtype=bool)
        known[said[self.refused & pods_there & answered]] = True
        known[said[self.refused & away]] = False
        by_text[known & (by_text == UNTOLD)] = SERVER
        found: NDArray[np.int8] = by_text[said]
        return found

    @cached_property
    def by_front(self) -> Flags:
        """Return which were answered by what stands before the server, as their body says, while the server may have been away."""
        ready = self.world.ready_pods["focus_server"].steps
        asked = self.world.dependencies["focus_server"].steps
        away = self.ever(ready, DOWN, BACK_NS, BACK_NS) | self.ever(asked, DOWN, REUSE_NS, BACK_NS)
        found: Flags = (self.writers == FRONT) & away
        return found

    @cached_property
    def by_server(self) -> Flags:
        """Return which the server itself refused with 503, as far as can be told."""
        return self.refused & ~self.by_front

    @cached_property
    def refused(self) -> Flags:
        """Return which were told that no window can be opened (503)."""
        return self.ended(Outcome.UNAVAILABLE_503)

    @cached_property
    def broke(self) -> Flags:
        """Return which ended in another server error, or in none at all: no word about why either."""
        return self.ended(
            Outcome.SERVER_5XX,
            Outcome.INGRESS_502_504,
            Outcome.READ_TIMEOUT,
            Outcome.UNKNOWN,
            Outcome.BROKEN_ANSWER,
        )

    @cached_property
    def by_dependency(self) -> Flags:
        """Return which a dependency of the server may have made fail: not those that a front could bring to no server."""
        gateway = self.ended(Outcome.INGRESS_502_504) & (self.podless("focus_server") >= Claim.LIKELY)
        return self.by_server | self.broke & ~gateway

    # --- step functions ---------------------------------------------------------------------------

    def ever(self, steps: Steps, value: int, before_ns: int = 0, after_ns: int = 0) -> Flags:
        """Return for which `steps` had `value` at some instant of the decision, or that much before or after it."""
        found: Flags = (
            steps.equal(value).highest(self.sent_ns - before_ns, self.done_ns + after_ns).astype(bool)
        )
        return found

    def always(self, steps: Steps, value: int, before_ns: int = 0, after_ns: int = 0) -> Flags:
        """Return for which `steps` had `value` all through the decision, and that much before and after it."""
        found: Flags = (
            steps.equal(value).lowest(self.sent_ns - before_ns, self.done_ns + after_ns).astype(bool)
        )
        return found

    def blind(self, watcher: str, around_ns: int = 0) -> Flags:
        """Return for which `watcher` could not see all through the decision, itself or because the API was silent."""
        found: Flags = self.world.blind_at(
            watcher, self.sent_ns - around_ns, self.done_ns + around_ns
        ).astype(bool)
        return found

    # --- dependencies -----------------------------------------------------------------------------

    def down(self, name: str) -> Claims:
        """Claim that a dependency did not answer: by asking it, or because no pod of its role was ready.

        A pod that is being ended may still answer, so where the dependency itself is asked, its pods are a hint only.
        """
        hint = np.where(self.blind(name), np.int8(Claim.LIKELY), np.int8(Claim.NEAR))
        return strongest(self.unanswered(name), np.minimum(self.podless(name), hint).astype(np.int8))

    def unanswered(self, name: str) -> Claims:
        """Claim that a dependency did not answer, by asking it; slow answers make it possible.

        It may have gone down a moment before it was asked, and have come back a moment before it was asked again.
        """
        steps = self.world.dependencies[name].steps
        poll_ns = SLOW_POLL_NS.get(name, POLL_NS)
        lasting = self.world.unheard(name).lowest(self.done_ns, self.done_ns + BACK_NS).astype(bool)
        lasting |= self._next_word(steps, DOWN)
        certain = self.always(steps, DOWN) & lasting
        slow = self.world.latency(name).highest(self.sent_ns - POLL_NS, self.done_ns + poll_ns) >= SLOW_NS
        claims = strongest(
            where(certain, Claim.CERTAIN),
            where(self.ever(steps, DOWN) & lasting, Claim.LIKELY),
            where(self.ever(steps, DOWN, AFTER_NS.get(name, REUSE_NS), poll_ns), Claim.NEAR),
            where(slow & self.waited, Claim.POSSIBLE),
        )
        return self.as_seen(claims, name)

    def _next_word(self, steps: Steps, value: int) -> Flags:
        """Return for which the next thing that was said after the decision was `value`."""
        place = np.searchsorted(steps.at_ns, self.done_ns)
        said: Flags = (place < len(steps.at_ns)) & (
            steps.values[np.minimum(place, len(steps.at_ns) - 1) + 1] == value
        )
        return said

    @cached_property
    def waited(self) -> Flags:
        """Return for which somebody had just waited long for an answer: a server asks once for all who ask it."""
        long = self.took_ns >= SLOW_NS
        waits = Steps.counting(
            self.sent_ns[long].astype(np.int64), self.done_ns[long].astype(np.int64) + REUSE_NS
        )
        found: Flags = waits.highest(self.sent_ns, self.done_ns) > 0
        return found

    def podless(self, role: str) -> Claims:
        """Claim that no pod of a role was ready; a role without any pod ever seen is nobody's claim."""
        return self.watched(self.world.ready_pods[role].steps, DOWN, "pods")

    def watched(self, steps: Steps, value: int, *watchers: str) -> Claims:
        """Claim that a number that watches tell was `value`."""
        claims = strongest(
            where(self.always(steps, value, WATCH_NS, WATCH_NS), Claim.CERTAIN),
            where(self.ever(steps, value), Claim.LIKELY),
            where(self.ever(steps, value, WATCH_NS, WATCH_NS), Claim.NEAR),
        )
        return self.as_seen(claims, *watchers)

    def as_seen(self, claims: Claims, *watchers: str) -> Claims:
        """Make claims merely possible where one of the watchers they come from could not see: what it said last may be over."""
        blind = np.any([self.blind(watcher, WATCH_NS) for watcher in watchers], axis=0)
        return np.where(blind, np.minimum(claims, np.int8(Claim.POSSIBLE)), claims).astype(np.int8)

    # --- windows and shares -----------------------------------------------------------------------

    @cached_property
    def certain(self) -> Ints:
        """Return the lowest count of certainly open windows while each was decided."""
        return self.world.windows.certain.lowest(self.sent_ns, self.done_ns)

    @cached_property
    def possible(self) -> Ints:
        """Return the highest count of possibly open windows meanwhile, the create's own not counted."""
        own = (self.done_ns > self.sent_ns).astype(np.int64)
        highest = self.world.windows.possible.highest(self.sent_ns, self.done_ns) - own
        found: Ints = np.maximum(highest, self.certain)
        return found

    @cached_property
    def others_in_flight(self) -> Ints:
        """Return the most creates of ours that were unanswered meanwhile, itself not counted."""
        return self.world.in_flight.highest(self.sent_ns, np.maximum(self.done_ns - 1, self.sent_ns)) - 1

    def short_of(self, spare: Seen) -> Claims:
        """Claim that no share was left in `spare`; those that creates in flight were promised may be the last ones."""
        steps, then = spare.steps, self.counting
        lowest = steps.lowest(then.sent_ns - WATCH_NS, then.done_ns + WATCH_NS)
        promised = (lowest != UNKNOWN) & (lowest <= np.maximum(self.others_in_flight, 0))
        counted = then.watched(steps, 0, "pods", "nodes", "jobs")
        return strongest(counted, where(promised, Claim.POSSIBLE))

    @cached_property
    def most_slots(self) -> Ints:
        """Return the most slots that were seen held while each was decided, or a moment before or after."""
        return self.world.slots.highest(self.sent_ns - WATCH_NS, self.done_ns + WATCH_NS)

    @cached_property
    def slots_unseen(self) -> Flags:
        """Return for which the held slots could not be counted."""
        return self.blind(SLOTS_WATCHER, WATCH_NS)
