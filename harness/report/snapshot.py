"""What is known of a running campaign at one moment: the values terminal and `/metrics` show.

Made by `harness.report.live`, read by terminal and metrics. Frozen: a snapshot never changes under its reader. `None` and
missing keys mean that nobody has told yet.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from harness.history.events import FaultStep, LoadState, Phase, SharesSeen, SlotsSeen
from harness.history.histogram import Counts
from harness.history.live import LATENCY_BOUNDS_S
from harness.history.run import RunInfo


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts per bucket of LATENCY_BOUNDS_S (not cumulative, one more for the rest) and the sum in seconds."""

    counts: tuple[int, ...] = (0,) * (len(LATENCY_BOUNDS_S) + 1)
    sum_s: float = 0.0

    @property
    def count(self) -> int:
        """Return how many values were observed."""
        return sum(self.counts)

    def with_value(self, value_s: float) -> "Histogram":
        """Return the histogram with one more value, in seconds."""
        counts = list(self.counts)
        counts[bisect_left(LATENCY_BOUNDS_S, value_s)] += 1
        return Histogram(tuple(counts), self.sum_s + value_s)

    def merged(self, counts: tuple[int, ...], sum_s: float) -> "Histogram":
        """Return the histogram with another one's counts added."""
        both = tuple(a + b for a, b in zip(self.counts, counts, strict=True))
        return Histogram(both, self.sum_s + sum_s)


@dataclass(frozen=True, slots=True)
class LiveFault:
    """One undo entry as far as the live path has told its life."""

    entry: str
    fault: str
    experiment: str
    step: FaultStep
    target: str = ""
    injected_ns: int | None = None
    undone_ns: int | None = None
    held: bool = True

    @property
    def active(self) -> bool:
        """Tell whether the fault is in the world: injected, not undone, and not ended by somebody else."""
        return self.injected_ns is not None and self.undone_ns is None and self.held


@dataclass(frozen=True, slots=True)
class Headline:
    """One line worth a person's eye: when, how bad (info, warning or error), what."""

    at_ns: int
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything terminal and metrics show, at one moment. `None` and missing keys mean: never heard of."""

    run: RunInfo | None
    phase: Phase | None
    step: str
    last_ns: int
    ended: str
    creates: Mapping[str, int]
    requests: Mapping[str, Histogram]
    times: Mapping[tuple[str, str], Counts]
    """Times of requests in nanoseconds as fine histograms, by operation and since when: `sent`, or `planned` (open arrivals)."""
    arrivals: Mapping[str, int]
    """Planned arrivals by fate: `sent`, or why they were not offered."""
    late_max_ns: int | None
    own: Mapping[tuple[str, str], int]
    """Requests of people's own users, by name and `ok` or `failed`."""
    own_times: Mapping[str, Histogram]
    """How long they took, by name."""
    closed: Mapping[str, int]
    ready: Histogram
    first_frame: Histogram
    measured: Mapping[str, int]
    """Sums by the definitions of `harness.measures`."""
    rows: int
    frame_lag_max_ns: int | None
    loads: Mapping[str, LoadState]
    slots: SlotsSeen | None
    shares: SharesSeen | None
    faults: tuple[LiveFault, ...]
    watchers: Mapping[str, bool]
    dependencies: Mapping[str, bool]
    notes: Mapping[str, int]
    lost: int
    headlines: tuple[Headline, ...]

    @property
    def asked(self) -> int:
        """Return how many creates ended, whatever their outcome."""
        return self.measured["creates"]

    @property
    def accepted(self) -> int:
        """Return how many creates were answered 200."""
        return self.measured["accepted"]

    @property
    def refused(self) -> int:
        """Return how many creates were answered 503."""
        return self.measured["refusals"]

    @property
    def frames(self) -> int:
        """Return how many frames were received."""
        return self.measured["frames"]

    @property
    def stream_bytes(self) -> int:
        """Return how many bytes of frames were received."""
        return self.measured["bytes"]

    @property
    def max_windows(self) -> int | None:
        """Return the admission limit, or None where there is none or it is not known."""
        return self.run.max_windows if self.run else None

    @property
    def open_windows(self) -> dict[str, int]:
        """Return the open windows by source, only for the sources that have spoken."""
        counts: dict[str, int] = {}
        if self.loads:
            counts["streams"] = sum(load.streams_open for load in self.loads.values())
        if self.slots is not None:
            counts["pods"] = self.slots.running_pods
            counts["slots"] = self.slots.slots
        return counts

    @property
    def active_faults(self) -> tuple[LiveFault, ...]:
        """Return the faults that are in the world now."""
        return tuple(fault for fault in self.faults if fault.active)
