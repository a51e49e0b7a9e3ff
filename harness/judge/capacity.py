"""What the target sustains, from the probes of a run: the tally of each probe, the decision on each level, the edge. Pure.

Called by judge at the end, and by conduct between two probes and while one is played: what is searched by is what is judged by.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from heapq import heappop, heappush

import numpy as np
from msgspec import structs

from harness.campaign.capacity import Known, Objectives, Search
from harness.history.events import (
    CapacitySought,
    FirstFrame,
    Outcome,
    ProbeEnded,
    ProbeStarted,
    Record,
    ServiceSeen,
    WindowAccepted,
    WindowClosed,
    WindowReady,
)
from harness.history.reader import History
from harness.history.samples import ACCEPTED, SENT
from harness.judge.findings.capacity import CapacityFinding, CapacityLevel, CapacitySearch, SlotCeiling
from harness.judge.kinds import Kind, by_kind
from harness.judge.record import SECOND_NS, RunRecord
from harness.judge.sequential import Decision, SequentialTest
from harness.judge.streams import stalled_windows

UNITS = {
    "windows": "windows open at once",
    "creates": "creates in flight at once",
    "rate": "windows per second",
}
GOOD_TRIAL, BAD_TRIAL = 0.05, 0.5
"""A level is held when one trial in twenty may fail, and not when every second does."""
GOOD_PART = 0.1
"""A rate is held when a tenth of the failures that the objective allows may happen, and not when all of them do."""
ENOUGH_LIVES = 5
NEARLY_ALL = 0.95
"""A life is long that is longer than so many: one that hangs for ever must not keep all others from being counted."""
PLAYED = 4000
"""So many arrivals are played to find out where an edge is to be expected, and so exactly:"""
EDGE_WITHIN = 1.005
SERVED = frozenset({Outcome.STREAMING, Outcome.COMPLETE})
Z = 1.959964
"""Standard score of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the creates of one probe, or of all probes of a level."""

    sent: int = 0
    answered: int = 0
    windows: int = 0
    """Whose fate is known."""
    unsuccessful: int = 0
    slow: int = 0
    opened: int = 0
    """Answered 200."""
    timed: int = 0
    """Of those, whose time to ready is known, or is known to be too long."""
    streamed: int = 0
    stalled: int = 0
    span_s: float = 0.0
    """How long arrivals that were answered came."""
    ready_s: tuple[float, ...] = field(default=(), repr=False)
    lives_s: tuple[tuple[float, float], ...] = field(default=(), repr=False)
    """From sending a create to the end of looking, and to its slot given back, where that was seen."""
    most_slots: int = 0
    """Most slots that were seen held at once."""

    def __add__(self, other: "Tally") -> "Tally":
        parts = {name: getattr(self, name) + getattr(other, name) for name in ADDED}
        return Tally(**parts, most_slots=max(self.most_slots, other.most_slots))


ADDED = tuple(one.name for one in fields(Tally) if one.name != "most_slots")


def tally(history: History, probe: ProbeStarted, objectives: Objectives, now_ns: int) -> Tally:
    """Count what is known of a probe at instant `now_ns`; what is not known yet is left out."""
    kinds = by_kind(history.events)
    mine = range(probe.first_window, probe.first_window + probe.planned)
    arrivals, attempts = history.samples["arrivals"], history.samples["attempts"]
    chosen = arrivals.rows["fate"] == arrivals.number(SENT)
    chosen &= (arrivals.rows["window"] >= mine.start) & (arrivals.rows["window"] < mine.stop)
    chosen &= (arrivals.rows["intended_ns"] >= probe.counted_ns) & (arrivals.rows["sent_ns"] <= now_ns)
    rows = arrivals.rows[chosen]
    sent_ns = dict(zip(rows["window"].tolist(), rows["sent_ns"].tolist(), strict=True))
    answered = {
        int(row["window"]): attempts.texts[row["outcome"]]
        for row in attempts.rows[np.isin(attempts.rows["window"], list(sent_ns))]
        if row["done_ns"] <= now_ns
    }
    ready_ns = _instants(kinds, WindowReady, now_ns)
    first_ns = _instants(kinds, FirstFrame, now_ns)
    closed = {one.window: one.outcome for one in _of(kinds, WindowClosed) if one.at_ns <= now_ns}
    stalls = stalled_windows(history.samples["frames"].rows, _of(kinds, WindowAccepted), now_ns)
    most_ns = round(objectives.ready_within_s * SECOND_NS)
    asked_ns = rows["intended_ns"][np.isin(rows["window"], list(answered))].tolist()
    found = Tally(sent=len(sent_ns), answered=len(answered), span_s=_span_s(asked_ns))
    ready: list[float] = []
    for window, at_ns in sent_ns.items():
        outcome = answered.get(window)
        opened = outcome == ACCEPTED
        took_ns = ready_ns[window] - at_ns if window in ready_ns else None
        overdue = took_ns is None and now_ns - at_ns > most_ns
        if took_ns is not None:
            ready.append(took_ns / SECOND_NS)
        timed = opened and (took_ns is not None or overdue)
        success = _success(outcome, closed.get(window), first=window in first_ns, overdue=overdue)
        streamed = window in first_ns
        found += Tally(
            windows=int(success is not None),
            unsuccessful=int(success is False),
            opened=int(opened),
            timed=int(timed),
            slow=int(timed and (took_ns is None or took_ns > most_ns)),
            streamed=int(streamed),
            stalled=int(streamed and window in stalls),
        )
    jobs = {one.job_id: sent_ns[one.window] for one in _of(kinds, WindowAccepted) if one.window in sent_ns}
    services = [one for one in _of(kinds, ServiceSeen) if one.at_ns <= now_ns]
    lives = [
        ((now_ns - jobs[one.job_id]) / SECOND_NS, (one.at_ns - jobs[one.job_id]) / SECOND_NS)
        for one in services
        if not one.exists and one.job_id in jobs
    ]
    most = _most_held(services, probe.at_ns)
    return replace(found, ready_s=tuple(ready), lives_s=tuple(lives), most_slots=most)


def _most_held(services: Iterable[ServiceSeen], from_ns: int) -> int:
    """Return how many slots were held at once at most since an instant."""
    held: set[str] = set()
    most = 0
    for one in services:
        (held.add if one.exists else held.discard)(one.service)
        if one.at_ns >= from_ns:
            most = max(most, len(held))
    return most


def _success(outcome: str | None, closed: Outcome | None, *, first: bool, overdue: bool) -> bool | None:
    """Say whether a window was served; None where that is not known (yet)."""
    if outcome is None:
        return False if overdue else None
    if outcome != ACCEPTED:
        return None if outcome == Outcome.CANCELLED else False
    if closed is not None and closed not in SERVED:
        return None if closed is Outcome.CANCELLED and not overdue else False
    if first:
        return True
    return False if overdue else None


@dataclass(frozen=True, slots=True)
class Assessment:
    """The decision on a level, and which way it leans."""

    decision: Decision
    ratio: float
    """Of the likelihoods of not held to held, as its logarithm: the more above 0, the worse it looks."""
    held: int

    @property
    def leaning(self) -> bool:
        """Whether it rather looks held."""
        return self.ratio < 0


def assess(sought: str, level: float, probes: Sequence[Tally], objectives: Objectives) -> Assessment:
    """Decide on a level from the tallies of its probes."""
    if sought == "rate":
        return _assess_rate(sum(probes, Tally()), objectives)
    trials = [held for each in probes if (held := trial(level, each, objectives)) is not None]
    test = SequentialTest(GOOD_TRIAL, BAD_TRIAL, objectives.confidence)
    failed = sum(not held for held in trials)
    decision = test.decide(failed, len(trials))
    return Assessment(
        decision,
        test.ratio(failed, len(trials)),
        held=len(trials) - failed,
    )


def trial(level: float, seen: Tally, objectives: Objectives) -> bool | None:
    """Say whether one attempt at so many windows at once held; None where too little is known of it."""
    most = math.floor((1 - objectives.success) * level + 1e-9)
    stalls = math.floor((1 - objectives.unstalled) * level + 1e-9)
    if seen.unsuccessful > most or seen.slow > most or seen.stalled > stalls:
        return False
    return True if seen.windows >= level else None


def _assess_rate(seen: Tally, objectives: Objectives) -> Assessment:
    failing = 1 - objectives.success
    parts = (
        (failing, seen.unsuccessful, seen.windows),
        (failing, seen.slow, seen.timed),
        (1 - objectives.unstalled, seen.stalled, seen.streamed),
    )
    tests = [SequentialTest(bad * GOOD_PART, bad, objectives.confidence) for bad, _, _ in parts]
    each = [test.decide(failed, of) for test, (_, failed, of) in zip(tests, parts, strict=True)]
    ratios = [test.ratio(failed, of) for test, (_, failed, of) in zip(tests, parts, strict=True)]
    decision = Decision.OPEN
    if Decision.REFUTED in each:
        decision = Decision.REFUTED
    elif all(one is Decision.SUSTAINED for one in each):
        decision = Decision.SUSTAINED
    return Assessment(decision, max(ratios), held=0)


def needed(sought: str, objectives: Objectives) -> int:
    """Return how many flawless trials, or windows of a rate, show that a level is held."""
    if sought != "rate":
        return SequentialTest(GOOD_TRIAL, BAD_TRIAL, objectives.confidence).needed
    shares = (1 - objectives.success, 1 - objectives.unstalled)
    return max(SequentialTest(bad * GOOD_PART, bad, objectives.confidence).needed for bad in shares)


def known(sought: str, level: float, probes: Sequence[Tally], objectives: Objectives) -> Known:
    """Return what a search needs to know of a level."""
    found = assess(sought, level, probes, objectives)
    decided = {Decision.SUSTAINED: True, Decision.REFUTED: False, Decision.OPEN: None}[found.decision]
    seen = sum(probes, Tally())
    parts = ((seen.unsuccessful, seen.windows), (seen.slow, seen.timed), (seen.stalled, seen.streamed))
    served = level * (1 - max(amiss / of if of else 0.0 for amiss, of in parts)) if seen.windows else None
    return Known(decided, found.leaning, len(probes), achieved(sought, probes), served)


def achieved(sought: str, probes: Sequence[Tally]) -> float | None:
    """Return how much there was, whether or not the level was held: windows opened at once, or per second."""
    if sought == "windows":
        return float(min((each.opened for each in probes), default=0))
    if sought == "rate":
        seen = sum(probes, Tally())
        return seen.opened / seen.span_s if seen.span_s > 0 else None
    return None


Tried = Mapping[str, Mapping[float, Sequence[Tally]]]
"""Tallies by what is sought and by level."""


def slots_seen(tried: Tried, objectives: Objectives) -> int | None:
    """Return how many slots there are: as many windows as were opened of more than fit, else as were held at once at a rate that is not held."""
    for level, probes in sorted(tried.get("windows", {}).items()):
        if assess("windows", level, probes, objectives).decision is Decision.REFUTED:
            if opened := max((each.opened for each in probes if each.opened < level), default=0):
                return opened
            break
    rates = tried.get("rate", {}).items()
    refused = [
        each
        for level, probes in rates
        if not assess("rate", level, probes, objectives).leaning
        for each in probes
    ]
    return max((each.most_slots for each in refused if each.unsuccessful), default=0) or None


def slot_lives_s(probes: Iterable[Tally]) -> list[float]:
    """Return the lives of slots that were seen, without those that were seen only because they were short: of late ones the long are still going on."""
    pairs = [pair for each in probes for pair in each.lives_s]
    if not pairs:
        return []
    long_s = float(np.quantile([life_s for _, life_s in pairs], NEARLY_ALL, method="inverted_cdf"))
    return [life_s for seen_s, life_s in pairs if seen_s >= long_s]


def ceiling(tried: Tried, objectives: Objectives) -> SlotCeiling | None:
    """Return what the slots allow at most; None where too few lives of slots were seen, or no limit."""
    lives_s = slot_lives_s(each for probes in tried.get("rate", {}).values() for each in probes)
    slots = slots_seen(tried, objectives)
    if len(lives_s) < ENOUGH_LIVES or slots is None:
        return None
    life_s = float(np.mean(lives_s))
    return SlotCeiling(per_s=slots / life_s, slots=slots, life_s=life_s, lives=len(lives_s))


def expected_edge(tried: Tried, objectives: Objectives) -> float | None:
    """Return the rate that is expected to be the highest held, from the lives of slots that were seen: by playing arrivals against them.

    At constant arrivals a slot that is given back late refuses the window that would have had it, so with lives of different length the
    edge lies below the ceiling: by how much depends on their spread, on how many slots there are, and on what may fail.
    """
    allowed = ceiling(tried, objectives)
    if allowed is None:
        return None
    lives_s = slot_lives_s(each for probes in tried["rate"].values() for each in probes)
    drawn_s = np.random.default_rng(0).choice(lives_s, PLAYED).tolist()
    may_fail = math.sqrt(GOOD_PART) * (1 - objectives.success)
    low, high = allowed.per_s / 2, allowed.per_s * 1.1
    while high > low * EDGE_WITHIN:
        level = math.sqrt(low * high)
        if _refused(level, allowed.slots, drawn_s) > may_fail:
            high = level
        else:
            low = level
    return low


def _refused(rate: float, slots: int, lives_s: Sequence[float]) -> float:
    """Return which part of so many constant arrivals finds all slots taken."""
    taken: list[float] = []
    refused = 0
    for number, life_s in enumerate(lives_s):
        now_s = number / rate
        while taken and taken[0] <= now_s:
            heappop(taken)
        if len(taken) < slots:
            heappush(taken, now_s + life_s)
        else:
            refused += 1
    return refused / len(lives_s)


def objectives_of(event: CapacitySought) -> Objectives:
    """Return the objectives as the record has them."""
    return Objectives(
        success=event.success,
        ready_within_s=event.ready_within_s,
        unstalled=event.unstalled,
        confidence=event.confidence,
        precision=event.precision,
    )


def capacity(record: RunRecord) -> CapacityFinding | None:
    """Return what was found; None where nothing was sought."""
    asked = record.of(CapacitySought)
    if not asked:
        return None
    order, objectives = asked[-1], objectives_of(asked[-1])
    ended = {one.probe: one.at_ns for one in record.of(ProbeEnded)}
    tried: dict[str, dict[float, list[Tally]]] = {one.sought: {} for one in asked}
    for probe in record.of(ProbeStarted):
        seen = tally(record.history, probe, objectives, ended.get(probe.probe, record.end_ns))
        tried[probe.sought].setdefault(probe.level, []).append(seen)
    searches = {one.sought: _search(one.sought, one.most, tried[one.sought], objectives) for one in asked}
    if "rate" in searches:
        searches["rate"] = structs.replace(searches["rate"], ceiling=ceiling(tried, objectives))
    return CapacityFinding(
        success=order.success,
        ready_within_s=order.ready_within_s,
        unstalled=order.unstalled,
        confidence=order.confidence,
        precision=order.precision,
        hold_s=order.hold_s,
        searches=tuple(searches.values()),
    )


def _search(
    sought: str, most: float, levels: dict[float, list[Tally]], objectives: Objectives
) -> CapacitySearch:
    search = Search(start=1, most=most, precision=objectives.precision if sought == "rate" else 0.0)
    value, above, converged = search.found(
        {level: known(sought, level, probes, objectives) for level, probes in levels.items()}
    )
    return CapacitySearch(
        sought=sought,
        unit=UNITS[sought],
        value=value,
        above=above,
        most=most,
        converged=converged,
        levels=tuple(_level(sought, level, levels[level], objectives) for level in sorted(levels)),
    )


def _level(sought: str, level: float, probes: Sequence[Tally], objectives: Objectives) -> CapacityLevel:
    seen = sum(probes, Tally())
    found = assess(sought, level, probes, objectives)
    low, high = interval(seen.windows - seen.unsuccessful, seen.windows)
    return CapacityLevel(
        level=level,
        decision=found.decision,
        probes=len(probes),
        held=found.held,
        windows=seen.windows,
        unsuccessful=seen.unsuccessful,
        slow=seen.slow,
        stalled=seen.stalled,
        success_share=1 - seen.unsuccessful / seen.windows if seen.windows else None,
        success_low=low,
        success_high=high,
        ready_p95_s=float(np.quantile(seen.ready_s, 0.95, method="inverted_cdf")) if seen.ready_s else None,
        achieved=achieved(sought, probes),
    )


def interval(successes: int, of: int) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a share (Wilson 1927); nothing of nothing."""
    if not of:
        return None, None
    share, spread = successes / of, Z * Z / of
    middle = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def _span_s(intended_ns: Sequence[int]) -> float:
    """Return how long arrivals came, each standing for one of their distances; nothing for fewer than two."""
    count = len(intended_ns)
    if count < 2:
        return 0.0
    return (max(intended_ns) - min(intended_ns)) / SECOND_NS * count / (count - 1)


def _of(kinds: dict[type, list[Record]], kind: type[Kind]) -> list[Kind]:
    return [record.event for record in kinds.get(kind, ())]  # type: ignore[misc]


def _instants(
    kinds: dict[type, list[Record]], kind: type[WindowReady] | type[FirstFrame], now_ns: int
) -> dict[int, int]:
    events: Iterable[WindowReady | FirstFrame] = _of(kinds, kind)
    return {one.window: one.at_ns for one in events if one.at_ns <= now_ns}
