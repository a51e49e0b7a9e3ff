"""What recording costs, beside what Locust's own request event costs in the same process: neither needs a target."""

import tempfile
import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Histogram

from benchmarks.rows import Row
from harness.history.events import Note
from harness.history.reader import read_history
from harness.history.samples import ATTEMPTS
from harness.history.writer import HistoryWriter

SAMPLES = 400_000


def measure(command: str) -> list[Row]:
    """Record attempts, flushing every 5,000; then read them back."""
    with tempfile.TemporaryDirectory() as folder:
        writer = HistoryWriter(Path(folder), "bench")
        writer.event(Note(at_ns=0, level="info", text="bench"))
        attempts = writer.samples(ATTEMPTS)
        operation, outcome, body = attempts.text("configure"), attempts.text("accepted"), attempts.text("")
        started = time.perf_counter()
        for number in range(SAMPLES):
            attempts.add((number, number, number + 1000, number, operation, outcome, 200, 6354, body, number))
            if number % 5_000 == 0:
                attempts.flush()
        writer.flush()
        per_sample_us = (time.perf_counter() - started) / SAMPLES * 1e6
        writer.close()
        started = time.perf_counter()
        read_history(Path(folder))
        reading_s = time.perf_counter() - started
    peer_us = _prometheus_us()
    return [
        Row(
            "one recorded sample, written to disk",
            per_sample_us,
            "us",
            command,
            "1",
            "prometheus_client Histogram.observe",
            peer_us,
        ),
        Row("reading a million samples back", reading_s / SAMPLES * 1e6, "s", command),
    ]


def _prometheus_us() -> float:
    histogram = Histogram("bench_seconds", "bench", ["outcome"], registry=CollectorRegistry()).labels(
        "accepted"
    )
    started = time.perf_counter()
    for number in range(SAMPLES // 10):
        histogram.observe(number / SAMPLES)
    return (time.perf_counter() - started) / (SAMPLES // 10) * 1e6
