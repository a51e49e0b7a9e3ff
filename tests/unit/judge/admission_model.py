"""A small exact model of an admission limit: a server with bugs to choose from, observers that lag, and a decision whether what was
observed can be explained by a server without any.

The decision tries every allowed order: each accepted create takes its slot at some instant between sending and its first certain sight,
each window gives it back between its last certain sight and the latest one, each refused create is decided while it is under way and
wants the limit reached at that instant; other creates under way may hold a slot meanwhile. It knows nothing of the checker.
"""

import random
from dataclasses import dataclass, field
from itertools import count

import msgspec
from run_story import Story

from harness.history.events import ServiceSeen, WindowAccepted
from harness.judge.windows import Hold

MS = 1_000_000
BUGS = ("off by one", "forgotten release", "double release", "race")
LAG_MS = 500
"""The watch tells of an end at most this much later."""


@dataclass
class Made:
    """One create as it really went; times in milliseconds."""

    sent: int
    done: int
    slot: int = 0
    opened: int = 0
    closed: int = 0
    freed: int = 0

    @property
    def accepted(self) -> bool:
        """Whether a window was opened."""
        return self.slot > 0


@dataclass
class Server:
    """Admits up to a limit, unless a bug makes it do otherwise once or all the time."""

    limit: int
    bug: str = ""
    chance: random.Random = field(default_factory=random.Random)
    holders: dict[int, Made] = field(default_factory=dict)
    leaked: int = 0
    acted: bool = False

    def decide(self, made: Made, at: int, concurrent: bool) -> None:
        """Take a slot for a create, or refuse it."""
        held = len(self.holders) + self.leaked
        limit = self.limit
        if self.bug == "off by one":
            limit += 1 if self.chance.random() < 0.5 else -1
        room = held < limit
        if self.bug == "race" and concurrent and held == self.limit:
            room = True  # it had looked before the other one took the last slot
        if (room and not held < self.limit) or (not room and held < self.limit):
            self.acted = True
        if room:
            made.slot = next(slot for slot in count(1) if slot not in self.holders)
            made.opened = at
            self.holders[made.slot] = made

    def release(self, made: Made) -> None:
        """Give a slot back."""
        if self.holders.get(made.slot) is made:
            del self.holders[made.slot]
        if self.bug == "forgotten release" and self.chance.random() < 0.6:
            self.leaked += 1
            self.acted = True
        if self.bug == "double release" and self.holders and self.chance.random() < 0.6:
            other = self.chance.choice(sorted(self.holders))
            del self.holders[other]  # somebody else's slot goes with it
            self.acted = True


def run(seed: int, bug: str = "") -> tuple[Story, Server]:
    """Play a short history; return what was observed of it, and the server with what it did."""
    chance = random.Random(f"{seed} {bug}")
    server = Server(chance.choice((1, 2, 3)), bug, chance)
    events: list[tuple[int, int, str, Made]] = []
    number = count()
    creates: list[Made] = []
    at = 2000
    for _ in range(chance.randint(5, 9)):
        at += chance.choice((0, 20, 200, 900, 2500))
        took = chance.choice((40, 120, 600))
        made = Made(at, at + took)
        made.closed = at + took + chance.choice((1500, 3000, 6000))
        made.freed = made.closed + chance.choice((100, 400, 1500))
        creates.append(made)
        decided = at + chance.randint(1, took - 1)
        events.append((decided, next(number), "decide", made))
    events += [(made.freed, next(number), "release", made) for made in creates]
    for at, _, what, made in sorted(events, key=lambda one: one[:2]):
        if what == "decide":
            others = [
                one for one in creates if one is not made and one.sent <= made.done and made.sent <= one.done
            ]
            server.decide(made, at, concurrent=bool(others))
        elif made.accepted:
            server.release(made)
    return observed(creates, server.limit, chance), server


def observed(creates: list[Made], limit: int, chance: random.Random) -> Story:
    """Tell a history as clients and a lagging watch would."""
    story = Story(max_windows=limit).begin()
    for number, made in enumerate(creates, start=1):
        sent, done = made.sent / 1000, made.done / 1000
        if not made.accepted:
            story.refused(sent, done)
            continue
        window = story.window(sent, made.closed / 1000, frame_s=done + 0.3, service=False)
        story.attempts[-1] = (story.at(sent), story.at(done), *story.attempts[-1][2:])
        job = f"{made.slot}-{700 + number}"
        _rename(story, window, job, done)
        seen = made.opened + chance.randint(5, LAG_MS - 50)
        gone = made.freed + chance.randint(5, LAG_MS - 50)
        for at, exists in ((seen, True), (gone, False)):
            told = ServiceSeen(at_ns=at * MS, service=f"grpc-service-{job}", job_id=job, exists=exists)
            story.say(told, "observe")
    story.end(60)
    return story


def _rename(story: Story, window: int, job: str, done_s: float) -> None:
    """Give a window the job id that the server made up, and its 200 the instant at which it came."""
    for index, (writer, event) in enumerate(story.events):
        if getattr(event, "window", None) == window and hasattr(event, "job_id"):
            at_ns = story.at(done_s) if isinstance(event, WindowAccepted) else event.at_ns
            story.events[index] = (writer, msgspec.structs.replace(event, job_id=job, at_ns=at_ns))


@dataclass(frozen=True)
class Span:
    """An event that happened at some instant between two."""

    earliest: int
    latest: int


def explainable(holds: tuple[Hold, ...], refused: list[tuple[int, int]], limit: int, end_ns: int) -> bool:
    """Decide exactly whether some allowed order of events explains what was observed."""
    taken = [
        Span(hold.possible[0], min((start for start, _ in hold.sure), default=hold.possible[1]))
        for hold in holds
    ]
    given = [
        Span(max((end for _, end in hold.sure), default=hold.possible[0]), hold.possible[1]) for hold in holds
    ]
    slots = [hold.slot for hold in holds]
    spans = [Span(sent, done) for sent, done in refused]
    instants = sorted({edge for span in (*taken, *given, *spans) for edge in (span.earliest, span.latest)})
    states = {(0, 0, 0)}  # slots taken, slots given back, refusals explained: as bits
    for at in instants:
        states = _closure(states, at, taken, given, slots, spans, limit)
        states = {state for state in states if not _too_late(state, at, taken, given, spans, end_ns)}
        if not states:
            return False
    return True


State = tuple[int, int, int]


def _closure(
    states: set[State],
    at: int,
    taken: list[Span],
    given: list[Span],
    slots: list[int],
    refused: list[Span],
    limit: int,
) -> set[State]:
    """Return every state that can be reached at an instant: any of the events that may happen there, in any order."""
    found, waiting = set(states), list(states)
    under_way = [j for j, span in enumerate(refused) if span.earliest <= at <= span.latest]
    while waiting:
        state = waiting.pop()
        for after in _moves(state, at, taken, given, slots, under_way, limit):
            if after not in found:
                found.add(after)
                waiting.append(after)
    return found


def _moves(
    state: State,
    at: int,
    taken: list[Span],
    given: list[Span],
    slots: list[int],
    under_way: list[int],
    limit: int,
) -> list[State]:
    opened, freed, explained = state
    open_now = [i for i in range(len(taken)) if opened >> i & 1 and not freed >> i & 1]
    moves: list[State] = []
    for i, span in enumerate(taken):
        free = slots[i] not in {slots[j] for j in open_now}
        if not opened >> i & 1 and span.earliest <= at <= span.latest and len(open_now) < limit and free:
            moves.append((opened | 1 << i, freed, explained))
    moves += [
        (opened, freed | 1 << i, explained) for i in open_now if given[i].earliest <= at <= given[i].latest
    ]
    full = len(open_now) + len(under_way) - 1 >= limit
    moves += [(opened, freed, explained | 1 << j) for j in under_way if full and not explained >> j & 1]
    return moves


def _too_late(
    state: State, at: int, taken: list[Span], given: list[Span], refused: list[Span], end_ns: int
) -> bool:
    opened, freed, explained = state
    return (
        any(span.latest <= at and not opened >> i & 1 for i, span in enumerate(taken))
        or any(
            span.latest <= at and span.latest <= end_ns and not freed >> i & 1 for i, span in enumerate(given)
        )
        or any(span.latest <= at and not explained >> j & 1 for j, span in enumerate(refused))
    )
