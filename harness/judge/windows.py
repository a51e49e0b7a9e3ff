"""Every window of a run: own, own-unknown or foreign, and the intervals in which it was certainly and possibly open.

A window is *open* while it holds a slot. Certainly: from its first own frame until the client closed it, and while its Service
was seen in the cluster. Possibly: from the instant its create was sent until its Service and its Job were seen gone (without
sight: until `RELEASE_NS` after the client closed it). Reads client outcomes and observations, never what was injected.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from harness.history.events import (
    FirstFrame,
    Outcome,
    Record,
    WindowAccepted,
    WindowClosed,
    WindowUnknown,
)
from harness.history.reader import Samples
from harness.history.samples import ACCEPTED
from harness.judge.sightings import identity
from harness.judge.slots import (
    WATCH_LAG_NS,
    Held,
    Intervals,
    ServiceRecords,
    after,
    held_slots,
    job_of,
    service_records,
    surely_held,
)
from harness.judge.steps import Ints, Steps, ints
from harness.measures.catalogue import BROKEN
from harness.measures.portion import CONFIGURE

RELEASE_NS = 180_000_000_000
"""Without sight of the cluster a closed window may hold its slot for this long; the longest documented end is 180 s."""
LATE_NS = 10_000_000_000
"""A slot that is held for less than this after its window was over is being given back."""
FOUND_NS = 10_000_000_000
"""A window of ours whose answer was lost shows in the cluster within this time after the client gave up."""


@dataclass(slots=True)
class Window:
    """One own window whose create was accepted, or whose answer was lost."""

    number: int
    job_id: str
    sent_ns: int
    accepted_ns: int | None
    first_frame_ns: int | None = None
    closed_ns: int | None = None
    outcome: Outcome | None = None
    port: int = 0
    evidence: tuple[str, ...] = ()
    """Identities of the records of its acceptance, first frame and end."""


@dataclass(frozen=True, slots=True)
class Hold:
    """When one window held its slot: surely, and possibly. Own, own without an answer, or foreign (also of a create that failed)."""

    job_id: str
    """Empty where nobody knows it."""
    number: int
    """Our number of the window; 0 for one that is not ours."""
    sure: tuple[tuple[int, int], ...]
    """From the answer where its Service was seen later. Where its end was seen, not longer than that, whatever its client believed."""
    possible: tuple[int, int]
    closed_ns: int | None
    """When it was over for the client that used it; None while it is not, or for one that is not ours."""
    seen_to_end: bool
    """Whether its slot was seen to be given back."""
    accepted: bool = True
    """Whether its create was answered 200; else a window in the cluster may be somebody else's, whatever we take it for."""
    gone_ns: int | None = None
    """When its Service and its Job were seen gone, whatever its client still believed; None while they were not."""
    port: int = 0
    """The port its stream is reached at; 0 where nobody knows it."""
    evidence: tuple[str, ...] = ()
    """Identities of the records that tell of it: the first and the last that clients or watchers have."""

    @property
    def slot(self) -> int:
        """Return the number of its slot; 0 where the job id does not say."""
        slot, dash, _ = self.job_id.partition("-")
        return int(slot) if dash and slot.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows, and the two counts of open ones."""

    own: tuple[Window, ...]
    unknown: tuple[Window, ...]
    found: dict[int, str]
    """Own-unknown windows by number, and the job in the cluster that may be theirs."""
    halfway: frozenset[str]
    """Jobs that a create of ours may have made which then failed: they appeared while it was being decided."""
    foreign: frozenset[str] | None
    """Jobs in the cluster that no request of ours explains; None without sight of the cluster."""
    certain: Steps
    possible: Steps
    foreign_open: Steps
    """How many windows of others held a slot; without sight of the cluster it is 0 and means nothing."""
    others_open: Steps
    """How many slots were held by windows that are not known to be ours: of others, or of creates of ours that failed."""
    holds: tuple[Hold, ...]
    """Every window that held a slot, or may have."""
    overdue: Steps
    """How many slots were still held by own windows that were over for longer than slots are given back in, as a rule."""


def find_windows(records: Sequence[Record], attempts: Samples, blind: Steps, end_ns: int) -> Windows:
    """Tell the windows apart and count the open ones; `blind` is 1 while the Services' watcher could not see."""
    blind = blind.changes()
    own, unknown, refused = _own(records, attempts)
    slots = held_slots(records, end_ns)
    held, kept, sighted = slots.held, slots.kept, slots.sighted
    keys = {
        window.number: slots.key(window.job_id, window.sent_ns, window.closed_ns or end_ns)
        for window in own
        if window.job_id
    }
    by_job = {keys[window.number]: window for window in own if window.job_id}
    found = _match(unknown, held, by_job, blind)
    strange = frozenset(held) - set(by_job) - set(found.values())
    halfway = _halfway(strange, kept, refused)
    strangers = strange - halfway
    services = service_records(records, slots)
    holds: list[Hold] = []
    certain: Intervals = []

    def hold(job: str, window: Window | None) -> None:
        seen = held.get(job)
        if window is None:
            counted = surely_held(held[job], blind) if job in held else []
            sure = surely_held(held[job], blind, WATCH_LAG_NS) if job in held else []
            may_be = kept[job]
        else:
            counted = _certain(window, seen, blind, end_ns)
            sure = _sure(window, seen, kept.get(job), blind, end_ns)
            may_be = _possible(window, kept.get(job), counted, blind if sighted else None, end_ns)
        certain.extend(counted)
        told = services.get(job, ServiceRecords())
        holds.append(
            Hold(
                job_id=job_of(job),
                number=window.number if window else 0,
                sure=tuple(sure),
                possible=may_be,
                closed_ns=window.closed_ns if window else None,
                seen_to_end=job in kept and kept[job][1] <= end_ns,
                accepted=window is not None and window.accepted_ns is not None,
                gone_ns=kept[job][1] if job in kept and kept[job][1] <= end_ns else None,
                port=(window.port if window else 0) or told.port,
                evidence=(window.evidence if window else ()) + told.evidence,
            )
        )

    for window in own:
        hold(keys.get(window.number, ""), window)
    for window in unknown:
        hold(found.get(window.number, ""), window)
    known = {*keys.values(), *found.values()}
    for job in sorted(job for job in kept if job not in known):
        hold(job, None)
    return Windows(
        own=tuple(own),
        unknown=tuple(unknown),
        found=found,
        halfway=halfway,
        foreign=strangers if sighted else None,
        certain=_count(certain),
        possible=_count([*refused, *(one.possible for one in holds)]),
        others_open=_count([span for one in holds if not one.number for span in one.sure]),
        holds=tuple(holds),
        foreign_open=_count([held[job] for job in strangers]),
        overdue=_count(_overdue(own, keys, held, end_ns)),
    )


def _overdue(own: list[Window], keys: dict[int, str], held: Held, end_ns: int) -> Intervals:
    """Return when slots were held too long after their window was over: thrice the usual time, and never less than `LATE_NS`."""
    over = [
        (window.closed_ns, held[keys[window.number]][1])
        for window in own
        if keys.get(window.number) in held and window.closed_ns
    ]
    usual = sorted(until - closed for closed, until in over if closed < until <= end_ns)
    late_ns = max(LATE_NS, 3 * usual[len(usual) // 2]) if usual else RELEASE_NS
    return [(closed + late_ns, until) for closed, until in over if until > closed + late_ns]


def _own(records: Sequence[Record], attempts: Samples) -> tuple[list[Window], list[Window], Intervals]:
    """Return the accepted windows, the ones without an answer, and the intervals in which refused ones were decided."""
    rows = attempts.rows
    creates = rows[(rows["operation"] == attempts.number(CONFIGURE)) & (rows["window"] > 0)]
    sent = dict(zip(creates["window"].tolist(), creates["sent_ns"].tolist(), strict=True))
    accepted: dict[int, Window] = {}
    lost: dict[int, Window] = {}
    for record in records:
        event = record.event
        if isinstance(event, WindowAccepted):
            start_ns = sent.get(event.window, event.at_ns - event.latency_ns)
            accepted[event.window] = Window(
                event.window,
                event.job_id,
                start_ns,
                event.at_ns,
                port=_port(event.address),
                evidence=(identity(record),),
            )
        elif isinstance(event, WindowUnknown):
            lost[event.window] = Window(event.window, "", sent.get(event.window, event.at_ns), None)
            lost[event.window].closed_ns = event.at_ns
            lost[event.window].evidence = (identity(record),)
        elif isinstance(event, FirstFrame) and event.window in accepted:
            accepted[event.window].first_frame_ns = event.at_ns
            accepted[event.window].evidence += (identity(record),)
        elif isinstance(event, WindowClosed) and event.window in accepted:
            accepted[event.window].closed_ns = event.at_ns
            accepted[event.window].outcome = event.outcome
            accepted[event.window].evidence += (identity(record),)
    told = np.isin(creates["window"], ints([*accepted, *lost]))
    rest = creates[~told & (creates["outcome"] != attempts.number(ACCEPTED))]
    refused = list(zip(rest["sent_ns"].tolist(), rest["done_ns"].tolist(), strict=True))
    return list(accepted.values()), list(lost.values()), refused


def _port(address: str) -> int:
    """Return the port of an address; 0 where it names none."""
    port = address.rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def _match(unknown: list[Window], held: Held, by_job: dict[str, Window], blind: Steps) -> dict[int, str]:
    """Give each window without an answer the first job nobody claims that appeared while it may have been made."""
    free = sorted((span[0], job) for job, span in held.items() if job not in by_job)
    starts = [start for start, _ in free]
    later = list(range(len(free) + 1))  # where to look for the next one that is free
    found: dict[int, str] = {}
    for window in sorted(unknown, key=lambda window: window.sent_ns):
        until_ns = (window.closed_ns or window.sent_ns) + FOUND_NS
        index = _next(later, bisect_left(starts, window.sent_ns))
        if index < len(free) and starts[index] <= until_ns:
            found[window.number] = free[index][1]
            later[index] = index + 1
    return found


def _next(later: list[int], index: int) -> int:
    """Follow the pointers to one that points at itself, and make the way shorter for whoever comes next."""
    while later[index] != index:
        later[index] = later[later[index]]
        index = later[index]
    return index


def _halfway(strange: frozenset[str], kept: Held, refused: Intervals) -> frozenset[str]:
    """Return the jobs that appeared while a create of ours was decided that was refused; each create explains one."""
    by_sent = sorted(range(len(refused)), key=lambda index: refused[index][0])
    fitting: list[int] = []  # sent already, the first one on top
    explained = set()
    pushed = 0
    for job in sorted(strange, key=lambda job: kept[job]):
        start_ns = kept[job][0]
        while pushed < len(by_sent) and refused[by_sent[pushed]][0] <= start_ns:
            heappush(fitting, by_sent[pushed])
            pushed += 1
        while fitting and refused[fitting[0]][1] + WATCH_LAG_NS < start_ns:
            heappop(fitting)
        if fitting:
            heappop(fitting)
            explained.add(job)
    return frozenset(explained)


def _certain(window: Window, seen: tuple[int, int] | None, blind: Steps, end_ns: int) -> Intervals:
    parts = surely_held(seen, blind) if seen else []
    if window.first_frame_ns is not None:
        closed_ns = after(end_ns) if window.closed_ns is None else window.closed_ns
        if closed_ns > window.first_frame_ns:
            parts.append((window.first_frame_ns, closed_ns))
    return _joined(parts)


def _sure(
    window: Window,
    seen: tuple[int, int] | None,
    kept: tuple[int, int] | None,
    blind: Steps,
    end_ns: int,
) -> Intervals:
    """Return when a window held its slot whatever was late: with its slot seen, from the answer on; never longer than it was seen.

    A stream that broke was over at some instant before its client knew: then its frames say nothing about the time until then.
    """
    if seen is not None and window.accepted_ns is not None:
        seen = min(seen[0], window.accepted_ns), seen[1]
    parts = surely_held(seen, blind, WATCH_LAG_NS) if seen else []
    if window.first_frame_ns is not None and window.outcome not in BROKEN:
        until_ns = after(end_ns) if window.closed_ns is None else window.closed_ns
        if kept is not None and kept[1] <= end_ns:
            until_ns = min(until_ns, kept[1] - WATCH_LAG_NS)
        if until_ns > window.first_frame_ns:
            parts.append((window.first_frame_ns, until_ns))
    return _joined(parts)


def _joined(parts: Intervals) -> Intervals:
    """Return at most two intervals as one where they touch."""
    if len(parts) == 2 and max(parts[0][0], parts[1][0]) <= min(parts[0][1], parts[1][1]):
        return [(min(parts[0][0], parts[1][0]), max(parts[0][1], parts[1][1]))]
    return parts


def _possible(
    window: Window, seen: tuple[int, int] | None, sure: Intervals, blind: Steps | None, end_ns: int
) -> tuple[int, int]:
    """Return when a window was possibly open; `blind` is None when nobody ever saw the cluster's slots."""
    closed_ns = after(end_ns) if window.closed_ns is None else window.closed_ns
    if seen:
        until_ns = seen[1]
    elif blind is None or blind.highest(ints([window.sent_ns]), ints([closed_ns + FOUND_NS]))[0]:
        until_ns = closed_ns + RELEASE_NS
    else:  # never seen in the cluster, though it was looked at: an answer that was lost, or a watch that lags
        until_ns = closed_ns + FOUND_NS
    ends = [until_ns, closed_ns, *(end for _, end in sure)]
    starts = [window.sent_ns, *(start for start, _ in sure)]
    return min(starts), max(ends)


def _count(intervals: Intervals) -> Steps:
    return Steps.counting(_column(intervals, 0), _column(intervals, 1))


def _column(intervals: Intervals, which: int) -> Ints:
    return ints(interval[which] for interval in intervals)
