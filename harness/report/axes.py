"""Axes and paths: seconds to x, counts to y, values to SVG path data.

Pure geometry, called by `harness.report.timeline`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.clock import SECOND_NS
from harness.report import words
from harness.report.bins import Bin

LEFT: Final = 40.0
RIGHT: Final = 12.0


@dataclass(frozen=True, slots=True)
class Mark:
    """A tick on an axis."""

    at: float
    label: str


class Axis:
    """The time axis: seconds to x."""

    def __init__(self, width: float, end_s: float) -> None:
        self.left, self.right, self.end_s = LEFT, width - RIGHT, end_s

    def x(self, at_s: float) -> float:
        """Return the x of an instant in seconds, kept inside the drawing."""
        share = min(1.0, max(0.0, at_s / self.end_s))
        return round(self.left + share * (self.right - self.left), 1)

    def x_ns(self, at_ns: int) -> float:
        """Return the x of an instant."""
        return self.x(at_ns / SECOND_NS)

    def ticks(self) -> tuple[Mark, ...]:
        """Return as many ticks as labels have room for."""
        room = max(2.0, (self.right - self.left) / 62)
        steps = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
        step = next((step for step in steps if self.end_s / step <= room), 7200)
        marks = [Mark(self.x(at), words.clock_time(at)) for at in range(0, math.ceil(self.end_s), step)]
        return tuple(mark for mark in marks if mark.at <= self.right)


class Scale:
    """A y axis from 0 at the bottom to `highest` at the top."""

    def __init__(self, highest: float, top: float, height: float) -> None:
        self.highest, self.top, self.height = highest, top, height

    def y(self, value: float) -> float:
        """Return the y of a value."""
        return round(self.top + self.height - self.size(value), 1)

    def size(self, value: float) -> float:
        """Return how tall a value is."""
        return round(self.height * min(1.0, value / self.highest), 1)

    def marks(self, about: int) -> tuple[Mark, ...]:
        """Return round values from 0 up, about as many as asked for."""
        rough = self.highest / about
        power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
        step = max(1.0, next(n * power for n in (5, 2, 1) if n * power <= rough))
        count = int(self.highest // step)
        return tuple(Mark(self.y(n * step), words.number(n * step)) for n in range(count + 1))


def _runs(values: Sequence[int | None]) -> list[list[int]]:
    """Return stretches of indices whose value is known: what is not known leaves a hole in the line."""
    runs: list[list[int]] = []
    for index, value in enumerate(values):
        if value is None:
            continue
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def steps(axis: Axis, bins: Sequence[Bin], scale: Scale, values: Sequence[int | None]) -> str:
    """Return a step line; what is not known leaves a hole in it."""
    parts = []
    for run in _runs(values):
        parts.append(f"M{axis.x(bins[run[0]].from_s):g} {scale.y(values[run[0]] or 0):g}")
        parts += [f"V{scale.y(values[index] or 0):g}H{axis.x(bins[index].to_s):g}" for index in run]
    return "".join(parts)


def area(axis: Axis, bins: Sequence[Bin], scale: Scale, values: Sequence[int | None]) -> str:
    """Return the area below a step line."""
    parts = []
    for run in _runs(values):
        parts.append(f"M{axis.x(bins[run[0]].from_s):g} {scale.y(0):g}")
        parts += [f"V{scale.y(values[index] or 0):g}H{axis.x(bins[index].to_s):g}" for index in run]
        parts.append(f"V{scale.y(0):g}Z")
    return "".join(parts)


def band(axis: Axis, bins: Sequence[Bin], scale: Scale) -> str:
    """Return the area between certain and possible open windows."""
    if not bins:
        return ""
    there = [f"M{axis.x(bins[0].from_s):g} {scale.y(bins[0].possible):g}"]
    there += [f"V{scale.y(one.possible):g}H{axis.x(one.to_s):g}" for one in bins]
    back = [f"V{scale.y(one.certain):g}H{axis.x(one.from_s):g}" for one in reversed(bins)]
    return "".join([*there, *back, "Z"])
