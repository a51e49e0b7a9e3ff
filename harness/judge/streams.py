"""What came over the streams: gaps between frames against their pace, stalls, rows that were skipped. Called by judge."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.history.events import Outcome, WindowAccepted, WindowClosed, WindowReady
from harness.history.samples import Rows
from harness.judge.findings import StreamRow, StreamsFinding, TransportRow
from harness.judge.record import SECOND_NS, RunRecord
from harness.judge.steps import Ints
from harness.measures.measure import quantile_s

STALL_AFTER_NS = SECOND_NS
PACES = 5
"""So many times the time that its rows take is too long for a gap."""
OWN_PACE = frozenset({"slow_reader", "zombie", "abandoner"})
"""Kinds of users whose gaps are their own doing."""
WORST = 10
BADLY = (
    Outcome.STREAM_BROKEN,
    Outcome.STREAM_BROKEN_BEFORE_DATA,
    Outcome.STREAM_NO_FRAME,
    Outcome.FOREIGN_STREAM,
)
ENOUGH = 20
"""So many windows on either transport are compared."""
GAP_SLACK_S = 0.05

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Gaps:
    """Every step from one frame of a stream to its next, in arrays of one length."""

    frames: Rows
    """The later frame."""
    ns: Ints
    late_ns: Ints
    """Longer than the later frame's rows take; below 0 for one that came early; meaningless without a pace."""
    paced: Flags
    lost: Ints
    stall: Flags


def streams(record: RunRecord) -> StreamsFinding | None:
    """Return what came over the streams; None where none was read."""
    accepted = {one.window: one for one in record.of(WindowAccepted)}
    rows = record.frames
    rows = rows[np.lexsort((rows["at_ns"], rows["stream"], rows["window"]))]
    read = np.isin(rows["window"], [n for n, one in accepted.items() if has_own_pace(one)], invert=True)
    rows = rows[read]
    if not len(rows):
        return None
    gaps = steps_between(rows, accepted)
    personas = sorted({one.persona for one in accepted.values() if not has_own_pace(one)})
    of_persona = {name: [n for n, one in accepted.items() if one.persona == name] for name in personas}
    told = (
        _row(rows[np.isin(rows["window"], windows)], gaps, np.isin(gaps.frames["window"], windows), name)
        for name, windows in of_persona.items()
        if name
    )
    return StreamsFinding(
        stall_after_s=STALL_AFTER_NS / SECOND_NS,
        checked=sum(one.checked for one in record.of(WindowClosed)),
        fleet=_row(rows, gaps, np.ones(len(gaps.ns), dtype=bool)),
        transports=_transports(record, accepted, rows, gaps),
        personas=tuple(one for one in told if one.streams),
        worst=_worst(rows, gaps, accepted),
    )


def stalled_windows(rows: Rows, accepted: Iterable[WindowAccepted], until_ns: int) -> frozenset[int]:
    """Return the windows of which a stream stalled before `until_ns`; a pause that is not over yet is none."""
    rows = rows[rows["at_ns"] <= until_ns]
    if not len(rows):
        return frozenset()
    rows = rows[np.lexsort((rows["at_ns"], rows["stream"], rows["window"]))]
    gaps = steps_between(rows, {one.window: one for one in accepted})
    return frozenset(gaps.frames["window"][gaps.stall].tolist())


def stall_ns(due_ns: int) -> int:
    """Return from how long on a gap is a stall, where the later frame's rows take `due_ns`."""
    return max(STALL_AFTER_NS, PACES * due_ns)


def steps_between(rows: Rows, accepted: dict[int, WindowAccepted]) -> Gaps:
    """Return the steps from frame to frame; rows come in order of window, stream and time."""
    before, after = rows[:-1], rows[1:]
    same = (before["window"] == after["window"]) & (before["stream"] == after["stream"])
    before, after = before[same], after[same]
    known = np.array(sorted(accepted), dtype=np.int64)
    paces = np.array([round(accepted[n].lines_dt_s * SECOND_NS) for n in known.tolist()], dtype=np.int64)
    place = np.searchsorted(known, after["window"])
    here = np.minimum(place, max(0, len(known) - 1))
    is_known = (known[here] == after["window"]) if len(known) else np.zeros(len(after), dtype=bool)
    pace_ns = np.where(is_known, paces[here], 0) if len(known) else np.zeros(len(after), dtype=np.int64)
    ns = after["at_ns"] - before["at_ns"]
    due_ns = pace_ns * np.maximum(after["rows"], 1)
    paced = pace_ns > 0
    lost = np.maximum(after["first_row"] - before["first_row"] - before["rows"], 0).astype(np.int64)
    return Gaps(
        frames=after,
        ns=ns,
        late_ns=ns - due_ns,
        paced=paced,
        lost=np.where((after["rows"] > 0) & (before["rows"] > 0), lost, 0),
        stall=paced & (ns >= np.maximum(STALL_AFTER_NS, PACES * due_ns)),
    )


def _row(
    frames: Rows, gaps: Gaps, chosen: Flags, persona: str = "", window: int = 0, stream: int = 0
) -> StreamRow:
    ns = gaps.ns[chosen]
    paced = chosen & gaps.paced
    stalled = gaps.ns[chosen & gaps.stall]
    each = frames["window"].astype(np.int64) * 1000 + frames["stream"]
    return StreamRow(
        window=window,
        stream=stream,
        persona=persona,
        streams=len(np.unique(each)),
        frames=len(frames),
        rows=int(frames["rows"].sum()),
        bytes=int(frames["bytes"].sum(dtype=np.int64)),
        lost_rows=int(gaps.lost[chosen].sum()),
        gap_p50_s=quantile_s(ns, 0.5),
        gap_p99_s=quantile_s(ns, 0.99),
        gap_max_s=int(ns.max()) / SECOND_NS if len(ns) else None,
        late_p99_s=quantile_s(gaps.late_ns[paced], 0.99),
        stalls=len(stalled),
        stalled_s=int(stalled.sum()) / SECOND_NS,
    )


def has_own_pace(window: WindowAccepted) -> bool:
    """Say whether a window's user read at a pace of its own (records of before say so by the persona's name alone)."""
    return window.own_pace or window.persona in OWN_PACE


def _transports(
    record: RunRecord, accepted: dict[int, WindowAccepted], rows: Rows, gaps: Gaps
) -> tuple[TransportRow, ...]:
    """Return what each transport carried: windows of kinds that read as fast as frames come."""
    ready = {
        one.window: one
        for one in record.of(WindowReady)
        if one.window in accepted and not has_own_pace(accepted[one.window])
    }
    closed = {one.window: one for one in record.of(WindowClosed)}
    found = []
    for transport in sorted({one.transport for one in ready.values()}, reverse=True):
        windows = [number for number, one in ready.items() if one.transport == transport]
        ended = [closed[number] for number in windows if number in closed]
        lasted_ns = sum(max(0, one.at_ns - ready[one.window].at_ns) for one in ended if one.frames)
        found.append(
            TransportRow(
                transport=transport,
                windows=len(windows),
                broken=sum(one.outcome in BADLY for one in ended),
                frames_per_s=sum(one.frames for one in ended) * SECOND_NS / lasted_ns if lasted_ns else None,
                gap_p99_s=quantile_s(gaps.ns[np.isin(gaps.frames["window"], windows)], 0.99),
            )
        )
    return tuple(found)


def difference(found: StreamsFinding | None) -> tuple[float | None, str]:
    """Return how far the transports differ, as a share: in broken windows, frames per second or the gap's p99, whichever is worst; and in what.

    None where too few windows were on either. A difference in gaps below `GAP_SLACK_S` is the scheduler's.
    """
    rows = {one.transport: one for one in found.transports} if found is not None else {}
    if len(rows) < 2:
        return None, "one transport carried all streams"
    lean, reference = rows["lean"], rows["reference"]
    if min(lean.windows, reference.windows) < ENOUGH:
        return None, f"fewer than {ENOUGH} windows were on one of the transports"
    apart = [
        (abs(lean.broken / lean.windows - reference.broken / reference.windows), "of windows that broke"),
        (_apart(lean.frames_per_s, reference.frames_per_s, 0.0), "in frames per second"),
        (_apart(lean.gap_p99_s, reference.gap_p99_s, GAP_SLACK_S), "in the p99 of gaps"),
    ]
    value, what = max(apart)
    return value, f"between the lean transport and the reference, {what}"


def _apart(one: float | None, other: float | None, slack: float) -> float:
    if one is None or other is None:
        return float(one is not other)
    return max(0.0, abs(one - other) - slack) / max(other, 1e-9)


def _worst(rows: Rows, gaps: Gaps, accepted: dict[int, WindowAccepted]) -> tuple[StreamRow, ...]:
    """Return the streams that stalled longest."""
    stalled: dict[tuple[int, int], int] = {}
    for index in np.flatnonzero(gaps.stall).tolist():
        one = int(gaps.frames["window"][index]), int(gaps.frames["stream"][index])
        stalled[one] = stalled.get(one, 0) + int(gaps.ns[index])
    found = []
    for window, stream in sorted(stalled, key=lambda one: (-stalled[one], one))[:WORST]:
        frames = rows[(rows["window"] == window) & (rows["stream"] == stream)]
        chosen = (gaps.frames["window"] == window) & (gaps.frames["stream"] == stream)
        persona = accepted[window].persona if window in accepted else ""
        found.append(_row(frames, gaps, chosen, persona, window, stream))
    return tuple(found)
