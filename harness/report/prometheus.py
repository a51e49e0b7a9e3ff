"""`/metrics` of a running campaign, in Prometheus' text format.

The conductor calls `serve_metrics(state)` and closes it after the run. One collector turns a snapshot of the live state
into metric families at each scrape, so there is no second count that could disagree with the terminal. Labels come from
closed or capped sets: never a job id, a URL, a pod. What has never been heard of is absent, not 0.
"""

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Thread
from types import TracebackType
from typing import Self
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from harness.clock import SECOND_NS
from harness.errors import InputError
from harness.history.events import Outcome, Phase
from harness.history.histogram import quantile
from harness.history.live import LATENCY_BOUNDS_S
from harness.history.samples import ACCEPTED
from harness.report.live import LiveState
from harness.report.snapshot import Histogram, Snapshot

QUANTILES = (0.5, 0.9, 0.99, 0.999, 0.9999)
LOOPBACK = "127.0.0.1"

Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family: its public name, its meaning, its labels and how to read it off a snapshot."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    read: Callable[[Snapshot], Iterable[Sample]]

    def metric(self, snapshot: Snapshot) -> Metric:
        """Return the family with its present samples."""
        if self.kind == "counter":
            counter = CounterMetricFamily(self.name.removesuffix("_total"), self.meaning, labels=self.labels)
            for labels, value in self.read(snapshot):
                counter.add_metric(labels, value)
            return counter
        gauge = GaugeMetricFamily(self.name, self.meaning, labels=self.labels)
        for labels, value in self.read(snapshot):
            gauge.add_metric(labels, value)
        return gauge


@dataclass(frozen=True, slots=True)
class Distribution:
    """One histogram family."""

    name: str
    labels: tuple[str, ...]
    meaning: str
    read: Callable[[Snapshot], Iterable[tuple[tuple[str, ...], Histogram]]]
    kind: str = "histogram"

    def metric(self, snapshot: Snapshot) -> Metric:
        """Return the family with cumulative buckets."""
        family = HistogramMetricFamily(self.name, self.meaning, labels=self.labels)
        for labels, histogram in self.read(snapshot):
            family.add_metric(labels, list(_cumulative(histogram)), histogram.sum_s)
        return family


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The info family: which run this is."""

    name: str = "harness_run_info"
    labels: tuple[str, ...] = ("run_id", "campaign", "target", "version", "seed", "sandbox")
    meaning: str = "Which run this is; always 1."
    kind: str = "gauge"

    def metric(self, snapshot: Snapshot) -> Metric:
        """Return the one sample with the run's facts as labels."""
        family = InfoMetricFamily(self.name.removesuffix("_info"), self.meaning)
        run = snapshot.run
        if run is not None:
            values = (
                run.run_id,
                run.campaign,
                run.target,
                run.harness_version,
                str(run.seed),
                run.sandbox or "no",
            )
            family.add_metric([], dict(zip(self.labels, values, strict=True)))
        return family


def _one(value: float | None) -> tuple[Sample, ...]:
    return () if value is None else (((), value),)


def _each(values: Iterable[tuple[str, float]]) -> Iterator[Sample]:
    for label, value in sorted(values):
        yield (label,), value


def _creates(snapshot: Snapshot) -> Iterator[Sample]:
    # Both ends of the story are there from the first scrape, so that rate() sees their first increase.
    counts = {ACCEPTED: 0, Outcome.UNAVAILABLE_503.value: 0} | dict(snapshot.creates)
    return _each(counts.items())


def _quantiles(snapshot: Snapshot) -> Iterator[Sample]:
    for (operation, since), counts in sorted(snapshot.times.items()):
        for q in QUANTILES:
            value_ns = quantile(counts, q)
            if value_ns is not None:
                yield (operation, since, f"{q:g}"), value_ns / SECOND_NS


def _faults(snapshot: Snapshot) -> Iterator[Sample]:
    active: dict[tuple[str, str], int] = {}
    for fault in snapshot.faults:
        key = (fault.experiment, fault.fault)
        active[key] = active.get(key, 0) + fault.active
    for key, count in sorted(active.items()):
        yield key, count


def _shares(snapshot: Snapshot) -> Iterator[Sample]:
    shares = snapshot.shares
    if shares is not None:
        states = {
            "total": shares.total,
            "used": shares.used,
            "free": shares.free,
            "free_schedulable": shares.free_schedulable,
            "hogs": shares.by_hogs,
        }
        yield from _each(states.items())


def _from_load(read: Callable[[Snapshot], float]) -> Callable[[Snapshot], tuple[Sample, ...]]:
    return lambda snapshot: _one(read(snapshot) if snapshot.loads else None)


FAMILIES: tuple[Family | Distribution | RunFacts, ...] = (
    RunFacts(),
    Family(
        "harness_phase", "gauge", ("phase",), "1 for the phase the run is in, 0 for the others.",
        lambda s: (((phase.value,), float(s.phase is phase)) for phase in Phase),
    ),
    Family(
        "harness_run_planned_seconds", "gauge", (), "How long the campaign is planned to take.",
        lambda s: _one(s.run.planned_s if s.run else None),
    ),
    Family(
        "harness_run_elapsed_seconds", "gauge", (), "Instant of the latest live event, from the run's start.",
        lambda s: _one(s.last_ns / SECOND_NS),
    ),
    Family(
        "harness_creates_total", "counter", ("outcome",),
        "POST /configure by outcome: accepted for a 200, else why no window opened.", _creates,
    ),
    Family(
        "harness_refusals_total", "counter", (), "POST /configure answered 503.",
        lambda s: _one(s.refused),
    ),
    Distribution(
        "harness_request_duration_seconds", ("operation",),
        "HTTP requests from sending to the last byte of the answer, or to giving up.",
        lambda s: (((operation,), histogram) for operation, histogram in sorted(s.requests.items())),
    ),
    Family(
        "harness_request_quantile_seconds", "gauge", ("operation", "since", "q"),
        "HTTP requests so far, within 0.05 %: since sent, or since the instant an open arrival was planned for.",
        _quantiles,
    ),
    Family(
        "harness_arrivals_total", "counter", ("fate",),
        "Planned arrivals by fate: sent, or the limit that kept them from being offered.",
        lambda s: _each(s.arrivals.items()),
    ),
    Family(
        "harness_arrival_lateness_max_seconds", "gauge", (),
        "How much later than planned an arrival of the last second was sent, at worst.",
        lambda s: _one(None if s.late_max_ns is None else s.late_max_ns / SECOND_NS),
    ),
    Family(
        "harness_own_requests_total", "counter", ("name", "outcome"),
        "Requests of people's own users, by the name they give them: ok or failed.",
        lambda s: ((labels, float(count)) for labels, count in sorted(s.own.items())),
    ),
    Distribution(
        "harness_own_request_duration_seconds", ("name",),
        "How long requests of people's own users took, failed or not.",
        lambda s: (((name,), histogram) for name, histogram in sorted(s.own_times.items())),
    ),
    Family(
        "harness_creates_in_flight", "gauge", (), "POST /configure sent and not yet answered.",
        _from_load(lambda s: sum(load.creates for load in s.loads.values())),
    ),
    Family(
        "harness_open_windows", "gauge", ("source",),
        "Open windows by source: streams (own live streams), pods (running stream pods), slots (held Services).",
        lambda s: _each(s.open_windows.items()),
    ),
    Family(
        "harness_max_windows", "gauge", (), "MaxWindows, the server's admission limit; absent if none or unknown.",
        lambda s: _one(s.max_windows),
    ),
    Family(
        "harness_windows_wanted", "gauge", (), "Windows the load wants open now.",
        _from_load(lambda s: sum(load.wanted for load in s.loads.values())),
    ),
    Family(
        "harness_windows_opening", "gauge", (), "Own windows accepted and not ready yet.",
        _from_load(lambda s: sum(load.opening for load in s.loads.values())),
    ),
    Family(
        "harness_windows_unknown", "gauge", (), "Own windows whose create got no answer: possibly open.",
        _from_load(lambda s: sum(load.unknown for load in s.loads.values())),
    ),
    Family(
        "harness_windows_closed_total", "counter", ("outcome",), "Accepted windows that ended, by outcome.",
        lambda s: _each(s.closed.items()),
    ),
    Distribution(
        "harness_window_ready_seconds", (), "From the 200 to a ready stream channel.",
        lambda s: (((), s.ready),),
    ),
    Distribution(
        "harness_first_frame_seconds", (), "From the 200 to the first frame of the window's own job.",
        lambda s: (((), s.first_frame),),
    ),
    Family(
        "harness_streams_broken_total", "counter", (),
        "Windows whose stream broke, before or after its first frame.", lambda s: _one(s.measured["streams_broken"]),
    ),
    Family("harness_frames_total", "counter", (), "gRPC messages received.", lambda s: _one(s.frames)),
    Family("harness_stream_rows_total", "counter", (), "Spectrogram rows received.", lambda s: _one(s.rows)),
    Family(
        "harness_stream_bytes_total", "counter", (), "Bytes of the gRPC messages received.",
        lambda s: _one(s.stream_bytes),
    ),
    Family(
        "harness_frame_lag_max_seconds", "gauge", (),
        "Worst frame of the last second: how much later it came than its stream's pace.",
        lambda s: _one(None if s.frame_lag_max_ns is None else s.frame_lag_max_ns / SECOND_NS),
    ),
    Family(
        "harness_fault_active", "gauge", ("experiment", "fault"),
        "Undo entries of this fault now in the world: injected, held and not yet undone.", _faults,
    ),
    Family(
        "harness_gpu_shares", "gauge", ("state",),
        "GPU shares of the workers: total, used, free, free_schedulable, and those held by hogs.", _shares,
    ),
    Family(
        "harness_dependency_up", "gauge", ("dependency",), "1 if it answered the last look, else 0.",
        lambda s: _each(s.dependencies.items()),
    ),
    Family(
        "harness_watcher_seeing", "gauge", ("watcher",), "1 if the watcher sees, 0 if it is blind.",
        lambda s: _each(s.watchers.items()),
    ),
    Family(
        "harness_load_cpu_ratio", "gauge", (), "Share of one core that the load's processes use.",
        _from_load(lambda s: sum(load.cpu for load in s.loads.values())),
    ),
    Family(
        "harness_load_loop_lag_seconds", "gauge", (),
        "Worst lateness of an engine's event loop within the last second.",
        _from_load(lambda s: max(load.lag_ns for load in s.loads.values()) / SECOND_NS),
    ),
    Family(
        "harness_notes_total", "counter", ("level",), "Notes in the record, by level.",
        lambda s: _each(s.notes.items()),
    ),
    Family(
        "harness_drift_total", "counter", (), "Tolerated departures from the contract, each counted once.",
        lambda s: _one(s.measured["drift"]),
    ),
    Family(
        "harness_leftovers_total", "counter", (), "Objects found that should have been gone.",
        lambda s: _one(s.measured["leftovers"]),
    ),
    Family(
        "harness_live_messages_lost_total", "counter", (),
        "Events that are in the record and never arrived on the live path.", lambda s: _one(s.lost),
    ),
)  # fmt: skip
"""Every family, in the order of the exposition; the public names (docs/metrics.md)."""


class LiveCollector(Collector):
    """Turns the live state into metric families at each scrape."""

    def __init__(self, state: LiveState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Yield every family that has something to say."""
        snapshot = self._state.snapshot()
        for family in FAMILIES:
            metric = family.metric(snapshot)
            if metric.samples:
                yield metric


class MetricsServer:
    """A running `/metrics`; a context manager, closed by `close()`."""

    def __init__(self, server: WSGIServer, thread: Thread, address: str) -> None:
        self._server = server
        self._thread = thread
        self.address = address
        self.port: int = server.server_port

    @property
    def url(self) -> str:
        """Return the address to give to Prometheus or curl."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}/metrics"

    def close(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def registry_of(state: LiveState) -> CollectorRegistry:
    """Return a registry that exposes `state` and nothing else."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LiveCollector(state))
    return registry


def serve_metrics(state: LiveState, address: str = LOOPBACK, port: int = 0) -> MetricsServer:
    """Serve `state` at http://address:port/metrics; port 0 takes a free one (read `.url`).

    Raises InputError when the port is taken or the address is not one of this host's.
    """
    try:
        server, thread = start_http_server(port, address, registry_of(state))
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            reason = "something else listens there; choose another port, or 0 for a free one"
        elif isinstance(error, OSError) and error.errno == errno.EACCES:
            reason = "this user may not; choose a port above 1023, or 0 for a free one"
        else:
            reason = f"{error}; use an address of this host, such as {LOOPBACK}, and a port up to 65535"
        raise InputError(f"cannot serve metrics at {address}:{port}: {reason}") from error
    return MetricsServer(server, thread, address)


def _cumulative(histogram: Histogram) -> Iterator[tuple[str, float]]:
    total = 0
    bounds = (*(f"{bound:g}" for bound in LATENCY_BOUNDS_S), "+Inf")
    for bound, count in zip(bounds, histogram.counts, strict=True):
        total += count
        yield bound, total
