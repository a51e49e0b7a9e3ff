"""Measures that judging concludes of a whole run: the life of slots, streams, capacity. Part of the catalogue."""

from collections.abc import Callable

from harness.measures.measure import Largest, Peak
from harness.measures.portion import Portion


def _figure(name: str) -> Callable[[Portion, str], Peak]:
    return lambda portion, _of: portion.figures.get(name, (None, 0))


def _capacity(portion: Portion, of: str) -> Peak:
    return portion.figures.get(f"capacity of {of}", (None, 0))


CONCLUDED = (
    Largest(
        "reclaim_p50",
        "s",
        "Time from a window's close to its slot given back, median.",
        _figure("reclaim_p50"),
        whole_run=True,
    ),
    Largest(
        "reclaim_p95",
        "s",
        "Time from a window's close to its slot given back, p95.",
        _figure("reclaim_p95"),
        whole_run=True,
    ),
    Largest(
        "sustainable_rate",
        "windows/s",
        "Windows per second that the limit can sustain: MaxWindows by the mean life of a slot.",
        _figure("sustainable_rate"),
        whole_run=True,
    ),
    Largest(
        "stream_gap_p99",
        "s",
        "Time from frame to frame of a stream, p99; slow readers and zombies left out.",
        _figure("stream_gap_p99"),
        whole_run=True,
    ),
    Largest(
        "stream_stalls",
        "stalls",
        "Gaps of live streams that were too long for their pace.",
        _figure("stream_stalls"),
        whole_run=True,
    ),
    Largest("rows_lost", "rows", "Rows of streams that were skipped.", _figure("rows_lost"), whole_run=True),
    Largest(
        "capacity",
        "windows",
        "What the target was found to sustain; of: what is sought.",
        _capacity,
        whole_run=True,
    ),
)
"""Values come from `Portion.figures`, where judging puts them."""
