"""The live path: what every writer also tells the conductor, over one Unix datagram socket.

Terminal, /metrics and `stop_when` read only this. It may lose messages (and counts them); the record on disk may not.
Two kinds of message, both JSON: an event's record line, and a `Second`, the aggregate of one flushed block of samples.
"""

import socket
from pathlib import Path

import msgspec
import numpy as np

from harness.history.events import Record
from harness.history.histogram import counted
from harness.history.samples import ARRIVALS, FEED, FRAMES, REQUESTS, Rows, SampleKind

LATENCY_BOUNDS_S: tuple[float, ...] = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds of the latency buckets; one more bucket holds everything above."""


class AttemptCount(msgspec.Struct, frozen=True):
    """Attempts of one operation with one outcome: how many, and how long they took."""

    operation: str
    outcome: str
    count: int
    latency_sum_s: float
    buckets: tuple[int, ...]
    """Counts per bucket of LATENCY_BOUNDS_S, not cumulative, one more for the rest."""
    fine: dict[int, int] = {}
    """The same times in nanoseconds as a `harness.history.histogram`."""
    fine_planned: dict[int, int] = {}
    """The times from the intended instant on, where they differ (open arrivals)."""


class RequestCount(msgspec.Struct, frozen=True):
    """Requests of people's own users of one type and name: how many, how many of them failed, and how long they took."""

    type: str
    name: str
    count: int
    failed: int
    latency_sum_s: float
    buckets: tuple[int, ...]
    """Counts per bucket of LATENCY_BOUNDS_S, not cumulative, one more for the rest."""


class Second(msgspec.Struct, frozen=True, kw_only=True):
    """The aggregate of one block of samples of one writer (at most a second of time)."""

    writer: str
    sample: str
    attempts: tuple[AttemptCount, ...] = ()
    frames: int = 0
    rows: int = 0
    bytes: int = 0
    lag_max_ns: int = 0
    arrivals: dict[str, int] = {}
    """Planned arrivals by fate: `sent`, or why they were not offered."""
    late_max_ns: int = 0
    requests: tuple[RequestCount, ...] = ()


class LiveSender:
    """Sends messages to the conductor without ever waiting; `lost` counts what it could not take."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._path = str(path)
        self.lost = 0

    def send(self, message: bytes) -> None:
        """Send one message, or count it as lost."""
        try:
            self._socket.sendto(message, self._path)
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class LiveReceiver:
    """The conductor's end: yields records and seconds as they arrive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind(str(path))
        self._record = msgspec.json.Decoder(Record)
        self._second = msgspec.json.Decoder(Second)

    def receive(self, timeout_s: float) -> Record | Second | None:
        """Return the next message, or None when none came within `timeout_s`."""
        self._socket.settimeout(timeout_s)
        try:
            data = self._socket.recv(1 << 20)
        except TimeoutError:
            return None
        if data.endswith(b"\n"):
            return self._record.decode(data)
        return self._second.decode(data)

    def close(self) -> None:
        """Close and remove the socket."""
        self._socket.close()
        self.path.unlink(missing_ok=True)


def second_of(writer: str, kind: SampleKind, rows: Rows, texts: list[str]) -> Second:
    """Aggregate one block of rows; `texts` is the dictionary its text columns point into."""
    if kind.name == ARRIVALS.name:
        sent = rows[rows["sent_ns"] > 0]
        fates = {
            texts[n]: int(rows["count"][rows["fate"] == n].sum()) for n in np.unique(rows["fate"]).tolist()
        }
        late_ns = int((sent["sent_ns"] - sent["intended_ns"]).max()) if len(sent) else 0
        return Second(writer=writer, sample=kind.name, arrivals=fates, late_max_ns=max(0, late_ns))
    if kind.name == FRAMES.name:
        return Second(
            writer=writer,
            sample=kind.name,
            frames=len(rows),
            rows=int(rows["rows"].sum()),
            bytes=int(rows["bytes"].sum()),
            lag_max_ns=int(rows["lag_ns"].max()),
        )
    if kind.name == REQUESTS.name:
        return Second(writer=writer, sample=kind.name, requests=_requests(rows, texts))
    if kind.name == FEED.name:
        return Second(writer=writer, sample=kind.name)
    counts = []
    latencies_s = (rows["done_ns"] - rows["sent_ns"]) / 1e9
    bucket = np.searchsorted(LATENCY_BOUNDS_S, latencies_s, side="left")
    intended_ns = rows["done_ns"] - rows["intended_ns"]
    planned = rows["intended_ns"] != rows["sent_ns"]
    keys = rows["operation"].astype(np.uint64) << np.uint64(32) | rows["outcome"].astype(np.uint64)
    for key in np.unique(keys):
        chosen = keys == key
        counts.append(
            AttemptCount(
                texts[int(key) >> 32],
                texts[int(key) & 0xFFFFFFFF],
                int(chosen.sum()),
                float(latencies_s[chosen].sum()),
                tuple(int(n) for n in np.bincount(bucket[chosen], minlength=len(LATENCY_BOUNDS_S) + 1)),
                counted((rows["done_ns"] - rows["sent_ns"])[chosen]),
                counted(intended_ns[chosen]) if planned[chosen].any() else {},
            )
        )
    return Second(writer=writer, sample=kind.name, attempts=tuple(counts))


def _requests(rows: Rows, texts: list[str]) -> tuple[RequestCount, ...]:
    counts = []
    bucket = np.searchsorted(LATENCY_BOUNDS_S, rows["took_ns"] / 1e9, side="left")
    failed = np.array([bool(texts[n]) for n in rows["error"].tolist()], dtype=bool)
    keys = rows["type"].astype(np.uint64) << np.uint64(32) | rows["name"].astype(np.uint64)
    for key in np.unique(keys):
        chosen = keys == key
        counts.append(
            RequestCount(
                texts[int(key) >> 32],
                texts[int(key) & 0xFFFFFFFF],
                int(chosen.sum()),
                int(failed[chosen].sum()),
                float(rows["took_ns"][chosen].sum() / 1e9),
                tuple(int(n) for n in np.bincount(bucket[chosen], minlength=len(LATENCY_BOUNDS_S) + 1)),
            )
        )
    return tuple(counts)
