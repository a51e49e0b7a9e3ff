"""The added latency and the errors of a loaded site: what parallel creates do to a real Focus Server.

Used around `POST /configure` when the settings ask for it (field mode). Latency is log-normal and grows with the
creates in flight; from `errors_from_parallel` on, a growing share of creates ends in 500, 502 or 504. 502 and 504
stand for what the ingress would say of a server that hangs up or never answers; a 504 leaves its window behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

from harness.sandbox.settings import Settings


@dataclass(frozen=True)
class Fate:
    """What the site does to one create: a status to answer instead, or None; and whether work was done first."""

    status: int | None = None
    parallel: int = 1

    @property
    def creates(self) -> bool:
        """Return whether the window is made before the answer is lost."""
        return self.status in (None, 504)


class Site:
    """Counts creates in flight and deals out delay and fate."""

    def __init__(self, settings: Settings, chance: random.Random | None = None) -> None:
        self._settings = settings
        self._chance = chance or random.Random()
        self.in_flight = 0

    @contextlib.asynccontextmanager
    async def create(self) -> AsyncIterator[Fate]:
        """Hold one create: wait its added latency, then say what becomes of it."""
        self.in_flight += 1
        try:
            parallel = self.in_flight
            await asyncio.sleep(self.latency_s(parallel))
            yield Fate(self._status(parallel), parallel)
        finally:
            self.in_flight -= 1

    def latency_s(self, parallel: int) -> float:
        """Return the added latency of a create that has `parallel - 1` others beside it."""
        settings = self._settings
        added_s = settings.latency_per_parallel_s * (parallel - 1)
        if settings.latency_median_s <= 0:
            return added_s
        spread = max(1.0, settings.latency_p95_s / settings.latency_median_s)
        sigma = math.log(spread) / 1.645
        return added_s + self._chance.lognormvariate(math.log(settings.latency_median_s), sigma)

    def error_share(self, parallel: int) -> float:
        """Return the share of creates that fail at this parallelism: linear up to 20, then flat."""
        settings = self._settings
        first = settings.errors_from_parallel
        if not first or parallel < first:
            return 0.0
        grown = min(1.0, (parallel - first) / max(1, 20 - first))
        return settings.error_share_first + (settings.error_share_at_20 - settings.error_share_first) * grown

    def _status(self, parallel: int) -> int | None:
        if self._chance.random() >= self.error_share(parallel):
            return None
        return self._chance.choice((500, 502, 504))
