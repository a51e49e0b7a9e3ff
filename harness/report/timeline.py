"""The run on one time axis, as geometry: the template only writes it down as SVG.

Phases, faults, blind spots, open windows against MaxWindows, creates per second and free GPU shares share one x axis. Pure: a
function of the findings and a width. Long runs are drawn in bins of several seconds, and a bin keeps its worst second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.judge.findings import Findings, PhaseSpan
from harness.report import words
from harness.report.axes import LEFT, RIGHT, Axis, Mark, Scale, area, band, steps
from harness.report.bins import Bin, bin_size_s, bins_of
from harness.report.sentences import Occurrence, occurrences

CHARACTER: Final = 6.4
"""Width of a character of the drawing's small text, in its own units; generous, so that labels do not touch."""
BIN_PX: Final = 2.2
"""A bin of seconds is at least this wide."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with a label that fits, and a longer text for whoever points at it."""

    x: float
    width: float
    name: str
    label: str
    title: str
    row: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of the creates plot, from the top down: other outcomes, accepted, 503 at the bottom."""

    x: float
    width: float
    refused: float
    accepted: float
    other: float


@dataclass(frozen=True, slots=True)
class FaultBand:
    """One fault: in the world from `x` for `held`, then on the way back for `back`."""

    x: float
    held: float
    back: float
    row: int
    name: str
    label_x: float
    anchor: str
    title: str
    effective_x: float | None
    verified_x: float | None


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot: where it lies, its marks on the y axis, what is drawn in it as SVG paths."""

    title: str
    top: float
    height: float
    marks: tuple[Mark, ...]
    paths: tuple[tuple[str, str], ...]
    """Pairs of a class name and path data."""
    bars: tuple[Bar, ...] = ()
    limit_y: float | None = None

    @property
    def bottom(self) -> float:
        """Return the y of the axis."""
        return self.top + self.height


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything the template draws; lengths in the drawing's own units."""

    width: float
    height: float
    left: float
    right: float
    phases: tuple[Box, ...]
    phases_y: float
    faults: tuple[FaultBand, ...]
    faults_y: float
    fault_rows: int
    gaps: tuple[Box, ...]
    gaps_y: float
    plots: tuple[Plot, ...]
    ticks: tuple[Mark, ...]
    axis_y: float
    bin_s: int
    max_windows: int | None
    end_s: float


def draw(findings: Findings, width: float) -> Timeline | None:
    """Return the timeline at `width`, or None when the run has no seconds."""
    if not findings.seconds:
        return None
    end_s = max(findings.run.duration_s, float(findings.seconds[-1].at_s + 1))
    axis = Axis(width, end_s)
    size_s = bin_size_s(end_s, (width - LEFT - RIGHT) / BIN_PX)
    bins = bins_of(findings, size_s)
    faults, rows = _faults(findings, axis)
    gaps = _gaps(findings, axis)
    top = 18.0
    phases_y = top
    faults_y = phases_y + 26
    gaps_y = faults_y + rows * 26 + (4 if rows else 0)
    plots_top = gaps_y + (20 if gaps else 0) + 24
    windows = _windows(findings, axis, bins, plots_top, 210.0 if width > 600 else 170.0)
    creates = _creates(axis, bins, windows.bottom + 34, 84.0)
    plots = [windows, creates]
    shares = _shares(axis, bins, creates.bottom + 34, 50.0)
    if shares is not None:
        plots.append(shares)
    axis_y = plots[-1].bottom
    return Timeline(
        width=width,
        height=axis_y + 24,
        left=LEFT,
        right=width - RIGHT,
        phases=_phases(findings, axis),
        phases_y=phases_y,
        faults=faults,
        faults_y=faults_y,
        fault_rows=rows,
        gaps=gaps,
        gaps_y=gaps_y,
        plots=tuple(plots),
        ticks=axis.ticks(),
        axis_y=axis_y,
        bin_s=size_s,
        max_windows=findings.open_windows.max_windows,
        end_s=end_s,
    )


def _phases(findings: Findings, axis: Axis) -> tuple[Box, ...]:
    stretches: list[list[PhaseSpan]] = []
    for one in findings.phases:
        if stretches and stretches[-1][-1].phase is one.phase:
            stretches[-1].append(one)
        else:
            stretches.append([one])
    boxes = []
    for stretch in stretches:
        name, from_ns, to_ns = stretch[0].phase.value, stretch[0].from_ns, stretch[-1].to_ns
        x, end = axis.x_ns(from_ns), axis.x_ns(to_ns)
        label = name if (end - x) > len(name) * CHARACTER + 6 else ""
        steps_named = words.listed(dict.fromkeys(one.step for one in stretch if one.step))
        step = f" ({steps_named})" if steps_named else ""
        title = f"{name}{step}: {words.moment(from_ns)} to {words.moment(to_ns)}"
        boxes.append(Box(x, max(0.6, round(end - x, 1)), name, label, title))
    return tuple(boxes)


def _faults(findings: Findings, axis: Axis) -> tuple[tuple[FaultBand, ...], int]:
    taken: list[float] = []
    bands = []
    for one in occurrences(findings):
        if one.injected_ns is None:
            continue
        x = axis.x_ns(one.injected_ns)
        undone = axis.right if one.undone_ns is None else axis.x_ns(one.undone_ns)
        end = max(undone, undone if one.to_ns is None or one.undone_ns is None else axis.x_ns(one.to_ns))
        label_width = len(one.name) * CHARACTER + 4
        fits = x + label_width <= axis.right
        reach = max(end, x + label_width) if fits else end
        start = x if fits else min(x, axis.right - label_width)
        row = next((number for number, busy in enumerate(taken) if busy + 6 <= start), len(taken))
        if row == len(taken):
            taken.append(0.0)
        taken[row] = reach
        effective = min((e.effective_ns for e in one.entries if e.effective_ns is not None), default=None)
        verified = [e.verified_ns for e in one.entries if e.verified_ns is not None]
        bands.append(
            FaultBand(
                x=x,
                held=round(max(1.0, undone - x), 1),
                back=round(end - undone, 1),
                row=row,
                name=one.name,
                label_x=x if fits else axis.right,
                anchor="start" if fits else "end",
                title=_fault_title(one),
                effective_x=None if effective is None else axis.x_ns(effective),
                verified_x=axis.x_ns(max(verified)) if verified else None,
            )
        )
    return tuple(bands), len(taken)


def _fault_title(one: Occurrence) -> str:
    undone = words.moment(one.undone_ns) if one.undone_ns is not None else "never seen undone"
    text = f"{one.name}: injected {words.moment(one.injected_ns)}, undone {undone}"
    return text + (f", way back {words.span(one.recovery_s)}" if one.recovery_s is not None else "")


def _gaps(findings: Findings, axis: Axis) -> tuple[Box, ...]:
    boxes = []
    for gap in findings.gaps:
        x, end = axis.x_ns(gap.from_ns), axis.x_ns(gap.to_ns)
        title = f"{gap.watcher} blind from {words.moment(gap.from_ns)} to {words.moment(gap.to_ns)}"
        title += f": {gap.detail}" if gap.detail else ""
        boxes.append(Box(x, max(2.0, round(end - x, 1)), gap.watcher, "", title))
    return tuple(boxes)


def _windows(findings: Findings, axis: Axis, bins: Sequence[Bin], top: float, height: float) -> Plot:
    limit = findings.open_windows.max_windows
    highest = max([limit or 0, 1, *(one.possible for one in bins), *(one.slots or 0 for one in bins)])
    scale = Scale(highest * 1.08, top, height)
    paths = [
        ("band", band(axis, bins, scale)),
        ("streams", steps(axis, bins, scale, [one.streams for one in bins])),
        ("pods", steps(axis, bins, scale, [one.pods for one in bins])),
        ("slots", steps(axis, bins, scale, [one.slots for one in bins])),
    ]
    return Plot(
        "Open windows",
        top,
        height,
        scale.marks(4),
        tuple((name, data) for name, data in paths if data),
        limit_y=None if limit is None else scale.y(limit),
    )


def _creates(axis: Axis, bins: Sequence[Bin], top: float, height: float) -> Plot:
    highest = max([1.0, *(one.creates / (one.to_s - one.from_s) for one in bins)])
    scale = Scale(highest * 1.05, top, height)
    bars = []
    for one in bins:
        if not one.creates:
            continue
        x, end = axis.x(one.from_s), axis.x(one.to_s)
        per_s = 1 / (one.to_s - one.from_s)
        other = one.creates - one.accepted - one.refused
        gap = 0.6 if end - x > 3 else 0.0
        bars.append(
            Bar(
                x,
                round(max(0.8, end - x - gap), 1),
                scale.size(one.refused * per_s),
                scale.size(one.accepted * per_s),
                scale.size(other * per_s),
            )
        )
    return Plot("Creates per second", top, height, scale.marks(3), (), tuple(bars))


def _shares(axis: Axis, bins: Sequence[Bin], top: float, height: float) -> Plot | None:
    known = [one.free for one in bins if one.free is not None]
    if not known:
        return None
    scale = Scale(max(1, *known) * 1.08, top, height)
    free = steps(axis, bins, scale, [one.free for one in bins])
    usable = area(axis, bins, scale, [one.free_schedulable for one in bins])
    return Plot("Free GPU shares", top, height, scale.marks(2), (("usable", usable), ("free", free)))
