"""A portion of what happened, in the one form all measures read: from files after the run, or live while it goes.

`of_samples` and `of_records` make portions of a history, `of_second` and `of_record` of the live path's messages. Both count
the same; what the live path does not carry (single latencies) is empty there, and a measure of it has no value then.
Facts that only judging can establish (open windows as an interval, recoveries, holes in the record) are put in by judge.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.history.events import Record
from harness.history.live import Second
from harness.history.reader import Samples
from harness.history.samples import SENT, Rows

Spans = NDArray[np.int64]
"""Lengths of time in nanoseconds, one per sample."""

NO_SPANS: Spans = np.empty(0, dtype=np.int64)


def of_spans(spans_ns: Iterable[int]) -> Spans:
    """Return spans in nanoseconds as an array."""
    return np.fromiter(spans_ns, dtype=np.int64)


Attempt = tuple[str, str]
"""An operation and an outcome, as in the attempts' text columns."""

Request = tuple[str, str]
"""A type and a name, as in the requests' text columns."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What one fault did to streams and answers, and how long the success rate was away."""

    experiment: str
    baseline_after_s: float | None
    """From undone until accepted creates were back; infinite if they never came back; None without an effect."""
    streams: int
    interrupted: int
    errors: int
    dirty: int


@dataclass(frozen=True, slots=True)
class Portion:
    """Some of a run; every field adds up when portions are put together."""

    attempts: Mapping[Attempt, int] = field(default_factory=dict)
    latencies_ns: Mapping[Attempt, Spans] = field(default_factory=dict)
    """Sent to last byte, per attempt. Empty on the live path."""
    planned_ns: Mapping[Attempt, Spans] = field(default_factory=dict)
    """Intended instant to last byte, per attempt. Empty on the live path."""
    arrivals: Mapping[str, int] = field(default_factory=dict)
    """Planned arrivals by fate: `sent`, or why they were not offered."""
    lateness_ns: Spans = field(default_factory=lambda: NO_SPANS)
    """Of each arrival that was sent: how much later than intended. Empty on the live path."""
    own: Mapping[Request, tuple[int, int]] = field(default_factory=dict)
    """Requests of people's own users by type and name: how many, and how many of them failed."""
    own_ns: Mapping[Request, Spans] = field(default_factory=dict)
    """How long they took, failed or not. Empty on the live path."""
    frames: int = 0
    rows: int = 0
    bytes: int = 0
    lags_ns: Spans = field(default_factory=lambda: NO_SPANS)
    """Per frame. Empty on the live path, which has only the greatest one."""
    lag_max_ns: int | None = None
    records: tuple[Record, ...] = ()
    open_certain: int | None = None
    """Highest count of certainly open windows."""
    open_possible: int | None = None
    recoveries: tuple[tuple[str, float], ...] = ()
    """Experiment and seconds from undone to first success, infinite if it never came; only faults that had an effect."""
    causes: Mapping[str, int] | None = None
    """Failures by primary cause; None when nobody has looked for causes."""
    violations: Mapping[str, int] | None = None
    """Violations of the admission limit by kind, of the whole run; None when it could not be judged."""
    recovered: tuple[Recovered, ...] = ()
    """What became of streams and errors during each fault."""
    figures: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    """What was concluded of the whole run, by measure: value, and from how many windows or frames it comes."""
    breaches: int | None = None
    """Bounds of the run's validity that it is outside of; None when nobody has looked."""
    holes: tuple[str, ...] | None = None
    """What is missing from the record; None when nobody has looked."""

    def creates(self, *outcomes: str) -> int:
        """Count the creates, of the given outcomes or of all."""
        return sum(
            count
            for (operation, outcome), count in self.attempts.items()
            if operation == CONFIGURE and (not outcomes or outcome in outcomes)
        )

    def create_latencies_ns(self, *outcomes: str, planned: bool = False) -> Spans:
        """Return how long creates took, of the given outcomes or of all; `planned`: from the intended instant on."""
        found = [
            spans
            for (operation, outcome), spans in (self.planned_ns if planned else self.latencies_ns).items()
            if operation == CONFIGURE and (not outcomes or outcome in outcomes)
        ]
        return np.concatenate(found) if found else NO_SPANS

    def own_requests(self, of: str = "") -> tuple[int, int]:
        """Count the requests of people's own users of one name (or of all), and all of them."""
        count = sum(count for request, (count, _) in self.own.items() if named(request, of))
        return count, sum(count for count, _ in self.own.values())

    def own_failed(self, of: str = "") -> tuple[int, int]:
        """Count those that failed of the requests of people's own users of one name (or of all), and those requests."""
        return sum(
            failed for request, (_, failed) in self.own.items() if named(request, of)
        ), self.own_requests(of)[0]

    def own_latencies_ns(self, of: str = "") -> Spans:
        """Return how long requests of people's own users took, of one name or of all."""
        found = [spans for request, spans in self.own_ns.items() if named(request, of)]
        return np.concatenate(found) if found else NO_SPANS


def named(request: Request, of: str) -> bool:
    """Say whether a request is meant by `of`: its name, its type and name, or nothing (which means all)."""
    return of in ("", request[1], f"{request[0]} {request[1]}")


CONFIGURE = "configure"
"""The `operation` text of an attempt to open a window."""


def of_samples(attempts: Samples, attempt_rows: Rows, frame_rows: Rows) -> Portion:
    """Make a portion of rows of samples; `attempts` gives the texts that `attempt_rows` point into."""
    keys = attempt_rows["operation"].astype(np.uint64) << np.uint64(32) | attempt_rows["outcome"]
    order = np.argsort(keys, kind="stable")
    values, starts = np.unique(keys[order], return_index=True)
    names = [(attempts.texts[int(key) >> 32], attempts.texts[int(key) & 0xFFFFFFFF]) for key in values]

    def since(instant: str) -> dict[Attempt, Spans]:
        spans = (attempt_rows["done_ns"] - attempt_rows[instant])[order]
        return dict(zip(names, np.split(spans, starts[1:]) if names else [], strict=True))

    sent = since("sent_ns")
    return Portion(
        attempts={name: len(spans) for name, spans in sent.items()},
        latencies_ns=sent,
        planned_ns=since("intended_ns"),
        frames=len(frame_rows),
        rows=int(frame_rows["rows"].sum()),
        bytes=int(frame_rows["bytes"].sum()),
        lags_ns=frame_rows["lag_ns"],
        lag_max_ns=int(frame_rows["lag_ns"].max()) if len(frame_rows) else None,
    )


def of_arrivals(arrivals: Samples, rows: Rows) -> Portion:
    """Make a portion of what became of planned arrivals; `arrivals` gives the texts that `rows` point into."""
    fates: dict[str, int] = {}
    for fate, count in zip(rows["fate"].tolist(), rows["count"].tolist(), strict=True):
        name = arrivals.texts[fate]
        fates[name] = fates.get(name, 0) + count
    sent = rows[rows["fate"] == arrivals.number(SENT)]
    return Portion(arrivals=fates, lateness_ns=sent["sent_ns"] - sent["intended_ns"])


def of_requests(requests: Samples, rows: Rows) -> Portion:
    """Make a portion of requests of people's own users; `requests` gives the texts that `rows` point into."""
    keys = rows["type"].astype(np.uint64) << np.uint64(32) | rows["name"]
    failed = rows["error"] != requests.number("")
    counts: dict[Request, tuple[int, int]] = {}
    spans: dict[Request, Spans] = {}
    for key in np.unique(keys).tolist():
        chosen = keys == key
        request = (requests.texts[key >> 32], requests.texts[key & 0xFFFFFFFF])
        counts[request] = (int(chosen.sum()), int(failed[chosen].sum()))
        spans[request] = rows["took_ns"][chosen]
    return Portion(own=counts, own_ns=spans)


def of_second(second: Second) -> Portion:
    """Make a portion of one live aggregate."""
    return Portion(
        attempts={(count.operation, count.outcome): count.count for count in second.attempts},
        arrivals=second.arrivals,
        own={(one.type, one.name): (one.count, one.failed) for one in second.requests},
        frames=second.frames,
        rows=second.rows,
        bytes=second.bytes,
        lag_max_ns=second.lag_max_ns if second.frames else None,
    )


def of_records(records: Iterable[Record]) -> Portion:
    """Make a portion of events."""
    return Portion(records=tuple(records))


def of_record(record: Record) -> Portion:
    """Make a portion of one live event."""
    return Portion(records=(record,))
