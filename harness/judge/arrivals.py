"""Whether open arrivals came as planned: on time, late, or not at all, and that all of them are accounted for. Called by judge."""

from collections import Counter

import numpy as np

from harness.history.events import ArrivalsPlanned
from harness.history.samples import SENT
from harness.judge.findings import ArrivalsFinding
from harness.judge.record import SECOND_NS, RunRecord
from harness.measures.measure import quantile_s


def arrivals(record: RunRecord) -> ArrivalsFinding | None:
    """Return what became of the planned arrivals of all engines; None where there was no plan."""
    plans = record.of(ArrivalsPlanned)
    if not plans:
        return None
    rows = record.arrivals.rows
    sent = rows["fate"] == record.arrivals.number(SENT)
    late_ns = (rows["sent_ns"] - rows["intended_ns"])[sent]
    late_after_ns = max(plan.late_after_ns for plan in plans)
    late = int((late_ns > late_after_ns).sum())
    refused: Counter[str] = Counter()
    for fate, count in zip(rows["fate"][~sent].tolist(), rows["count"][~sent].tolist(), strict=True):
        refused[record.arrivals.texts[fate]] += count
    planned = sum(plan.planned for plan in plans)
    different = len(np.unique(rows["window"][sent]))
    twice = int(sent.sum()) - different
    missing = planned - different - sum(refused.values())
    return ArrivalsFinding(
        planned=planned,
        process=plans[0].process,
        late_after_s=late_after_ns / SECOND_NS,
        on_time=len(late_ns) - late,
        late=late,
        not_offered=dict(sorted(refused.items())),
        unaccounted=abs(missing) + twice,
        lateness_p50_s=quantile_s(late_ns, 0.5),
        lateness_p99_s=quantile_s(late_ns, 0.99),
        lateness_max_s=int(late_ns.max()) / SECOND_NS if len(late_ns) else None,
    )
