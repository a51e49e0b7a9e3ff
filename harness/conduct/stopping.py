"""Decide about stop conditions: what one says at an instant, and when it has said so for long enough. Pure.

`conditions.py` feeds it with live messages, answers and instants, and acts on what it decides. Values of measures come from
their definitions in `harness.measures`; instants are arguments, counted on the run's clock.
"""

import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from harness.campaign import MeasureCondition, PromqlCondition
from harness.clock import nanoseconds, seconds
from harness.errors import Exit
from harness.history.events import ConditionState, LoadState, Record, ScenarioSuspended, WatcherState
from harness.history.live import Second
from harness.measures.catalogue import BY_NAME
from harness.measures.gate import Status, gate_status
from harness.measures.live import LIVE, Feed
from harness.measures.measure import Measure, Measured
from harness.measures.portion import Portion, of_record, of_second

SILENT_NS = nanoseconds(5.0)
"""The load speaks once a second; after this long without a word nothing is known of it."""
GRACE_NS = nanoseconds(3.0)
"""How much later than it happened a thing may be heard of: aggregates come once a second."""
SLICES = 100
"""A window is kept in about so many slices; it is a hundredth (or 250 ms) shorter than `over` at the worst."""
SHORTEST_SLICE_NS = nanoseconds(0.25)
SLOT_WATCHERS = ("pods", "services")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a condition says at one instant: its state, the value behind it (if it is one), and both in words."""

    state: ConditionState
    value: float | None = None
    detail: str = ""


def compared(value: float | None, op: str, limit: float, said: str) -> Reading:
    """Return the reading of a value against a limit; no value, or one that is not a number, is unknown."""
    status = gate_status(Measured(value, 1), op, limit, 1)
    if status is Status.UNJUDGED:
        return Reading(ConditionState.UNKNOWN, None, f"{said} is not a number")
    state = ConditionState.HOLDS if status is Status.PASSED else ConditionState.CLEAR
    return Reading(state, value, f"{said} is {value:.6g}, stops at {op} {limit:g}")


def promql_reading(condition: PromqlCondition, answer: float | str) -> Reading:
    """Return the reading of a PromQL condition: of a number, or of the reason why there is none."""
    if isinstance(answer, str):
        return Reading(ConditionState.UNKNOWN, None, answer)
    if math.isnan(answer):
        return Reading(ConditionState.UNKNOWN, None, "the expression gives NaN")
    return compared(answer, condition.op, condition.limit, "the expression")


# --- when it has lasted long enough ---------------------------------------------------------------


@dataclass(slots=True)
class Lasting:
    """One condition in time: since when it holds without interruption, since when it was not seen clear."""

    for_ns: int
    state: ConditionState | None = None
    """None until it was looked at for the first time."""
    holds_since_ns: int | None = None
    unseen_since_ns: int | None = None
    """The first unknown reading since it was last clear: holding now and then is not seeing."""

    def take(self, now_ns: int, state: ConditionState) -> Exit | None:
        """Take a reading; return how the run has to end by it, None as long as it may go on."""
        self.state = state
        if state is ConditionState.HOLDS:
            self.holds_since_ns = now_ns if self.holds_since_ns is None else self.holds_since_ns
            return Exit.FAILED if now_ns - self.holds_since_ns >= self.for_ns else None
        self.holds_since_ns = None
        if state is ConditionState.CLEAR:
            self.unseen_since_ns = None
            return None
        self.unseen_since_ns = now_ns if self.unseen_since_ns is None else self.unseen_since_ns
        return Exit.UNJUDGED if now_ns - self.unseen_since_ns > self.for_ns else None


# --- the load, as far as it can be heard ----------------------------------------------------------


@dataclass(slots=True)
class LoadHeard:
    """What the load says of itself: whether it is there, whether it is owed answers, whether frames are owed."""

    begins_ns: int
    heard_ns: int | None = None
    short_since_ns: int | None = None
    """Since when every word of it said that fewer windows are open than are wanted."""
    streaming_since_ns: int | None = None
    suspended_until_ns: int = 0
    blind: set[str] = field(default_factory=set)
    """Watchers of the cluster that cannot see."""
    _words: dict[str, LoadState] = field(default_factory=dict)

    def hear(self, now_ns: int, message: Record | Second) -> None:
        """Take note of a message that arrived at `now_ns`."""
        if isinstance(message, Second):
            return
        event = message.event
        if isinstance(event, LoadState):
            self.heard_ns = now_ns
            self._words[message.writer] = event
            words = self._words.values()
            short = sum(w.streams_open + w.opening for w in words) < sum(w.wanted for w in words)
            owed = short and event.at_ns >= self.suspended_until_ns
            self.short_since_ns = _since(self.short_since_ns, now_ns) if owed else None
            streaming = any(w.streams_open for w in words)
            self.streaming_since_ns = _since(self.streaming_since_ns, now_ns) if streaming else None
        elif isinstance(event, ScenarioSuspended):
            self.suspended_until_ns = max(self.suspended_until_ns, event.until_ns)
            self.short_since_ns = None
        elif isinstance(event, WatcherState) and event.watcher in SLOT_WATCHERS:
            (self.blind.discard if event.seeing else self.blind.add)(event.watcher)

    def silence(self, now_ns: int) -> str:
        """Return in words that the load has not been heard of for too long; empty while it is heard."""
        since_ns = self.begins_ns if self.heard_ns is None else max(self.heard_ns, self.begins_ns)
        if now_ns - since_ns <= SILENT_NS:
            return ""
        return f"the load has not been heard of for {seconds(now_ns - since_ns):.0f} s"

    def owes(self, feed: Feed, now_ns: int, over_ns: int) -> str:
        """Return in words why a window without samples is one that cannot be seen; empty if that is in order."""
        if feed is Feed.ANSWERS and _for(self.short_since_ns, now_ns) > over_ns + GRACE_NS:
            return "the load asks for windows and gets no answer"
        if feed is Feed.FRAMES and _for(self.streaming_since_ns, now_ns) > over_ns + GRACE_NS:
            return "streams are open and yield no frame"
        if feed in {Feed.LOAD, Feed.SLOTS} and now_ns - self.begins_ns > over_ns + GRACE_NS:
            return "nothing was told of it"
        return ""


def _since(known_ns: int | None, now_ns: int) -> int:
    return now_ns if known_ns is None else known_ns


def _for(since_ns: int | None, now_ns: int) -> int:
    return -1 if since_ns is None else now_ns - since_ns


# --- a measure over the last seconds --------------------------------------------------------------


@dataclass(slots=True)
class _Slice:
    from_ns: int
    state: Any
    last: Any
    """The state of its last message alone."""


class Lookback:
    """A measure over the last `over` seconds, by its own definition: slices of its state, merged when it is asked."""

    def __init__(self, definition: Measure[Any], of: str, over_ns: int, feed: Feed) -> None:
        self._definition = definition
        self._of = of
        self._over_ns = over_ns
        self._slice_ns = max(SHORTEST_SLICE_NS, over_ns // SLICES)
        self._whole_run = feed is Feed.RUN
        self._stands = feed is Feed.SLOTS
        self._slices: deque[_Slice] = deque()
        self._before: Any = definition.start()
        """What has left the window and still counts: everything, the last value told, or nothing."""

    def add(self, now_ns: int, portion: Portion) -> None:
        """Take in what arrived at `now_ns`."""
        fresh = self._definition.step(self._definition.start(), portion, self._of)
        if fresh == self._definition.start():
            return
        last = self._slices[-1] if self._slices else None
        if last is None or now_ns - last.from_ns >= self._slice_ns:
            self._slices.append(_Slice(now_ns, fresh, fresh))
        else:
            last.state, last.last = self._definition.merge(last.state, fresh), fresh

    def measured(self, now_ns: int) -> Measured:
        """Return what was measured in the window that ends at `now_ns`."""
        while self._slices and self._slices[0].from_ns <= now_ns - self._over_ns:
            left = self._slices.popleft()
            if self._whole_run:
                self._before = self._definition.merge(self._before, left.state)
            elif self._stands:
                self._before = left.last
        state = self._before
        for part in self._slices:
            state = self._definition.merge(state, part.state)
        return self._definition.result(state)


class MeasureWatch:
    """One condition on a measure: hears messages, and says at any instant whether it holds."""

    def __init__(self, condition: MeasureCondition) -> None:
        self.condition = condition
        self._feed = LIVE[condition.measure]
        self._over_ns = nanoseconds(condition.over_s)
        self._window = Lookback(BY_NAME[condition.measure], condition.of, self._over_ns, self._feed)
        self._last = Reading(ConditionState.CLEAR)

    def hear(self, now_ns: int, message: Record | Second) -> None:
        """Take in a message that arrived at `now_ns`."""
        self._window.add(now_ns, of_second(message) if isinstance(message, Second) else of_record(message))

    def read(self, now_ns: int, load: LoadHeard) -> Reading:
        """Return what the condition says at `now_ns`."""
        self._last = self._read(now_ns, load)
        return self._last

    def _read(self, now_ns: int, load: LoadHeard) -> Reading:
        condition, measured = self.condition, self._window.measured(now_ns)
        if silence := load.silence(now_ns):
            return Reading(ConditionState.UNKNOWN, None, silence)
        if self._feed is Feed.SLOTS and load.blind:
            blind = ", ".join(sorted(load.blind))
            return Reading(ConditionState.UNKNOWN, None, f"the watcher of {blind} is blind")
        if measured.value is not None and measured.samples >= condition.min_samples:
            samples = f"{measured.samples} sample{'' if measured.samples == 1 else 's'}"
            where = "so far" if self._feed is Feed.RUN else f"over {condition.over_s:g} s"
            said = f"{condition.title} {where} ({samples})"
            return compared(measured.value, condition.op, condition.limit, said)
        few = f"{measured.samples} of {condition.min_samples} samples of {condition.title} in {condition.over_s:g} s"
        if owed := load.owes(self._feed, now_ns, self._over_ns):
            return Reading(ConditionState.UNKNOWN, None, f"{few}: {owed}")
        if now_ns < load.suspended_until_ns and self._last.state is ConditionState.HOLDS:
            return replace(self._last, detail=f"{few}: the load pauses after refusals; as last seen")
        return Reading(ConditionState.CLEAR, None, f"{few}: none were due")
