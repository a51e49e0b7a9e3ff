"""How long slots are held and by what, and what rate of windows the limit can sustain therefore. Called by judge.

A slot is held while its window gets ready, while it is used, and until cleanup has given it back. The limit divided by the mean of that
life is the rate that can go on for ever; nothing faster can.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from harness.history.events import WindowReady
from harness.judge.findings import ReclaimFinding
from harness.judge.record import COUNTED, SECOND_NS, RunRecord
from harness.judge.steps import Ints, ints
from harness.judge.windows import Hold
from harness.judge.world import World

PARTS = ("ready", "hold", "reclaim")


def reclaim(record: RunRecord, world: World) -> ReclaimFinding:
    """Return how slots were held, in seconds, and the rate that follows."""
    ready_ns = {event.window: event.at_ns for event in record.of(WindowReady)}
    accepted_ns = {window.number: window.accepted_ns for window in world.windows.own}
    over = [
        hold
        for hold in world.windows.holds
        if hold.closed_ns is not None and accepted_ns.get(hold.number) is not None
    ]
    seen = given_back(over, world)
    whole = []
    for hold in seen:
        begun_ns, closed_ns = accepted_ns[hold.number] or 0, hold.closed_ns or 0
        usable_ns = ready_ns.get(
            hold.number, closed_ns
        )  # a window that never gets ready holds its slot all the same
        whole.append((usable_ns - begun_ns, closed_ns - usable_ns, max(0, hold.possible[1] - closed_ns)))
    parts = tuple(ints(life[which] for life in whole) for which in range(len(PARTS)))
    limit = record.run.max_windows
    means = [float(part.mean()) / SECOND_NS for part in parts] if whole else []
    life_s = sum(means)
    quantiles = [(_quantile_s(part, 0.5), _quantile_s(part, 0.95)) for part in parts]
    return ReclaimFinding(
        limit=limit,
        windows=len(whole),
        censored=len(over) - len(whole),
        ready_p50_s=quantiles[0][0],
        ready_p95_s=quantiles[0][1],
        hold_p50_s=quantiles[1][0],
        hold_p95_s=quantiles[1][1],
        reclaim_p50_s=quantiles[2][0],
        reclaim_p95_s=quantiles[2][1],
        sustainable_per_s=round(limit / life_s, 4) if limit is not None and life_s > 0 else None,
        bound_by=PARTS[int(np.argmax(means))] if means else "",
        measured_per_s=_rate(record, (at for at in accepted_ns.values() if at is not None)),
    )


def given_back(holds: Sequence[Hold], world: World) -> list[Hold]:
    """Return the holds whose end was seen when it came; what a watch only found gone when it could see again is left out."""
    ends_ns = ints(hold.possible[1] for hold in holds)
    blind = world.blind_at("services", ends_ns - SECOND_NS, ends_ns)
    return [hold for hold, missed in zip(holds, blind, strict=True) if hold.seen_to_end and not missed]


def _quantile_s(spans_ns: Ints, share: float) -> float | None:
    return round(float(np.quantile(spans_ns, share)) / SECOND_NS, 6) if len(spans_ns) else None


def _rate(record: RunRecord, accepted_ns: Iterable[int]) -> float | None:
    spans = record.spans_of(COUNTED)
    length_ns = sum(to - start for start, to in spans)
    if not length_ns:
        return None
    inside = sum(any(start <= at < to for start, to in spans) for at in accepted_ns)
    return round(inside / (length_ns / SECOND_NS), 4)
