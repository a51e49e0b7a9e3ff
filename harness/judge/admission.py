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
from harness.judge.steps import Ints, Steps, ints
from harness.judge.windows import Hold

S = 1_000_000_000
LATE_REFUSAL_NS = 5 * S
"""A refusal that takes longer than this is late; what the field's outage tests ask for."""
LOST_AFTER_NS = 180 * S
"""A slot that is still held this long after its window was over is lost: the longest documented end of a window."""
NO_LIMIT = "the target has no limit"
UNSEEN = "nobody could see the windows of others"


@dataclass(frozen=True, slots=True)
class Refusals:
    """Creates that were refused with 503, in parallel arrays."""

    sent_ns: Ints
    done_ns: Ints
    explained: NDArray[np.bool_]
    """Another cause held, or somebody was blind."""


def admission(
    holds: Sequence[Hold],
    refusals: Refusals,
    *,
    limit: int | None,
    sighted: bool,
    end_ns: int,
) -> AdmissionFinding:
    """Judge the limit; instants are nanoseconds since the run's start."""
    if limit is None:
        return AdmissionFinding(status=Status.UNJUDGED, reason=NO_LIMIT)
    if not sighted:
        return AdmissionFinding(status=Status.UNJUDGED, reason=UNSEEN)
    found = [
        *over_admission(holds, limit),
        *premature_refusals(holds, refusals, limit),
        *late_refusals(refusals),
        *lost_slots(holds, end_ns),
        *reused(holds),
    ]
    if found:
        kinds = ", ".join(f"{one.kind.replace('_', ' ')} ({one.count})" for one in found)
        return AdmissionFinding(status=Status.FAILED, reason=kinds, violations=tuple(found))
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
        (start, end, hold.job_id or f"window {hold.number}")
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
                Proof(what=f"{job} certainly open", from_ns=start, to_ns=end) for start, end, job in open_now
            ),
        )
    ]


def most_open(holds: Sequence[Hold], refusals: Refusals) -> Steps:
    """Count the windows that can have been open at most, each refused create among them while it was decided.

    One slot is held by one window at a time: while two may have held it, it counts once.
    """
    starts, ends = [refusals.sent_ns], [refusals.done_ns]
    reach: tuple[int, int, int] | None = None
    spans: list[tuple[int, int]] = []
    for slot, start, end in sorted((hold.slot, *hold.possible) for hold in holds):
        if reach is not None and slot and slot == reach[0] and start <= reach[2]:
            reach = (slot, reach[1], max(reach[2], end))
            continue
        if reach is not None:
            spans.append(reach[1:])
        reach = (slot, start, end)
    spans += [reach[1:]] if reach is not None else []
    starts.append(ints(start for start, _ in spans))
    ends.append(ints(end for _, end in spans))
    return Steps.counting(np.concatenate(starts), np.concatenate(ends))


def premature_refusals(holds: Sequence[Hold], refusals: Refusals, limit: int) -> list[AdmissionViolation]:
    """Find refusals that came while fewer than `limit` windows can have been open, and nothing else explains them."""
    if not len(refusals.sent_ns):
        return []
    own = (refusals.done_ns > refusals.sent_ns).astype(np.int64)
    most = most_open(holds, refusals).highest(refusals.sent_ns, refusals.done_ns) - own
    wrong = np.flatnonzero((most < limit) & ~refusals.explained)
    if not len(wrong):
        return []
    first = int(wrong[0])
    sent_ns, done_ns = int(refusals.sent_ns[first]), int(refusals.done_ns[first])
    around = sorted(
        (hold.possible[0], hold.possible[1], hold.job_id or f"window {hold.number}")
        for hold in holds
        if hold.possible[0] <= done_ns and sent_ns < hold.possible[1]
    )
    proof = [Proof(what="the refused create", from_ns=sent_ns, to_ns=done_ns)]
    proof += [Proof(what=f"{job} possibly open", from_ns=start, to_ns=end) for start, end, job in around]
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


def late_refusals(refusals: Refusals) -> list[AdmissionViolation]:
    """Find refusals that took too long: a client waits for nothing."""
    took_ns = refusals.done_ns - refusals.sent_ns
    late = np.flatnonzero(took_ns > LATE_REFUSAL_NS)
    if not len(late):
        return []
    first = int(late[0])
    sent_ns, done_ns = int(refusals.sent_ns[first]), int(refusals.done_ns[first])
    return [
        AdmissionViolation(
            kind="late_refusal",
            count=len(late),
            first_ns=done_ns,
            last_ns=int(refusals.done_ns[late[-1]]),
            sentence=f"A refusal took {took_ns[first] / S:.1f} s; {LATE_REFUSAL_NS / S:g} s are allowed.",
            proof=(Proof(what="the refused create", from_ns=sent_ns, to_ns=done_ns),),
        )
    ]


def lost_slots(holds: Sequence[Hold], end_ns: int) -> list[AdmissionViolation]:
    """Find slots that were certainly held long after their window was over, and were never seen to be given back."""
    lost = [
        (hold.closed_ns, max(end for _, end in hold.sure), hold)
        for hold in holds
        if hold.closed_ns is not None and hold.sure and not hold.seen_to_end
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
                Proof(what=f"{hold.job_id} over for its client", from_ns=closed_ns, to_ns=closed_ns),
                Proof(what=f"slot of {hold.job_id} held", from_ns=hold.possible[0], to_ns=held_ns),
            ),
        )
    ]


def reused(holds: Sequence[Hold]) -> list[AdmissionViolation]:
    """Find slots that were given to a second window while the first certainly held them."""
    spans = sorted(
        (hold.slot, start, end, hold.job_id) for hold in holds if hold.slot for start, end in hold.sure
    )
    found = []
    reach: tuple[int, int, int, str] | None = None
    for span in spans:
        if reach is not None and span[0] == reach[0]:
            if span[1] < reach[2] and span[3] != reach[3]:
                found.append((reach, span))
            reach = span if span[2] > reach[2] else reach
        else:
            reach = span
    if not found:
        return []
    found.sort(key=lambda pair: pair[1][1])
    one, other = found[0]
    return [
        AdmissionViolation(
            kind="reuse",
            count=len(found),
            first_ns=other[1],
            last_ns=found[-1][1][1],
            sentence=f"Slot {one[0]} was given to {other[3]} while {one[3]} certainly held it.",
            proof=tuple(
                Proof(what=f"{job} certainly open", from_ns=start, to_ns=end)
                for _, start, end, job in (one, other)
            ),
        )
    ]
