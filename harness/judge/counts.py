"""Where the three counts of open windows disagree: own streams, running pods, held slots. Called by judge."""

from harness.judge.findings import Disagreement, Second
from harness.judge.record import SECOND_NS

DISAGREE_S = 3
"""Counts that differ for fewer seconds than this may only lag behind each other."""


def disagreements(seconds: tuple[Second, ...]) -> tuple[Disagreement, ...]:
    """Return the stretches in which the three counts, foreign windows taken off, differed for at least `DISAGREE_S` seconds."""
    found: list[Disagreement] = []
    stretch: list[tuple[int, int, int, int]] = []
    for second in (*seconds, None):
        counts = None
        if second is not None and None not in (second.streams, second.pods, second.slots):
            foreign = second.foreign or 0
            counts = (second.streams or 0, (second.pods or 0) - foreign, (second.slots or 0) - foreign)
        if second is not None and counts is not None and len(set(counts)) > 1:
            stretch.append((second.at_s, *counts))
            continue
        if len(stretch) >= DISAGREE_S:
            _, streams, pods, slots = max(stretch, key=lambda row: max(row[1:]) - min(row[1:]))
            found.append(
                Disagreement(
                    from_ns=stretch[0][0] * SECOND_NS,
                    to_ns=(stretch[-1][0] + 1) * SECOND_NS,
                    streams=streams,
                    pods=pods,
                    slots=slots,
                )
            )
        stretch = []
    return tuple(found)
