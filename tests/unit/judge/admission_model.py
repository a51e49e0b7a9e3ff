"""A small exact model of an admission limit: a server with bugs to choose from, clients and observers that lag, and a decision whether
what was observed can be explained by a server without any.

The decision sees what clients and watch were told, and nothing of the checker or of how it reads a history. It tries every allowed order:
a create that was accepted takes its slot between sending and answer, one of somebody else up to `UNSHOWN_MS` before its Service was there;
a slot is given back at most `LAG_MS` before the watch tells that the Service is gone, and the server may go by it for `LAG_MS` after that;
a refused create wants the limit reached at some instant while it is under way. A refused create may have a slot promised meanwhile, and
one that broke, or whose answer was lost, for `UNCLEAR_MS` longer. A slot is held by one window at a time and comes back within `LOST_MS`.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import msgspec
from run_story import Story

from harness.history.events import Outcome, ServiceSeen, WindowAccepted

MS = 1_000_000
BUGS = ("off by one", "forgotten release", "double release", "race")
LAG_MS, UNSHOWN_MS, UNCLEAR_MS, LOST_MS = 500, 5_000, 10_000, 180_000
END_MS = 300_000
NEVER = 10 * END_MS


@dataclass
class Made:
    """One create as it really went; times in milliseconds."""

    number: int
    who: str
    """own, lost (its answer never came), broken (half made, then a 500), or foreign."""
    sent: int
    done: int
    slot: int = 0
    opened: int = 0
    closed: int = 0
    freed: int = NEVER
    """When its Service went."""
    counted_until: int = NEVER
    """When the server knew that."""

    @property
    def job(self) -> str:
        """The job id a server makes up."""
        return f"{self.slot}-{700 + self.number}"


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
        if room != (len(self.holders) < self.limit):
            self.acted = True
        if room:
            made.slot = next(slot for slot in count(1) if slot not in self.holders)
            made.opened = at
            self.holders[made.slot] = made

    def release(self, made: Made) -> None:
        """Give a slot back."""
        if self.bug == "forgotten release" and self.chance.random() < 0.5:
            self.acted = True
            if self.chance.random() < 0.5:
                made.freed = NEVER  # not even its Service goes
                return
            self.leaked += 1
        if self.holders.get(made.slot) is made:
            del self.holders[made.slot]
        if self.bug == "double release" and self.holders and self.chance.random() < 0.6:
            del self.holders[self.chance.choice(sorted(self.holders))]  # somebody else's slot goes with it
            self.acted = True


def run(seed: int, bug: str = "") -> tuple[Story, Server, "Observed"]:
    """Play a short history; return its record, the server with what it did, and what was to be seen of it."""
    chance = random.Random(f"{seed} {bug}")
    server = Server(chance.choice((1, 2, 3)), bug, chance)
    creates = list(_creates(chance))
    events = [(chance.randint(made.sent + 1, made.done - 1), made.number, "decide", made) for made in creates]
    events += [(made.counted_until, made.number, "release", made) for made in creates]
    for at, _, what, made in sorted(events, key=lambda one: one[:2]):
        if what == "decide":
            server.decide(made, at, any(_overlap(made, other) for other in creates if other is not made))
        elif made.slot:
            server.release(made)
    story, seen = _observed(creates, server.limit, chance)
    return story, server, seen


def _creates(chance: random.Random) -> Iterator[Made]:
    mixed = chance.random() < 0.4
    at = 2000
    for number in range(1, chance.randint(5, 9) + 1):
        at += chance.choice((0, 20, 200, 900, 2500))
        who = chance.choice(("own", "own", "own", "foreign", "lost", "broken")) if mixed else "own"
        made = Made(number, who, at, at + chance.choice((40, 120, 600)))
        made.closed = made.done + chance.choice((1500, 3000, 6000))
        made.freed = made.closed + chance.choice((100, 400, 1500))
        if who == "own" and chance.random() < 0.15:
            made.closed = made.freed + chance.choice(
                (700, 2500)
            )  # its stream hangs, and its client is the last to know
        if who == "broken":
            made.freed = made.done + chance.choice((5, 600, 3000))
        made.counted_until = made.freed + chance.choice((0, 0, 50, LAG_MS - 50))
        yield made


def _overlap(one: Made, other: Made) -> bool:
    return one.sent <= other.done and other.sent <= one.done


@dataclass(frozen=True)
class Span:
    """Something that happened at some instant between two; milliseconds."""

    earliest: int
    latest: int


@dataclass
class Observed:
    """What clients and watch were told, as bounds on what must have happened."""

    limit: int
    slots: list[int] = field(default_factory=list)
    taken: list[Span] = field(default_factory=list)
    given: list[Span] = field(default_factory=list)
    refused: list[Span] = field(default_factory=list)
    unclear: list[Span] = field(default_factory=list)

    def window(self, slot: int, taken: Span, gone: int | None, closed: int | None) -> None:
        """Note a window; `gone` is None when its Service was there to the end."""
        self.slots.append(slot)
        self.taken.append(taken)
        if gone is not None:
            self.given.append(Span(gone - LAG_MS, gone + LAG_MS))
        else:
            self.given.append(Span(END_MS, NEVER if closed is None else max(closed + LOST_MS, 0)))


def _observed(creates: list[Made], limit: int, chance: random.Random) -> tuple[Story, Observed]:
    """Tell a history as clients and a lagging watch would."""
    story, facts = Story(max_windows=limit).begin(), Observed(limit)
    for made in creates:
        _asked(story, facts, made)
        if not made.slot or made.who == "broken":
            continue
        seen = made.opened + chance.randint(5, LAG_MS - 50)
        gone = None if made.freed == NEVER else made.freed + chance.randint(5, LAG_MS - 50)
        for at, exists in ((seen, True), (gone, False)):
            if at is not None:
                name = f"grpc-service-{made.job}"
                told = ServiceSeen(at_ns=at * MS, service=name, job_id=made.job, exists=exists)
                story.say(told, "observe")
        if made.who == "own":
            facts.window(made.slot, Span(made.sent, min(made.done, seen)), gone, made.closed)
        else:  # whose it is nobody can know
            facts.window(made.slot, Span(seen - LAG_MS - UNSHOWN_MS, seen), gone, None)
    story.end(END_MS / 1000)
    return story, facts


def _asked(story: Story, facts: Observed, made: Made) -> None:
    """Tell what the client of a create knows."""
    sent, done = made.sent / 1000, made.done / 1000
    span = Span(made.sent, made.done)
    if made.who == "lost":
        story.lost(sent, done)
        facts.unclear.append(Span(made.sent, made.done + UNCLEAR_MS))
    elif made.who == "broken" and made.slot:
        story.attempt(sent, done, Outcome.SERVER_5XX, status=500)
        facts.unclear.append(Span(made.sent, made.done + UNCLEAR_MS))
    elif made.who != "foreign" and not made.slot:
        story.refused(sent, done)
        facts.refused.append(span)
    elif made.who == "own":
        hung = made.freed < made.closed
        outcome = Outcome.STREAM_BROKEN if hung else Outcome.STREAMING
        window = story.window(sent, made.closed / 1000, frame_s=done + 0.3, service=False, outcome=outcome)
        story.attempts[-1] = (story.at(sent), story.at(done), *story.attempts[-1][2:])
        _rename(story, window, made.job, done)


def _rename(story: Story, window: int, job: str, done_s: float) -> None:
    """Give a window the job id that the server made up, and its 200 the instant at which it came."""
    for index, (writer, event) in enumerate(story.events):
        if getattr(event, "window", None) == window and hasattr(event, "job_id"):
            at_ns = story.at(done_s) if isinstance(event, WindowAccepted) else event.at_ns
            story.events[index] = (writer, msgspec.structs.replace(event, job_id=job, at_ns=at_ns))


State = tuple[int, int, int]
"""Slots taken, slots given back, refusals explained: as bits."""


def explainable(seen: Observed) -> bool:
    """Decide exactly whether some allowed order of events explains what was observed."""
    spans = (*seen.taken, *seen.given, *seen.refused, *seen.unclear)
    states: set[State] = {(0, 0, 0)}
    for at in sorted({edge for span in spans for edge in (span.earliest, span.latest)}):
        states = {state for state in _reachable(states, at, seen) if not _too_late(state, at, seen)}
        if not states:
            return False
    return True


def _reachable(states: set[State], at: int, seen: Observed) -> set[State]:
    """Return every state that can be reached at an instant: any of the events that may happen there, in any order."""
    found, waiting = set(states), list(states)
    deciding = [j for j, span in enumerate(seen.refused) if span.earliest <= at <= span.latest]
    loose = len(deciding) + sum(span.earliest <= at <= span.latest for span in seen.unclear)
    while waiting:
        for after in _moves(waiting.pop(), at, seen, deciding, loose):
            if after not in found:
                found.add(after)
                waiting.append(after)
    return found


def _moves(state: State, at: int, seen: Observed, deciding: list[int], loose: int) -> Iterator[State]:
    taken, given, explained = state
    open_now = [i for i in range(len(seen.taken)) if taken >> i & 1 and not given >> i & 1]
    used = {seen.slots[i] for i in open_now}
    for i, span in enumerate(seen.taken):
        due = not taken >> i & 1 and span.earliest <= at <= span.latest
        if due and len(open_now) < seen.limit and seen.slots[i] not in used:
            yield taken | 1 << i, given, explained
    for i in open_now:
        if seen.given[i].earliest <= at <= seen.given[i].latest:
            yield taken, given | 1 << i, explained
    if len(open_now) + loose - 1 >= seen.limit:
        more = explained
        for j in deciding:
            more |= 1 << j
        if more != explained:
            yield taken, given, more


def _too_late(state: State, at: int, seen: Observed) -> bool:
    taken, given, explained = state
    return (
        any(span.latest <= at and not taken >> i & 1 for i, span in enumerate(seen.taken))
        or any(span.latest <= at and not given >> i & 1 for i, span in enumerate(seen.given))
        or any(span.latest <= at and not explained >> j & 1 for j, span in enumerate(seen.refused))
    )
