"""A run's record in the arrays and spans that judging works on: creates, frames, phases, the last instant.

Called by everything in this package that makes a table. It also cuts portions for the measures: one rule for what belongs
to a stretch of time (an attempt belongs to the instant its outcome was known).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.history.events import Event, Phase, PhaseChanged, Record, RunEnded
from harness.history.reader import History, Samples
from harness.history.run import RunInfo
from harness.history.samples import ARRIVALS, ATTEMPTS, FEED, FRAMES, REQUESTS, Rows, SampleKind
from harness.judge.findings import PhaseSpan
from harness.judge.kinds import Kind, by_kind
from harness.judge.steps import Ints, ints
from harness.measures.portion import CONFIGURE, Portion, of_arrivals, of_requests, of_samples

SECOND_NS = 1_000_000_000
Spans = tuple[tuple[int, int], ...]
"""Stretches of time [from, to), not overlapping, in order."""
PHASES = tuple(Phase)
COUNTED = tuple(phase for phase in Phase if phase not in (Phase.WARM_UP, Phase.DRAIN))
"""The phases that count where nobody says which."""


@dataclass(frozen=True)
class RunRecord:
    """One run: what it was, what was recorded, and both in arrays."""

    run: RunInfo
    history: History

    @property
    def records(self) -> tuple[Record, ...]:
        """All events, in order of time."""
        return self.history.events

    @cached_property
    def _by_kind(self) -> dict[type[Event], list[Record]]:
        return by_kind(self.records)

    def of(self, kind: type[Kind]) -> list[Kind]:
        """Return all events of one kind, in order of time."""
        return [record.event for record in self._by_kind.get(kind, ())]  # type: ignore[misc]

    @cached_property
    def attempts(self) -> Samples:
        """Every HTTP attempt."""
        return self._samples(ATTEMPTS)

    @cached_property
    def arrivals(self) -> Samples:
        """What became of every planned arrival."""
        return self._samples(ARRIVALS)

    @cached_property
    def requests(self) -> Samples:
        """Every request of people's own users."""
        return self._samples(REQUESTS)

    @cached_property
    def feed(self) -> Samples:
        """Every row of a feed that was handed out."""
        return self._samples(FEED)

    def _samples(self, kind: SampleKind) -> Samples:
        return self.history.samples.get(kind.name) or Samples(kind, np.empty(0, kind.dtype), ())

    @cached_property
    def frames(self) -> Rows:
        """Every frame."""
        found = self.history.samples.get(FRAMES.name)
        return np.empty(0, FRAMES.dtype) if found is None else found.rows

    @cached_property
    def answered_ns(self) -> Ints:
        """When each request of people's own users was over."""
        over: Ints = self.requests.rows["sent_ns"] + self.requests.rows["took_ns"]
        return over

    @cached_property
    def creates(self) -> Rows:
        """Every `POST /configure`, by the instant its outcome was known."""
        rows = self.attempts.rows
        chosen = rows[rows["operation"] == self.attempts.number(CONFIGURE)]
        ordered: Rows = chosen[np.argsort(chosen["done_ns"], kind="stable")]
        return ordered

    @cached_property
    def ended(self) -> RunEnded | None:
        """The run's end as the conductor wrote it."""
        ends = self.of(RunEnded)
        return ends[-1] if ends else None

    @cached_property
    def end_ns(self) -> int:
        """The run's last instant: whatever was recorded last."""
        last = [record.event.at_ns for record in self.records[-1:]]
        last += [int(self.attempts.rows["done_ns"].max())] if len(self.attempts.rows) else []
        last += [int(self.frames["at_ns"].max())] if len(self.frames) else []
        last += [int(self.answered_ns.max())] if len(self.requests.rows) else []
        return max(last, default=0)

    # --- phases -----------------------------------------------------------------------------------

    @cached_property
    def phases(self) -> tuple[PhaseSpan, ...]:
        """The run's stretches, without holes; before the first change it is warming up."""
        spans: list[PhaseSpan] = []
        phase, step, from_ns = Phase.WARM_UP, "", 0
        for change in self.of(PhaseChanged):
            if change.at_ns > from_ns:
                spans.append(PhaseSpan(phase=phase, step=step, from_ns=from_ns, to_ns=change.at_ns))
            phase, step, from_ns = change.phase, change.step, max(change.at_ns, from_ns)
        spans.append(PhaseSpan(phase=phase, step=step, from_ns=from_ns, to_ns=max(self.end_ns + 1, from_ns)))
        return tuple(spans)

    @cached_property
    def drain_ns(self) -> int | None:
        """When the last phase began, None if the run did not come so far."""
        begun = [change.at_ns for change in self.of(PhaseChanged) if change.phase is Phase.DRAIN]
        return begun[0] if begun else None

    def phase_index(self, at_ns: Ints) -> Ints:
        """Return the phase at each instant, as an index into `PHASES`."""
        edges = ints(span.from_ns for span in self.phases[1:])
        numbers = ints(PHASES.index(span.phase) for span in self.phases)
        found: Ints = numbers[np.searchsorted(edges, at_ns, side="right")]
        return found

    def spans_of(self, phases: Iterable[Phase]) -> Spans:
        """Return the stretches of the run in any of `phases`."""
        wanted = set(phases)
        return joined((span.from_ns, span.to_ns) for span in self.phases if span.phase in wanted)

    @property
    def whole(self) -> Spans:
        """The whole run."""
        return ((0, self.end_ns + 1),)

    # --- portions ---------------------------------------------------------------------------------

    def portion(self, spans: Spans) -> Portion:
        """Return what happened within `spans`: samples and events."""
        rows = self.attempts.rows
        portion = of_samples(
            self.attempts,
            rows[within(rows["done_ns"], spans)],
            self.frames[within(self.frames["at_ns"], spans)],
        )
        came = self.arrivals.rows[within(self.arrivals.rows["intended_ns"], spans)]
        arrived = of_arrivals(self.arrivals, came)
        own = of_requests(self.requests, self.requests.rows[within(self.answered_ns, spans)])
        chosen = within(self._event_ns, spans)
        events = tuple(self.records[i] for i in np.flatnonzero(chosen))
        return Portion(
            attempts=portion.attempts,
            latencies_ns=portion.latencies_ns,
            planned_ns=portion.planned_ns,
            arrivals=arrived.arrivals,
            lateness_ns=arrived.lateness_ns,
            own=own.own,
            own_ns=own.own_ns,
            frames=portion.frames,
            rows=portion.rows,
            bytes=portion.bytes,
            lags_ns=portion.lags_ns,
            lag_max_ns=portion.lag_max_ns,
            records=events,
        )

    @cached_property
    def _event_ns(self) -> Ints:
        return ints(record.event.at_ns for record in self.records)


def within(at_ns: Ints, spans: Spans) -> NDArray[np.bool_]:
    """Say of each instant whether it lies in one of the spans."""
    edges = ints(edge for span in spans for edge in span)
    inside: NDArray[np.bool_] = np.searchsorted(edges, at_ns, side="right") % 2 == 1
    return inside


def joined(spans: Iterable[tuple[int, int]]) -> Spans:
    """Return spans in order with overlapping and touching ones made one, empty ones left out."""
    result: list[tuple[int, int]] = []
    for from_ns, to_ns in sorted(span for span in spans if span[1] > span[0]):
        if result and from_ns <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], to_ns))
        else:
            result.append((from_ns, to_ns))
    return tuple(result)


def outcome_counts(creates: Rows, texts: tuple[str, ...]) -> dict[str, int]:
    """Count creates by outcome, in the outcomes' alphabetical order."""
    numbers, counts = np.unique(creates["outcome"], return_counts=True)
    named = {texts[int(number)]: int(count) for number, count in zip(numbers, counts, strict=True)}
    return dict(sorted(named.items()))
