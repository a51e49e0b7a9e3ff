"""Distributions of the times that were measured, whole run and per phase. Called by judge."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.history.events import FirstFrame, Outcome, Phase, WindowReady
from harness.history.samples import ACCEPTED, Rows
from harness.judge.findings import Spread
from harness.judge.record import RunRecord, within
from harness.judge.steps import Ints, ints
from harness.measures.portion import Spans as Times

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999, 0.9999)


def spreads(record: RunRecord) -> tuple[Spread, ...]:
    """Return the distributions of answer times, readiness, first frames and frame lag: whole run, then per phase."""
    creates = record.creates
    accepted = creates["outcome"] == record.attempts.number(ACCEPTED)
    refused = creates["outcome"] == record.attempts.number(Outcome.UNAVAILABLE_503)
    ready, first = record.of(WindowReady), record.of(FirstFrame)
    timed: list[tuple[str, Ints, Times]] = [
        ("configure_accepted", *_answers(creates[accepted])),
        ("configure_refused", *_answers(creates[refused])),
        *_as_planned(creates, {"accepted": accepted, "refused": refused}),
        ("ready", ints(e.at_ns for e in ready), ints(e.since_accept_ns for e in ready)),
        ("first_frame", ints(e.at_ns for e in first), ints(e.since_accept_ns for e in first)),
        ("frame_lag", record.frames["at_ns"], record.frames["lag_ns"]),
    ]
    found = []
    for name, at_ns, spans_ns in timed:
        stretches: list[tuple[str, Any]] = [("", record.whole)]
        stretches += [(phase.value, record.spans_of([phase])) for phase in Phase]
        for phase, spans in stretches:
            chosen = spans_ns[within(np.maximum(at_ns, 0), spans)]
            if len(chosen):
                found.append(_spread(name, phase, chosen))
    return tuple(found)


def _answers(creates: Rows) -> tuple[Ints, Times]:
    return creates["done_ns"], creates["done_ns"] - creates["sent_ns"]


def _as_planned(creates: Rows, chosen: dict[str, NDArray[np.bool_]]) -> list[tuple[str, Ints, Times]]:
    """Return the times of open arrivals from the instant each was planned for: what a stall does to those behind it is in them."""
    planned = creates["intended_ns"] != creates["sent_ns"]
    return [
        (f"configure_{name}_planned", rows["done_ns"], rows["done_ns"] - rows["intended_ns"])
        for name, rows in ((name, creates[some & planned]) for name, some in chosen.items())
    ]


def _spread(measure: str, phase: str, spans_ns: Times) -> Spread:
    p50, p90, p95, p99, p999, p9999 = np.quantile(spans_ns, QUANTILES, method="inverted_cdf").tolist()
    return Spread(
        measure=measure,
        phase=phase,
        unit="s",
        count=len(spans_ns),
        mean=round(float(spans_ns.mean())) / 1e9,
        p50=p50 / 1e9,
        p90=p90 / 1e9,
        p95=p95 / 1e9,
        p99=p99 / 1e9,
        p999=p999 / 1e9,
        p9999=p9999 / 1e9,
        max=float(spans_ns.max()) / 1e9,
    )
