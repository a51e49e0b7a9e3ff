"""The tables of a run: per second, per phase, windows by whose they are, open windows against MaxWindows.

Called by judge. Every create is in exactly one second and one phase, that of the instant its outcome was known.
"""

from collections import Counter
from typing import Any

import numpy as np

from harness.history.events import FirstFrame, Outcome, WindowClosed, WindowReady
from harness.history.samples import ACCEPTED
from harness.judge.findings import (
    Interval,
    OpenWindows,
    PhaseTable,
    Second,
    WindowsFound,
)
from harness.judge.record import PHASES, SECOND_NS, RunRecord, outcome_counts
from harness.judge.sightings import UNKNOWN
from harness.judge.steps import Ints, Steps, ints
from harness.judge.world import World


def seconds_table(record: RunRecord, world: World) -> tuple[Second, ...]:
    """Return one row per second of the run."""
    count = record.end_ns // SECOND_NS + 1
    starts: Ints = np.arange(count, dtype=np.int64) * SECOND_NS
    last = np.minimum(starts + SECOND_NS - 1, record.end_ns)
    outcomes = _by_second(record, int(count))
    phases = record.phase_index(starts)
    windows = world.windows
    certain, possible = windows.certain.lowest(starts, last), windows.possible.highest(starts, last)
    columns = [
        _known(steps, last)
        for steps in (
            world.streams,
            world.pods,
            world.slots,
            world.foreign,
            world.free_shares.steps,
            world.free_schedulable.steps,
        )
    ]
    blind = {name: steps.highest(starts, last) for name, steps in world.blind.items()}
    rows = []
    for second in range(int(count)):
        counted = outcomes[second]
        streams, pods, slots, foreign, free, schedulable = (column[second] for column in columns)
        rows.append(
            Second(
                at_s=second,
                phase=PHASES[int(phases[second])],
                creates=sum(counted.values()),
                outcomes=counted,
                refused_503=counted.get(Outcome.UNAVAILABLE_503, 0),
                open=Interval(certain=int(certain[second]), possible=int(possible[second])),
                streams=streams,
                pods=pods,
                slots=slots,
                foreign=foreign,
                free_shares=free,
                free_schedulable=schedulable,
                blind=tuple(name for name, flags in blind.items() if flags[second]),
            )
        )
    return tuple(rows)


def _by_second(record: RunRecord, count: int) -> list[dict[str, int]]:
    creates = record.creates
    table: list[dict[str, int]] = [{} for _ in range(count)]
    seconds = np.maximum(creates["done_ns"], 0) // SECOND_NS
    keys, counts = np.unique(np.column_stack([seconds, creates["outcome"]]), axis=0, return_counts=True)
    for (second, outcome), number in zip(keys.tolist(), counts.tolist(), strict=True):
        table[second][record.attempts.texts[outcome]] = number
    return [dict(sorted(row.items())) for row in table]


def _known(steps: Steps, at_ns: Ints) -> list[int | None]:
    return [None if value == UNKNOWN else value for value in steps.at(at_ns).tolist()]


def phase_tables(record: RunRecord, world: World) -> tuple[PhaseTable, ...]:
    """Return one table per phase that occurred."""
    creates, frames = record.creates, record.frames
    create_phase = record.phase_index(np.maximum(creates["done_ns"], 0))
    frame_phase = record.phase_index(frames["at_ns"])
    endings = _endings(record)
    ending_phase = record.phase_index(np.maximum(ints(at for at, _ in endings), 0))
    tables = []
    for number, phase in enumerate(PHASES):
        spans = record.spans_of([phase])
        if not spans:
            continue
        inside = creates[create_phase == number]
        refused = int((inside["outcome"] == record.attempts.number(Outcome.UNAVAILABLE_503)).sum())
        received = frames[frame_phase == number]
        from_ns, to_ns = ints(span[0] for span in spans), ints(span[1] - 1 for span in spans)
        tables.append(
            PhaseTable(
                phase=phase,
                duration_s=round(sum(to - start for start, to in spans) / SECOND_NS, 6),
                creates=len(inside),
                outcomes=outcome_counts(inside, record.attempts.texts),
                refused_503=refused,
                ratio_503=refused / len(inside) if len(inside) else None,
                open=Interval(
                    certain=int(world.windows.certain.highest(from_ns, to_ns).max()),
                    possible=int(world.windows.possible.highest(from_ns, to_ns).max()),
                ),
                windows=_sorted(endings[i][1] for i in np.flatnonzero(ending_phase == number)),
                frames=len(received),
                bytes=int(received["bytes"].sum()),
            )
        )
    return tuple(tables)


def _endings(record: RunRecord) -> list[tuple[int, str]]:
    """Return when and how every window ended: creates that opened none, and accepted windows that were closed."""
    creates = record.creates
    failed = creates[creates["outcome"] != record.attempts.number(ACCEPTED)]
    texts = record.attempts.texts
    endings = [
        (at, texts[outcome])
        for at, outcome in zip(failed["done_ns"].tolist(), failed["outcome"].tolist(), strict=True)
    ]
    return endings + [(closed.at_ns, str(closed.outcome)) for closed in record.of(WindowClosed)]


def windows_found(record: RunRecord, world: World) -> WindowsFound:
    """Return every window by whose it is and how it ended."""
    windows = world.windows
    return WindowsFound(
        own=len(windows.own),
        own_unknown=len(windows.unknown),
        own_unknown_found=len(windows.found),
        foreign=None if windows.foreign is None else len(windows.foreign),
        halfway=len(windows.halfway),
        outcomes=_sorted(outcome for _, outcome in _endings(record)),
        still_open=sum(window.closed_ns is None for window in windows.own),
        ready=len(record.of(WindowReady)),
        first_frame=len(record.of(FirstFrame)),
    )


def open_windows(record: RunRecord, world: World, refused_below: int) -> OpenWindows:
    """Return how open windows stood against MaxWindows over the whole run."""
    certain, possible = world.windows.certain, world.windows.possible
    limit = record.run.max_windows
    starts: Ints = np.arange(record.end_ns // SECOND_NS + 1, dtype=np.int64) * SECOND_NS
    above = 0 if limit is None else int((certain.highest(starts, starts + SECOND_NS - 1) > limit).sum())
    return OpenWindows(
        max_windows=limit,
        max_windows_text=record.run.max_windows_text or ("unknown" if limit is None else str(limit)),
        certain_max=int(certain.values.max()),
        certain_max_ns=_when_highest(certain),
        possible_max=int(possible.values.max()),
        possible_max_ns=_when_highest(possible),
        seconds_certainly_above=above,
        refused_below=refused_below,
    )


def _when_highest(steps: Steps) -> int:
    index = int(steps.values.argmax())
    return int(steps.at_ns[index - 1]) if index else 0


def _sorted(outcomes: Any) -> dict[str, int]:
    return dict(sorted(Counter(str(outcome) for outcome in outcomes).items()))
