"""What a measure is: start, step, merge, result. The kinds of measures; `catalogue.py` lists the measures themselves.

Pure: states are values, `merge` is associative and `start()` its neutral element, so a run may be measured in any pieces, by
any number of processes, live or afterwards. A result always says from how many samples it comes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from harness.measures.portion import NO_SPANS, Portion, Spans

State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure's value, and from how many samples it comes; None when there is nothing to say."""

    value: float | None
    samples: int


class Measure(Protocol[State]):
    """One definition of one measure, for live path, gates and report alike."""

    @property
    def name(self) -> str:
        """Its public name."""
        ...

    @property
    def unit(self) -> str:
        """What its value counts."""
        ...

    @property
    def about(self) -> str:
        """What it measures, in a sentence."""
        ...

    @property
    def whole_run(self) -> bool:
        """True: looks at the whole run, whatever its phase, unless a gate names phases."""
        ...

    def start(self) -> State:
        """Return the state of having seen nothing."""
        ...

    def step(self, state: State, portion: Portion, of: str = "") -> State:
        """Return the state after `portion` too; `of` narrows the measure (an outcome, or an experiment)."""
        ...

    def merge(self, one: State, other: State) -> State:
        """Return the state of having seen what both have seen."""
        ...

    def result(self, state: State) -> Measured:
        """Return what was measured."""
        ...


Pair = tuple[float, int]


@dataclass(frozen=True)
class Total:
    """A sum: `count` gives how many of the counted, and how many samples there were, in a portion."""

    name: str
    unit: str
    about: str
    count: Callable[[Portion, str], Pair]
    whole_run: bool = False

    def start(self) -> Pair:
        """Return nothing counted."""
        return (0.0, 0)

    def step(self, state: Pair, portion: Portion, of: str = "") -> Pair:
        """Add the portion's count."""
        return self.merge(state, self.count(portion, of))

    def merge(self, one: Pair, other: Pair) -> Pair:
        """Add up."""
        return (one[0] + other[0], one[1] + other[1])

    def result(self, state: Pair) -> Measured:
        """Return the sum; a sum over no samples is no value."""
        return Measured(float(state[0]) if state[1] else None, state[1])


@dataclass(frozen=True)
class Ratio(Total):
    """A share: `count` gives how many samples were of the kind, and how many there were."""

    def result(self, state: Pair) -> Measured:
        """Return the share, 0 to 1."""
        return Measured(state[0] / state[1] if state[1] else None, state[1])


Peak = tuple[float | None, int]


@dataclass(frozen=True)
class Largest:
    """A maximum: `peak` gives the greatest value of a portion, and from how many it is."""

    name: str
    unit: str
    about: str
    peak: Callable[[Portion, str], Peak]
    whole_run: bool = False

    def start(self) -> Peak:
        """Return nothing seen."""
        return (None, 0)

    def step(self, state: Peak, portion: Portion, of: str = "") -> Peak:
        """Take the portion's greatest value in."""
        return self.merge(state, self.peak(portion, of))

    def merge(self, one: Peak, other: Peak) -> Peak:
        """Keep the greater one."""
        greatest = max((value for value in (one[0], other[0]) if value is not None), default=None)
        return (greatest, one[1] + other[1])

    def result(self, state: Peak) -> Measured:
        """Return the maximum."""
        return Measured(state[0], state[1])


@dataclass(frozen=True)
class Quantile:
    """A quantile of times, in seconds: `spans` gives a portion's times in nanoseconds; the nearest rank, no interpolation."""

    name: str
    unit: str
    about: str
    q: float
    spans: Callable[[Portion, str], Spans]
    whole_run: bool = False

    def start(self) -> tuple[Spans, ...]:
        """Return no times."""
        return ()

    def step(self, state: tuple[Spans, ...], portion: Portion, of: str = "") -> tuple[Spans, ...]:
        """Keep the portion's times."""
        spans = self.spans(portion, of)
        return (*state, spans) if len(spans) else state

    def merge(self, one: tuple[Spans, ...], other: tuple[Spans, ...]) -> tuple[Spans, ...]:
        """Keep the times of both."""
        return one + other

    def result(self, state: tuple[Spans, ...]) -> Measured:
        """Return the quantile in seconds."""
        spans = np.concatenate(state) if state else NO_SPANS
        return Measured(quantile_s(spans, self.q), len(spans))


Keys = tuple[frozenset[str], frozenset[str]]


@dataclass(frozen=True)
class Distinct:
    """How many distinct things were there and, with `without`, were never seen in the second set.

    `keys` gives a portion's two sets: the things that count, and the things that take one off again (or an empty set).
    """

    name: str
    unit: str
    about: str
    keys: Callable[[Portion, str], Keys]
    whole_run: bool = False
    subtract: bool = False

    def start(self) -> Keys:
        """Return empty sets."""
        return (frozenset(), frozenset())

    def step(self, state: Keys, portion: Portion, of: str = "") -> Keys:
        """Take the portion's things in."""
        return self.merge(state, self.keys(portion, of))

    def merge(self, one: Keys, other: Keys) -> Keys:
        """Unite."""
        return (one[0] | other[0], one[1] | other[1])

    def result(self, state: Keys) -> Measured:
        """Return `first - second` if `subtract`, else the size of the second; the samples are the first set's things."""
        first, second = state
        counted = len(first - second) if self.subtract else len(second)
        return Measured(float(counted) if first else None, len(first))


def peak_of(values: Iterable[float]) -> Peak:
    """Return the greatest of some values, and how many they are."""
    told = [float(value) for value in values]
    return (max(told), len(told)) if told else (None, 0)


def quantile_s(spans: Spans, q: float) -> float | None:
    """Return the `q`-quantile (nearest rank) of times in nanoseconds, in seconds; None of nothing."""
    if not len(spans):
        return None
    return float(np.quantile(spans, q, method="inverted_cdf")) / 1e9


def measure(definition: Measure[State], portions: list[Portion], of: str = "") -> Measured:
    """Measure `portions` one after the other."""
    state = definition.start()
    for portion in portions:
        state = definition.step(state, portion, of)
    return definition.result(state)


class Tally(Generic[State]):
    """A measure under way: feed it portions as they come (the live path's use)."""

    def __init__(self, definition: Measure[State], of: str = "") -> None:
        self._definition = definition
        self._of = of
        self._state = definition.start()

    def add(self, portion: Portion) -> None:
        """Take one more portion in."""
        self._state = self._definition.step(self._state, portion, self._of)

    @property
    def measured(self) -> Measured:
        """What has been measured so far."""
        return self._definition.result(self._state)
