"""What was seen of one number over time, and the records that said so; `UNKNOWN` is a value of its own."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from harness.history.events import Record
from harness.judge.steps import Steps, ints

UNKNOWN = -1
DOWN = 0
UP = 1


@dataclass(frozen=True, slots=True)
class Seen:
    """A step function, and for each of its values the identity of the record it comes from."""

    steps: Steps
    ids: tuple[str, ...]

    def value(self, at_ns: int) -> int:
        """Return the value at `at_ns`."""
        return int(self.steps.at(ints([at_ns]))[0])

    def evidence(self, at_ns: int) -> str:
        """Return the identity of the record that tells the value at `at_ns`; empty if there is none."""
        index = int(self.steps.index(ints([at_ns]))[0])
        return self.ids[index - 1] if index else ""

    def evidence_of(self, value: int, from_ns: int, to_ns: int) -> str:
        """Return the identity of the first record that tells `value` for an instant between two; empty if there is none."""
        first, last = (int(self.steps.index(ints([at]))[0]) for at in (from_ns, to_ns))
        told = (index for index in range(first, last + 1) if index and self.steps.values[index] == value)
        return next((self.ids[index - 1] for index in told), "")


def identity(record: Record) -> str:
    """Return a record's identity."""
    return f"{record.writer}:{record.seq}"


def seen_of(changes: Iterable[tuple[int, int, str]]) -> Seen:
    told = list(changes)
    steps = Steps.of(((at, value) for at, value, _ in told), UNKNOWN)
    return Seen(steps, tuple(told[int(i)][2] for i in steps.order))


def either(one: Steps, other: Steps) -> Steps:
    """Return the step function that is 1 where either is 1 (both are 0 or 1)."""
    at_ns = np.union1d(one.at_ns, other.at_ns)
    return Steps(at_ns, one.at(at_ns) | other.at(at_ns), int(one.values[0] | other.values[0]))


def masked(steps: Steps, blind: Steps | None) -> Steps:
    """Make a step function UNKNOWN while `blind` is 1."""
    if blind is None:
        return steps
    at_ns = np.union1d(steps.at_ns, blind.at_ns)
    values = np.where(blind.at(at_ns) == 1, UNKNOWN, steps.at(at_ns))
    return Steps(at_ns, values, UNKNOWN)
