"""What judging a large record costs: the admission limit checked over a million operations, beside a plain sweep over the same instants."""

import heapq
import time

import numpy as np

from benchmarks.rows import Row
from harness.judge.admission import Refusals, admission
from harness.judge.windows import Hold

WINDOWS, REFUSALS, LIMIT = 300_000, 400_000, 30
S = 1_000_000_000


def measure(command: str) -> list[Row]:
    """Check 300,000 windows (opened and given back) and 400,000 refusals of a server that keeps its limit."""
    holds, spans = _windows()
    chance = np.random.default_rng(1)
    sent = np.sort(chance.integers(0, spans[-1][1], REFUSALS))
    refusals = Refusals(sent, sent + S // 100, np.ones(REFUSALS, dtype=bool), np.arange(REFUSALS))
    began = time.perf_counter()
    found = admission(holds, refusals, limit=LIMIT, sighted=True, end_ns=spans[-1][1])
    checked_s = time.perf_counter() - began
    assert not found.violations, found.reason
    began = time.perf_counter()
    _sweep(spans, sent.tolist())
    swept_s = time.perf_counter() - began
    told = "a million operations checked against the limit"
    return [Row(told, checked_s, "s", command, "60", "a sweep in plain Python that only counts", swept_s)]


def _windows() -> tuple[list[Hold], list[tuple[int, int]]]:
    """Open windows one after another in the lowest free slot, for a few seconds each."""
    chance = np.random.default_rng(0)
    lengths = chance.integers(2 * S, 6 * S, WINDOWS)
    free, busy = list(range(1, LIMIT + 1)), list[tuple[int, int]]()
    now, holds, spans = 0, list[Hold](), list[tuple[int, int]]()
    for number, length in enumerate(lengths.tolist()):
        now += 150_000_000
        while busy and (busy[0][0] <= now or not free):
            now = max(now, busy[0][0])
            heapq.heappush(free, heapq.heappop(busy)[1])
        slot = heapq.heappop(free)
        heapq.heappush(busy, (now + length + S, slot))
        spans.append((now, now + length))
        holds.append(
            Hold(
                job_id=f"{slot}-{number}",
                number=number + 1,
                sure=((now + S // 10, now + length),),
                possible=(now, now + length + S // 2),
                closed_ns=now + length - S // 10,
                seen_to_end=True,
            )
        )
    return holds, spans


def _sweep(spans: list[tuple[int, int]], refused: list[int]) -> int:
    """Count open windows at every instant, and see how many stood open at each refusal."""
    events = sorted(
        [(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans] + [(at, 0) for at in refused]
    )
    most = now = 0
    for _, step in events:
        now += step
        most = max(most, now)
    return most
