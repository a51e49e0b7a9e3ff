"""The run's seconds in bins: what a long run is drawn, listed and read out from.

Pure. A bin sums its creates and keeps its worst of everything else, so that no bad second hides in a mean.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.clock import SECOND_NS
from harness.judge.findings import Findings, Second
from harness.report.sentences import Occurrence, occurrences


@dataclass(frozen=True, slots=True)
class Bin:
    """One or more seconds as the read-out and the table show them."""

    from_s: int
    to_s: int
    phase: str
    certain: int
    possible: int
    streams: int | None
    pods: int | None
    slots: int | None
    creates: int
    accepted: int
    refused: int
    free: int | None
    free_schedulable: int | None
    faults: tuple[str, ...]
    blind: tuple[str, ...]


def bins_of(findings: Findings, size_s: int) -> tuple[Bin, ...]:
    """Return the seconds in bins of `size_s`; a bin sums its creates and keeps its worst of everything else."""
    happened = occurrences(findings)
    groups: dict[int, list[Second]] = {}
    for second in findings.seconds:
        groups.setdefault(second.at_s // size_s, []).append(second)
    return tuple(_bin(number * size_s, size_s, group, happened) for number, group in sorted(groups.items()))


def _bin(from_s: int, size_s: int, group: list[Second], happened: Sequence[Occurrence]) -> Bin:
    to_s = min(from_s + size_s, group[-1].at_s + 1)
    held = tuple(
        one.name
        for one in happened
        if one.injected_ns is not None
        and one.injected_ns < to_s * SECOND_NS
        and (one.undone_ns is None or one.undone_ns > from_s * SECOND_NS)
    )
    return Bin(
        from_s=from_s,
        to_s=to_s,
        phase=group[0].phase.value,
        certain=min(s.open.certain for s in group),
        possible=max(s.open.possible for s in group),
        streams=_worst(max, (s.streams for s in group)),
        pods=_worst(max, (s.pods for s in group)),
        slots=_worst(max, (s.slots for s in group)),
        creates=sum(s.creates for s in group),
        accepted=sum(s.outcomes.get("accepted", 0) for s in group),
        refused=sum(s.refused_503 for s in group),
        free=_worst(min, (s.free_shares for s in group)),
        free_schedulable=_worst(min, (s.free_schedulable for s in group)),
        faults=tuple(dict.fromkeys(held)),
        blind=tuple(dict.fromkeys(watcher for s in group for watcher in s.blind)),
    )


def _worst(pick: Callable[[list[int]], int], values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return pick(known) if known else None


def bin_size_s(end_s: float, most: float) -> int:
    """Return how many seconds a bin must hold so that there are at most `most` of them."""
    return next((size for size in (1, 2, 5, 10, 15, 30, 60, 120, 300) if end_s / size <= max(1.0, most)), 600)
