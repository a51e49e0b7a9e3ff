"""Streams that stood still while a fault was in, one by one, and when each came again. Called by recovery."""

from collections.abc import Collection

import numpy as np

from harness.history.events import Outcome, WindowAccepted, WindowClosed
from harness.history.samples import Rows
from harness.judge.findings import Standstill
from harness.judge.record import SECOND_NS, RunRecord
from harness.judge.streams import Flags, has_own_pace, stall_ns, steps_between


def standstills(
    record: RunRecord,
    windows: Collection[int],
    from_ns: int,
    to_ns: int,
    undone_ns: int | None,
    until_ns: int,
) -> tuple[Standstill, ...]:
    """Return the stalls of windows' streams that had not begun to be any at `from_ns`, and began before `to_ns`; the longest first.

    One that is still going on at `until_ns`, or at the window's end, has no end.
    """
    accepted = {
        one.window: one
        for one in record.of(WindowAccepted)
        if one.window in windows and not has_own_pace(one)
    }
    rows = record.frames
    rows = rows[np.isin(rows["window"], list(accepted)) & (rows["at_ns"] <= until_ns)]
    if not len(rows):
        return ()
    rows = rows[np.lexsort((rows["at_ns"], rows["stream"], rows["window"]))]
    steps = steps_between(rows, accepted)
    next_frames, stood = steps.frames[steps.stall], steps.ns[steps.stall]
    found: list[tuple[int, int, int, int, bool]] = [
        (window, stream, at_ns - ns, at_ns, True)
        for window, stream, at_ns, ns in zip(
            next_frames["window"].tolist(),
            next_frames["stream"].tolist(),
            next_frames["at_ns"].tolist(),
            stood.tolist(),
            strict=True,
        )
    ]
    closed = {one.window: one for one in record.of(WindowClosed)}
    pace_ns = {n: round(one.lines_dt_s * SECOND_NS) for n, one in accepted.items()}
    for last in rows[_last_of_each(rows)]:
        window, stream, at_ns = int(last["window"]), int(last["stream"]), int(last["at_ns"])
        end = closed.get(window)
        if end is not None and end.outcome is Outcome.COMPLETE:
            continue
        ends_ns = min(until_ns, end.at_ns if end is not None else until_ns)
        if pace_ns[window] and ends_ns - at_ns >= stall_ns(pace_ns[window] * max(1, int(last["rows"]))):
            found.append((window, stream, at_ns, ends_ns, False))
    mine = [
        one
        for one in found
        if from_ns - stall_ns(pace_ns[one[0]]) < one[2] < to_ns and one[3] > from_ns
    ]  # fmt: skip
    return tuple(
        Standstill(
            window=window, stream=stream, from_ns=since, to_ns=at_ns if came else None, after_undo_s=_after(undone_ns, since, at_ns) if came else None,
        )
        for window, stream, since, at_ns, came in sorted(mine, key=lambda one: (one[2] - one[3], one[0], one[1]))
    )  # fmt: skip


def _after(undone_ns: int | None, from_ns: int, to_ns: int) -> float | None:
    if undone_ns is None or not from_ns < undone_ns < to_ns:
        return None
    return round((to_ns - undone_ns) / SECOND_NS, 3)


def _last_of_each(rows: Rows) -> Flags:
    each = rows["window"].astype(np.int64) * 1000 + rows["stream"]
    last: Flags = np.append(each[1:] != each[:-1], True)
    return last
