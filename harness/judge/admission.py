"""The admission limit as an invariant: what the windows did that no allowed order of events explains.

Called by judge. A window counts from some instant between its create's sending and its first certain sight, until some instant after
its last; a create is decided somewhere between sending and answer. A violation is told only where even the kindest choice of all those
instants breaks the rule, so a lagging watch or an answer on its way never raises an alarm. Pure arrays; n log n.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.judge.findings import AdmissionFinding, AdmissionViolation, Proof, Status
from harness.judge.slots import WATCH_LAG_NS
from harness.judge.steps import Ints, Steps, ints
from harness.judge.windows import FOUND_NS, Hold

S = 1_000_000_000
LATE_REFUSAL_NS = 5 * S
"""A refusal that takes longer than this is late; what the field's outage tests ask for."""
LOST_AFTER_NS = 180 * S
"""A slot that is still held this long after its window was over is lost: the longest documented end of a window."""
UNCLEAR_NS = FOUND_NS
"""A create that was neither accepted nor refused may hold a slot for this long after its client knew how it ended."""
UNSHOWN_NS = 5 * S
"""A create of somebody else may hold its slot for this long before anything of it exists in the cluster."""
NO_LIMIT = "the target has no limit"
VIOLATIONS = ("over_admission", "premature_refusal", "late_refusal", "lost_slot", "reuse")
UNSEEN = "nobody could see the windows of others"
MOST_BLIND = 0.25
"""Who looked away for a larger share of the time cannot say that nothing was wrong."""
NOTHING_ASKED = "no window was asked for"


@dataclass(frozen=True, slots=True)
class Refusals:
    """Creates that were refused with 503, in parallel arrays in order of time."""

    sent_ns: Ints
    done_ns: Ints
    explained: NDArray[np.bool_]
    """Another cause held, or somebody was blind."""
    windows: Ints
    """Our number of the window that each asked for."""
    waited_ns: Ints | None = None
    """How long the limit kept each waiting: 0 where another cause refused it, our own lateness taken off; None: all the time."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Stretches of time, in parallel arrays."""

    from_ns: Ints
    to_ns: Ints


NOTHING = Spans(ints(()), ints(()))


def admission(
    holds: Sequence[Hold],
    refusals: Refusals,
    *,
    limit: int | None,
    sighted: bool,
    end_ns: int,
    unclear: Spans = NOTHING,
    blind_share: float = 0.0,
) -> AdmissionFinding:
    """Judge the limit; instants are nanoseconds since the run's start.

    `unclear` are creates that failed in another way than by a 503, or whose answer was lost: each from sending to the end of waiting.
    """
    if limit is None:
        return AdmissionFinding(status=Status.UNJUDGED, reason=NO_LIMIT)
    if not sighted:
        return AdmissionFinding(status=Status.UNJUDGED, reason=UNSEEN)
    if not len(holds) and not len(refusals.sent_ns):
        return AdmissionFinding(status=Status.UNJUDGED, reason=NOTHING_ASKED)
    found = [
        *over_admission(holds, limit),
        *premature_refusals(holds, refusals, limit, unclear),
        *late_refusals(refusals),
        *lost_slots(holds, end_ns),
        *reused(holds),
    ]
    if found:
        kinds = ", ".join(f"{one.kind.replace('_', ' ')} ({one.count})" for one in found)
        return AdmissionFinding(status=Status.FAILED, reason=kinds, violations=tuple(found))
    if blind_share > MOST_BLIND:
        return AdmissionFinding(
            status=Status.UNJUDGED, reason=f"nobody could see the windows for {blind_share:.0%} of the time"
        )
    told = f"{len(holds)} windows and {len(refusals.sent_ns)} refusals, none out of order"
    return AdmissionFinding(status=Status.PASSED, reason=told)


def over_admission(holds: Sequence[Hold], limit: int) -> list[AdmissionViolation]:
    """Find stretches in which more than `limit` windows were certainly open."""
    spans = [(start, end, hold) for hold in holds for start, end in hold.sure]
    certain = Steps.counting(ints(start for start, _, _ in spans), ints(end for _, end, _ in spans))
    above = np.concatenate([[False], certain.values > limit])
    rises = np.flatnonzero(above[1:] & ~above[:-1])
    if not len(rises):
        return []
    first_ns, last_ns = int(certain.at_ns[rises[0] - 1]), int(certain.at_ns[rises[-1] - 1])
    open_now = sorted(
        (start, end, hold.job_id or f"window {hold.number}", hold.evidence)
        for start, end, hold in spans
        if start <= first_ns < end
    )[: limit + 1]
    return [
        AdmissionViolation(
            kind="over_admission",
            count=len(rises),
            first_ns=first_ns,
            last_ns=last_ns,
            sentence=f"{limit + 1} windows were certainly open at once where {limit} are allowed.",
            proof=tuple(
                Proof(what=f"{job} certainly open", from_ns=start, to_ns=end, evidence=evidence)
                for start, end, job, evidence in open_now
            ),
        )
    ]


def most_open(holds: Sequence[Hold], refusals: Refusals, unclear: Spans = NOTHING) -> Steps:
    """Count the slots that can have been held at most as the server saw it, each create that may have been given one among them.

    One slot is held by one window at a time: while two may have held it, it counts once. A server sees the end of a slot as late as
    any watch does. Ends are included: what ends at an instant may have been there at it.
    """
    reach: tuple[int, int, int] | None = None
    spans: list[tuple[int, int]] = []
    for slot, start, end in sorted((hold.slot, *_widest(hold)) for hold in holds):
        if reach is not None and slot and slot == reach[0] and start <= reach[2]:
            reach = (slot, reach[1], max(reach[2], end))
            continue
        if reach is not None:
            spans.append(reach[1:])
        reach = (slot, start, end)
    spans += [reach[1:]] if reach is not None else []
    starts = (refusals.sent_ns, unclear.from_ns, ints(start for start, _ in spans))
    ends = (refusals.done_ns, unclear.to_ns + UNCLEAR_NS, ints(end for _, end in spans))
    return Steps.counting(np.concatenate(starts), np.concatenate(ends) + 1)


def _widest(hold: Hold) -> tuple[int, int]:
    """Return the longest time for which a server may have counted a window; whose it is, only an accepted create tells."""
    start, end = hold.possible
    if hold.job_id and not hold.accepted:
        seen_ns = min((first for first, _ in hold.sure), default=start)
        start = min(start, seen_ns - UNSHOWN_NS - WATCH_LAG_NS)
    return start, (end if hold.gone_ns is None else hold.gone_ns) + WATCH_LAG_NS


def premature_refusals(
    holds: Sequence[Hold], refusals: Refusals, limit: int, unclear: Spans = NOTHING
) -> list[AdmissionViolation]:
    """Find refusals that came while fewer than `limit` windows can have been open, and nothing else explains them."""
    if not len(refusals.sent_ns):
        return []
    most = most_open(holds, refusals, unclear).highest(refusals.sent_ns, refusals.done_ns) - 1
    wrong = np.flatnonzero((most < limit) & ~refusals.explained)
    if not len(wrong):
        return []
    first = int(wrong[0])
    sent_ns, done_ns = int(refusals.sent_ns[first]), int(refusals.done_ns[first])
    around = sorted(
        (*span, hold.job_id or f"window {hold.number}", hold.evidence)
        for hold in holds
        for span in (_widest(hold),)
        if span[0] <= done_ns and sent_ns <= span[1]
    )
    proof = [_refused(refusals, first)]
    proof += [
        Proof(what=f"{job} possibly open", from_ns=start, to_ns=end, evidence=evidence)
        for start, end, job, evidence in around
    ]
    return [
        AdmissionViolation(
            kind="premature_refusal",
            count=len(wrong),
            first_ns=done_ns,
            last_ns=int(refusals.done_ns[wrong[-1]]),
            sentence=(
                f"A create was refused while at most {int(most[first])} windows can have been open of the {limit} allowed, "
                "and no other cause was seen."
            ),
            proof=tuple(proof),
        )
    ]


def _refused(refusals: Refusals, which: int) -> Proof:
    return Proof(
        what=f"create {refusals.windows[which]} refused",
        from_ns=int(refusals.sent_ns[which]),
        to_ns=int(refusals.done_ns[which]),
    )


def late_refusals(refusals: Refusals) -> list[AdmissionViolation]:
    """Find refusals that took too long: a client waits for nothing."""
    took_ns = refusals.done_ns - refusals.sent_ns if refusals.waited_ns is None else refusals.waited_ns
    late = np.flatnonzero(took_ns > LATE_REFUSAL_NS)
    if not len(late):
        return []
    first = int(late[0])
    return [
        AdmissionViolation(
            kind="late_refusal",
            count=len(late),
            first_ns=int(refusals.done_ns[first]),
            last_ns=int(refusals.done_ns[late[-1]]),
            sentence=f"A refusal took {took_ns[first] / S:.1f} s; {LATE_REFUSAL_NS / S:g} s are allowed.",
            proof=(_refused(refusals, first),),
        )
    ]


def lost_slots(holds: Sequence[Hold], end_ns: int) -> list[AdmissionViolation]:
    """Find slots that were certainly held long after their window was over, and were never seen to be given back."""
    lost = [
        (hold.closed_ns, max(end for _, end in hold.sure), hold)
        for hold in holds
        if hold.accepted and hold.closed_ns is not None and hold.sure and not hold.seen_to_end
    ]
    lost = sorted(
        (
            (closed, until, hold)
            for closed, until, hold in lost
            if min(until, end_ns) - closed > LOST_AFTER_NS
        ),
        key=lambda one: one[0],
    )
    if not lost:
        return []
    closed_ns, until_ns, hold = lost[0]
    held_ns = min(until_ns, end_ns)
    return [
        AdmissionViolation(
            kind="lost_slot",
            count=len(lost),
            first_ns=closed_ns + LOST_AFTER_NS,
            last_ns=lost[-1][0] + LOST_AFTER_NS,
            sentence=f"The slot of {hold.job_id} was still held {(held_ns - closed_ns) / S:.0f} s after its window was over.",
            proof=(
                Proof(
                    what=f"{hold.job_id} over for its client",
                    from_ns=closed_ns,
                    to_ns=closed_ns,
                    evidence=hold.evidence,
                ),
                Proof(what=f"slot of {hold.job_id} held", from_ns=hold.possible[0], to_ns=held_ns),
            ),
        )
    ]


def reused(holds: Sequence[Hold]) -> list[AdmissionViolation]:
    """Find slots and ports that were given to a second window while the first certainly held them."""
    spans = sorted(
        (what, number, start, end, hold.job_id, hold.evidence)
        for hold in holds
        for what, number in (("slot", hold.slot), ("port", hold.port))
        if number
        for start, end in hold.sure
    )
    found: list[tuple[_Use, _Use]] = []
    reach: _Use | None = None
    for span in spans:
        if reach is None or span[:2] != reach[:2]:
            reach = span
            continue
        if span[2] < reach[3] and span[4] != reach[4]:
            found.append((reach, span))
        reach = span if span[3] > reach[3] else reach
    if not found:
        return []
    pairs = {(one[4], other[4]): (one, other) for one, other in sorted(found, key=lambda pair: pair[1][2])}
    told = sorted(pairs.values(), key=lambda pair: pair[1][2])
    one, other = told[0]
    return [
        AdmissionViolation(
            kind="reuse",
            count=len(told),
            first_ns=other[2],
            last_ns=told[-1][1][2],
            sentence=f"{one[0].capitalize()} {one[1]} was given to {other[4]} while {one[4]} certainly held it.",
            proof=tuple(
                Proof(what=f"{job} certainly open", from_ns=start, to_ns=end, evidence=evidence)
                for _, _, start, end, job, evidence in (one, other)
            ),
        )
    ]


_Use = tuple[str, int, int, int, str, tuple[str, ...]]
"""A slot or a port, its number, from when to when it was certainly held, by which job, and the records that say so."""
