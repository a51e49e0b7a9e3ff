"""Planned arrivals against a scripted Focus Server: every one is sent at its instant, late, or not offered, and stands in the record."""

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_focus import FakeFocus, Script

from harness.engine.alarm import Alarm
from harness.engine.arriving import Arriving
from harness.engine.purse import Purse
from harness.engine.record import Recorder
from harness.engine.watermark import Watermarks
from harness.engine.window import Stage, Window
from harness.focus.api import AsyncFocusServerAPI
from harness.focus.arrivals import Arrivals, Stretch, instants_ns
from harness.focus.endpoint import Endpoint, Timeouts
from harness.focus.seam import (
    Answered,
    ArrivalsOver,
    Arrive,
    Begin,
    Budget,
    Exhausted,
    NotOffered,
    Payload,
    Play,
    Told,
)
from harness.history.events import ArrivalsPlanned
from harness.history.reader import History, read_history

PAYLOAD = Payload(duration_s=1, height=50, channels=9)
TIMEOUTS = Timeouts(connect_s=1, read_s=4, total_s=8, ready_s=1, first_frame_s=1)
ROOMY = Budget(max_rate_per_s=1000, max_jobs=1000, max_open_windows=500)
BEGIN_S = 0.3


def even(rate: float, seconds: float, **how: Any) -> Arrivals:
    return Arrivals(process="constant", stretches=(Stretch(BEGIN_S, BEGIN_S + seconds, rate, rate),), **how)


class Came:
    """What one plan left behind."""

    def __init__(self, told: list[Told], history: History) -> None:
        self.told = told
        self.history = history
        samples = history.samples["arrivals"]
        self.rows = samples.rows
        self.fates = [(samples.texts[row["fate"]], int(row["count"])) for row in samples.rows]

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.told if isinstance(one, kind)]


def play(
    folder: Path,
    arrivals: Arrivals,
    script: Script,
    budget: Budget = ROOMY,
    cease_s: float | None = None,
    freeze_s: float = 0,
    never_run: bool = False,
) -> Came:
    async def run() -> list[Told]:
        told: list[Told] = []
        tasks: set[asyncio.Task[None]] = set()
        async with FakeFocus(script) as fake:
            endpoint = Endpoint(url=fake.url, timeouts=TIMEOUTS)
            begin = Begin(
                endpoint=endpoint,
                budget=budget,
                payload=PAYLOAD,
                creates_in_flight=1,
                history=str(folder),
                writer="engine-1",
                clock_start_ns=time.monotonic_ns(),
            )
            record = Recorder(begin, lambda error: pytest.fail(str(error)))
            async with AsyncFocusServerAPI(endpoint, lambda seen: record.attempt(seen, seen.about)) as api:
                stage = Stage(
                    api=api,
                    payload=PAYLOAD,
                    purse=Purse(budget, time.monotonic_ns()),
                    marks=Watermarks(PAYLOAD),
                    record=record,
                    creates=asyncio.Semaphore(1),
                    tell=told.append,
                )

                def window(ask: Play) -> None:
                    tasks.add(asyncio.create_task(Window(ask, stage).play()))

                ask = Arrive(arrivals=arrivals, first=10, hold_s=(0.1, 0.1))
                plan = Arriving(ask, stage, window)
                arriving = asyncio.create_task(plan.run())
                arriving.add_done_callback(lambda _: plan.end())
                if never_run:
                    arriving.cancel()
                if freeze_s:
                    await asyncio.sleep(BEGIN_S + 0.2)
                    time.sleep(freeze_s)  # noqa: ASYNC251  (the loop stands still: that is what is tested)
                if cease_s is not None:
                    await asyncio.sleep(cease_s)
                    arriving.cancel()
                await asyncio.gather(arriving, return_exceptions=True)
                await asyncio.gather(*tasks)
                assert (record.creates, record.opening, record.streaming, stage.purse.open) == (0, 0, 0, 0)
            record.close(0)
        return told

    return Came(asyncio.run(run()), read_history(folder))


def accounted(came: Came, planned: int) -> None:
    """Every planned arrival stands in the record once, and the engine's last word says the same."""
    assert sum(count for _, count in came.fates) == planned
    (plan,) = [one.event for one in came.history.events if isinstance(one.event, ArrivalsPlanned)]
    (over,) = came.of(ArrivalsOver)
    sent = sum(fate == "sent" for fate, _ in came.fates)
    assert (plan.planned, over.planned, over.offered) == (planned, planned, sent)


def test_arrivals_are_sent_at_their_instants_whatever_is_unanswered(tmp_path: Path) -> None:
    """The server takes 0.4 s for each, and users of one create in flight would send two or three."""
    arrivals = even(20, 1.0)
    came = play(tmp_path, arrivals, Script(answer="503 ", latency_s=0.4))
    accounted(came, 20)
    assert list(came.rows["intended_ns"]) == list(instants_ns(arrivals))
    late_ns = came.rows["sent_ns"] - came.rows["intended_ns"]
    assert late_ns.min() >= 0
    assert np.median(late_ns) < 20_000_000
    attempts = came.history.samples["attempts"].rows
    assert sorted(attempts["window"]) == list(range(10, 30))
    assert sorted(attempts["intended_ns"]) == list(instants_ns(arrivals))
    assert {told.late_ns is not None for told in came.of(Answered)} == {True}


def test_after_a_standstill_what_was_due_is_sent_late_and_none_is_lost(tmp_path: Path) -> None:
    came = play(tmp_path, even(20, 1.5), Script(answer="503 "), freeze_s=0.6)
    accounted(came, 30)
    assert {fate for fate, _ in came.fates} == {"sent"}
    late_s = (came.rows["sent_ns"] - came.rows["intended_ns"]) / 1e9
    assert 0.4 < late_s.max() < 0.9
    assert 8 <= (late_s > 0.05).sum() <= 15, "those that were due meanwhile, and no others"


def test_too_many_unanswered_creates_keep_the_next_from_being_offered(tmp_path: Path) -> None:
    came = play(tmp_path, even(20, 1.0, in_flight=3), Script(answer="503 ", latency_s=0.5))
    accounted(came, 20)
    assert {fate for fate, _ in came.fates} == {"sent", "in_flight"}
    assert {told.why for told in came.of(NotOffered)} == {"in_flight"}


def test_windows_beyond_the_budget_are_not_offered(tmp_path: Path) -> None:
    budget = Budget(max_rate_per_s=1000, max_jobs=1000, max_open_windows=2)
    came = play(tmp_path, even(20, 0.5), Script(latency_s=0.3), budget)
    accounted(came, 10)
    assert ("max_open_windows", 1) in came.fates


def test_a_budget_that_is_spent_ends_the_plan_and_says_so(tmp_path: Path) -> None:
    budget = Budget(max_rate_per_s=1000, max_jobs=3, max_open_windows=500)
    came = play(tmp_path, even(10, 1.0), Script(), budget)
    accounted(came, 10)
    assert came.fates[-1] == ("max_jobs", came.fates[-1][1])
    assert sum(fate == "sent" for fate, _ in came.fates) == 3
    assert [told.limit for told in came.of(Exhausted)][:1] == ["max_jobs"]


def test_what_the_budgets_rate_holds_back_is_sent_late(tmp_path: Path) -> None:
    budget = Budget(max_rate_per_s=5, max_jobs=1000, max_open_windows=500)
    came = play(tmp_path, even(10, 1.0), Script(answer="503 "), budget)
    accounted(came, 10)
    assert {fate for fate, _ in came.fates} == {"sent"}
    late_s = (came.rows["sent_ns"] - came.rows["intended_ns"]) / 1e9
    assert (late_s[:5] < 0.1).all()
    assert 0.3 < late_s[5] < 0.8


def test_what_was_still_to_come_when_it_ended_is_one_row(tmp_path: Path) -> None:
    came = play(tmp_path, even(10, 100.0), Script(answer="503 "), cease_s=BEGIN_S + 0.5)
    accounted(came, 1000)
    fate, count = came.fates[-1]
    assert (fate, count > 980) == ("ended", True)


def test_a_plan_that_is_cancelled_before_its_first_turn_is_accounted_for(tmp_path: Path) -> None:
    """The service ends it then; that it has ended before changes nothing."""
    came = play(tmp_path, even(10, 2.0), Script(answer="503 "), never_run=True)
    accounted(came, 20)
    assert came.fates == [("ended", 20)]


def test_the_alarm_rings_at_its_instant_and_at_once_for_one_that_is_over() -> None:
    async def errors_ns() -> list[int]:
        alarm, found = Alarm(), []
        for after_ns in (-5_000_000, 300_000, 2_700_000, 40_000_000):
            due_ns = time.monotonic_ns() + after_ns
            await alarm.until(due_ns)
            found.append(time.monotonic_ns() - max(due_ns, due_ns - after_ns))
        alarm.close()
        return found

    found = asyncio.run(errors_ns())
    assert min(found) >= 0
    assert max(found) < 50_000_000
