"""Play planned arrivals: every one is sent at its instant, or late, or not offered, and is written down as such.

Called by the service, one at a time. It never waits for an answer. What the budget's rate holds back is sent later; what the budget's
other limits forbid, or comes when too many creates are unanswered, or after the load's end, is not offered.
"""

import time
from collections.abc import Callable

from harness.engine.alarm import Alarm
from harness.engine.purse import Spent, Wait
from harness.engine.window import ENDED, Stage
from harness.focus.arrivals import holds_s, instants_ns
from harness.focus.seam import ArrivalsOver, Arrive, Exhausted, NotOffered, Play, Style
from harness.history.events import ArrivalsPlanned

BURST = 50
"""So many are sent in a row, when they are late, before others get their turn."""
IN_FLIGHT = "in_flight"
HELD_BACK = "max_rate_per_s"
ARRIVAL = Style(persona="arrival")


class Arriving:
    """One plan of arrivals; `play` starts a window."""

    def __init__(self, ask: Arrive, stage: Stage, play: Callable[[Play], object]) -> None:
        self._ask = ask
        self._stage = stage
        self._play = play
        arrivals = ask.arrivals
        self._at_ns = instants_ns(arrivals)
        self._holds_s = holds_s(arrivals, len(self._at_ns), ask.hold_s)
        self._next = 0
        self._refused = 0
        self._over = False
        stage.record.event(
            ArrivalsPlanned(
                at_ns=stage.record.now(),
                planned=len(self._at_ns),
                late_after_ns=round(arrivals.late_after_s * 1e9),
                process=arrivals.process,
                seed=arrivals.seed,
            )
        )

    async def run(self) -> None:
        """Send every arrival; when this is cancelled, what is left is not offered."""
        alarm = Alarm()
        try:
            while self._next < len(self._at_ns):
                await alarm.until(self._send_due())
        finally:
            alarm.close()
            self.end()

    def end(self) -> None:
        """Account for what is left, once: also for a plan that was cancelled before `run` had its first turn."""
        if self._over:
            return
        self._over = True
        if left := len(self._at_ns) - self._next:
            self._not_offered(ENDED, left)
        planned = len(self._at_ns)
        self._stage.tell(ArrivalsOver(planned=planned, offered=planned - self._refused))

    def _send_due(self) -> int:
        """Send what is due, at most a burst; return when to look again (monotonic)."""
        record = self._stage.record
        for _ in range(BURST):
            if self._next == len(self._at_ns):
                break
            due_ns = record.monotonic_ns(int(self._at_ns[self._next]))
            now_ns = time.monotonic_ns()
            if due_ns > now_ns:
                return due_ns
            if record.creates >= self._ask.arrivals.in_flight:
                self._not_offered(IN_FLIGHT)
                continue
            answer = self._stage.purse.ask(now_ns)
            match answer:
                case Wait(limit=limit) if limit == HELD_BACK:
                    return now_ns + answer.ns
                case Wait():
                    self._not_offered(answer.limit)
                case Spent():
                    record.note_once("warning", answer.text)
                    self._stage.tell(Exhausted(limit=answer.limit, text=answer.text))
                    self._not_offered(answer.limit, len(self._at_ns) - self._next)
                case _:
                    self._send()
        return time.monotonic_ns()

    def _send(self) -> None:
        index, self._next = self._next, self._next + 1
        self._stage.record.creates += 1
        self._play(
            Play(
                window=self._ask.first + index,
                hold_s=float(self._holds_s[index]),
                intended_ns=int(self._at_ns[index]),
                style=ARRIVAL,
            )
        )

    def _not_offered(self, why: str, count: int = 1) -> None:
        window, intended_ns = self._ask.first + self._next, int(self._at_ns[self._next])
        self._next += count
        self._refused += count
        self._stage.record.not_offered(self._stage.base + window, count, intended_ns, why)
        self._stage.tell(NotOffered(count=count, why=why))
