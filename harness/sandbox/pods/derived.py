"""Display values derived from a view definition: row time, frequency axis, channel split.

Used by Focus Server for its answer and by the stream server for the shape of its rows, so that both agree.
Pure arithmetic; formulas and their evidence are in docs/sandbox-focus-server.md. Validates nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """What a stream pod must know to produce a window's rows."""

    first_channel: int
    last_channel: int
    nfft: int
    frequency_min: float
    frequency_max: float
    lines_dt_s: float
    streams: int
    prr: float = 2000.0
    decimation: int = 1

    @property
    def frequencies(self) -> list[float]:
        """Return the bin centres in Hz."""
        step = self.decimation * self.prr / (self.nfft + 1)
        return [k * step for k in self._bin_range]

    @property
    def bins(self) -> int:
        """Return the number of frequency bins of a row."""
        return len(self._bin_range)

    @property
    def channels(self) -> int:
        """Return the number of channels, both ends included."""
        return self.last_channel - self.first_channel + 1

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """Return first and last channel of each stream: contiguous, near-equal, larger groups first."""
        return split(self.first_channel, self.last_channel, self.streams)

    @property
    def channel_to_stream(self) -> dict[str, int]:
        """Return the stream index of each channel, keyed as in the answer by the channel's text."""
        return {
            str(channel): index
            for index, (first, last) in enumerate(self.spans)
            for channel in range(first, last + 1)
        }

    def width(self, stream: int) -> int:
        """Return the samples of one row of a stream: its channels times the bins."""
        first, last = self.spans[stream]
        return (last - first + 1) * self.bins

    @property
    def _bin_range(self) -> range:
        scale = self.nfft / (self.decimation * self.prr)
        first = max(0, math.floor(self.frequency_min * scale))
        return range(first, max(first + 1, math.floor(self.frequency_max * scale)))


def lines_dt_s(duration_s: float, height: int) -> float:
    """Return the time of one display row: the visible duration over the display's height."""
    return duration_s / height


def split(first: int, last: int, streams: int) -> tuple[tuple[int, int], ...]:
    """Return `streams` contiguous spans of channels, larger ones first (50 -> 17, 17, 16)."""
    size, larger = divmod(last - first + 1, streams)
    spans, start = [], first
    for index in range(streams):
        end = start + size + (1 if index < larger else 0)
        spans.append((start, end - 1))
        start = end
    return tuple(spans)


def stream_amount(view_type: int, channels: int, streams: int) -> int:
    """Return how many streams serve a view: one for a single channel view, else `streams` if channels suffice."""
    return 1 if view_type == 1 else max(1, min(streams, channels))
