"""The loaded site: latency and errors grow with parallel creates."""

import asyncio
import random
import statistics

import pytest

from harness.sandbox.pods.focus_server.site import Site
from harness.sandbox.pods.stream_server import ready_delay_s
from harness.sandbox.settings import Settings

FIELD = Settings.make("field", "production")


def test_the_seed_mode_adds_nothing() -> None:
    site = Site(Settings.make("seed", "production"))
    assert site.latency_s(20) == 0
    assert site.error_share(100) == 0


def test_latency_of_a_lone_create_is_the_observed_distribution() -> None:
    site = Site(FIELD, random.Random(1))
    taken = sorted(site.latency_s(1) for _ in range(4000))
    assert statistics.median(taken) == pytest.approx(0.34, rel=0.05)
    assert taken[3800] == pytest.approx(0.76, rel=0.1)


def test_latency_at_twenty_in_parallel_is_that_of_the_bad_day() -> None:
    assert 31 <= Site(FIELD, random.Random(1)).latency_s(20) <= 46


def test_errors_begin_at_five_and_grow() -> None:
    site = Site(FIELD)
    assert site.error_share(4) == 0
    assert site.error_share(5) == 0.25
    assert 0.25 < site.error_share(10) < 0.9
    assert site.error_share(20) == site.error_share(60) == 0.9


def test_creates_in_flight_are_counted_and_their_fate_dealt() -> None:
    settings = Settings.make(
        "field", "fast", ["latency_median_s=0", "latency_per_parallel_s=0", "error_share_first=1"]
    )
    site = Site(settings, random.Random(3))

    async def create() -> int | None:
        async with site.create() as fate:
            await asyncio.sleep(0)
            assert fate.creates == (fate.status in (None, 504))
            return fate.status

    async def ten() -> list[int | None]:
        return await asyncio.gather(*(create() for _ in range(10)))

    statuses = asyncio.run(ten())
    assert statuses[:4] == [None] * 4
    assert {500, 502, 504} >= set(statuses[4:])
    assert None not in statuses[4:5]
    assert site.in_flight == 0


def test_ready_delays_follow_floor_median_and_p95() -> None:
    settings, chance = Settings.make("seed", "production"), random.Random(5)
    delays = sorted(ready_delay_s(settings, chance) for _ in range(4000))
    assert delays[0] >= settings.ready_delay_s
    assert statistics.median(delays) == pytest.approx(settings.ready_delay_median_s, rel=0.05)
    assert delays[3800] == pytest.approx(settings.ready_delay_p95_s, rel=0.15)


def test_fast_ready_delay_is_constant() -> None:
    settings = Settings.make("seed", "fast")
    assert {ready_delay_s(settings, random.Random(i)) for i in range(20)} == {1.0}
