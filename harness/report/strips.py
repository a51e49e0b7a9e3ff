"""Distributions as small strips: where half, 90, 95, 99 % and all of the values lie, on a logarithmic axis.

Pure geometry for the template. One axis per measure, so that phases compare by eye.
"""

import math
from dataclasses import dataclass
from typing import Final

from harness.history.events import Phase
from harness.judge.findings import Findings, Spread
from harness.report import words

WIDTH: Final = 150.0
EDGE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Strip:
    """One row: the numbers in words and the marks of the strip."""

    phase: str
    spread: Spread
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Strips:
    """One measure over all phases."""

    measure: str
    title: str
    meaning: str
    rows: tuple[Strip, ...]
    ticks: tuple[tuple[float, str], ...]
    width: float = WIDTH


def strips_of(findings: Findings) -> tuple[Strips, ...]:
    """Return one table of strips per measure that has values."""
    order = {"": -1} | {phase.value: number for number, phase in enumerate(Phase)}
    tables = []
    for measure in dict.fromkeys(spread.measure for spread in findings.spreads):
        spreads = [one for one in findings.spreads if one.measure == measure and one.count]
        if not spreads:
            continue
        title, meaning = words.MEASURES.get(measure, (measure.replace("_", " "), ""))
        axis = _LogAxis(spreads)
        rows = tuple(
            Strip(
                one.phase or "whole run",
                one,
                *(axis.x(value) for value in (one.p50, one.p90, one.p95, one.p99, one.max)),
            )
            for one in sorted(spreads, key=lambda one: order.get(one.phase, 99))
        )
        tables.append(Strips(measure, title, meaning, rows, axis.ticks()))
    return tuple(tables)


class _LogAxis:
    def __init__(self, spreads: list[Spread]) -> None:
        values = [value for one in spreads for value in (one.p50, one.max) if value > 0]
        high = max(values, default=1.0)
        low = max(min(values, default=0.1), high / 1e5)
        self._low = math.log10(low) - 0.05
        self._range = max(0.3, math.log10(high) + 0.05 - self._low)

    def x(self, value: float) -> float:
        share = (math.log10(value) - self._low) / self._range if value > 0 else 0.0
        return round(EDGE + min(1.0, max(0.0, share)) * (WIDTH - 2 * EDGE), 1)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        chosen: list[float] = []
        for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)):
            values = [step * 10.0**power for power in range(-7, 5) for step in steps]
            chosen = [
                v for v in values if self._low + 0.02 <= math.log10(v) <= self._low + self._range - 0.02
            ]
            if len(chosen) >= 2:
                break
        return tuple((self.x(value), _short(value)) for value in chosen[:: max(1, len(chosen) // 4)])


def _short(value_s: float) -> str:
    return f"{value_s:g} s" if value_s >= 1 else f"{value_s * 1000:g} ms"
