"""A search for capacity as a drawing: the share of windows served at each level tried, and the edge between. Called by `page`; pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from harness.judge.findings import CapacityLevel, CapacitySearch

HEIGHT: Final = 190.0
TOP: Final = 14.0
BOTTOM: Final = 34.0
LEFT: Final = 46.0
RIGHT: Final = 18.0
WORDS: Final = {"sustained": "held", "refuted": "not held", "open": "not decided"}
HEADINGS: Final = {
    "windows": "Windows open at once",
    "creates": "Creates in flight at once",
    "rate": "Windows per second",
}


@dataclass(frozen=True, slots=True)
class Dot:
    """One level: where it lies, how far the interval of its share reaches, and what was decided."""

    x: float
    y: float
    high: float
    low: float
    name: str
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Everything of one drawing, in its own units."""

    width: float
    height: float
    left: float
    right: float
    top: float
    base: float
    dots: tuple[Dot, ...]
    shares: tuple[Tick, ...]
    levels: tuple[Tick, ...]
    edge: tuple[float, float] | None
    """From the highest level held to the lowest not held."""
    ceiling: Tick | None
    """What the slots of a rate allow at most."""


def plot(search: CapacitySearch, width: float) -> Plot | None:
    """Return the drawing of a search; None where no window's fate was known."""
    seen = [level for level in search.levels if level.success_share is not None]
    if not seen:
        return None
    ceiling = search.ceiling.per_s if search.ceiling is not None else None
    levels = [one.level for one in seen] if ceiling is None else [*(one.level for one in seen), ceiling]
    lowest, highest = min(levels), max(levels)
    span = math.log(highest / lowest) if highest > lowest else 1.0
    floor = math.floor(min(one.success_low or 0.0 for one in seen) * 10) / 10
    base = TOP + HEIGHT

    def x(level: float) -> float:
        share = 0.5 if highest == lowest else math.log(level / lowest) / span
        return round(LEFT + 12 + share * (width - LEFT - RIGHT - 24), 1)

    def y(share: float) -> float:
        return round(base - (share - floor) / (1 - floor) * HEIGHT, 1)

    steps = 2 if floor < 0.8 else 1
    marks = range(10, round(floor * 10) - 1, -steps)
    edge = None
    if search.above is not None and search.value:
        edge = (x(search.value), x(search.above))
    return Plot(
        width=width,
        height=base + BOTTOM,
        left=LEFT,
        right=width - RIGHT,
        top=TOP,
        base=base,
        dots=tuple(_dot(one, x(one.level), y) for one in seen),
        shares=tuple(Tick(y(mark / 10), f"{mark * 10} %") for mark in marks),
        levels=_apart([Tick(x(one.level), f"{one.level:.3g}") for one in seen]),
        edge=edge,
        ceiling=None if ceiling is None else Tick(x(ceiling), f"{ceiling:.3g}"),
    )


def _dot(one: CapacityLevel, x: float, y: Callable[[float], float]) -> Dot:
    share = one.success_share or 0.0
    kind = one.decision.value
    title = (
        f"{one.level:.4g}: {one.windows - one.unsuccessful} of {one.windows} windows served, {WORDS[kind]}"
    )
    return Dot(
        x,
        y(share),
        y(one.success_high or share),
        y(one.success_low or share),
        f"{one.level:.4g}",
        kind,
        title,
    )


def _apart(ticks: list[Tick]) -> tuple[Tick, ...]:
    """Leave out marks that would be written over each other, from the right: the edge is there."""
    kept: list[Tick] = []
    for tick in sorted(ticks, key=lambda one: -one.at):
        if not kept or kept[-1].at - tick.at >= 34:
            kept.append(tick)
    return tuple(reversed(kept))
