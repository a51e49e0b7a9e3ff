"""One load from its start to its end: the engine, the record of the load process, what Locust's pages show.

Locust calls it through listeners, users through `play`. Whatever goes wrong in here reaches the history and the exit code,
although Locust itself swallows exceptions of listeners.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from harness.clock import SystemClock, nanoseconds, seconds
from harness.errors import Exit, HarnessError, InputError, gravest
from harness.focus.answers import Span
from harness.focus.arrivals import Arrivals
from harness.focus.seam import (
    PLAIN,
    Answered,
    Beat,
    Cease,
    Ended,
    ErrandDone,
    Exhausted,
    Failed,
    First,
    NotOffered,
    Ready,
    RecordingsFound,
    Style,
    Told,
)
from harness.history.events import FeedOpened, Note, Outcome, ProcessEnded, ProcessStarted, ScenarioSuspended
from harness.history.live import LiveSender
from harness.history.samples import FEED
from harness.history.writer import HistoryWriter
from harness.load.feed import Feed, Row
from harness.load.link import EngineGone, EngineLink
from harness.load.plan import LoadPlan
from harness.load.refusals import REFUSALS, Refusals
from harness.load.requested import OURS, Requested

DRAIN_S = 7.0
GATE_S = 0.02
ROWS_AT_ONCE = 1000
"""Locust's pages show no more arrivals than that of those which a plan still had when it ended."""
SUCCESSES = (Outcome.STREAMING, Outcome.COMPLETE, Outcome.ABANDONED)
"""Ends of a window after which its user goes on at once."""
ERRANDS = {
    "ack": "GET /ack",
    "channels": "GET /channels",
    "live_metadata": "GET /live_metadata",
    "configure_invalid": "POST /configure, invalid",
}
"""Rows of requests that are to open no window; an invalid create succeeds when it is refused with 4xx."""
logger = logging.getLogger("harness.load")


class WindowFailed(HarnessError):
    """What Locust's pages show for a window that did not get as far as it should."""

    def __init__(self, outcome: Outcome, detail: str = "") -> None:
        super().__init__(f"{outcome.value}: {detail}" if detail else outcome.value)


class ArrivalNotOffered(HarnessError):
    """What Locust's pages show for a planned arrival that was not sent at all."""


class Session:
    """Plays one plan. `fire` is Locust's request event; `stop` ends the users (it must not wait for this session)."""

    def __init__(
        self,
        plan: LoadPlan,
        *,
        fire: Callable[..., None],
        stop: Callable[[str], None],
        wanted: Callable[[], int],
    ) -> None:
        self.plan = plan
        self.clock = SystemClock(plan.clock_start_ns)
        self._fire = fire
        self._stop = stop
        self._wanted = wanted
        self._refusals: dict[str, Refusals] = {}
        self._endings = [Exit.OK]
        self._over = False
        self._arrived = False
        self._recordings: list[tuple[int, int]] = []
        self._one_probe = BoundedSemaphore(1)
        self._feed = Feed(plan.feed, plan.seed, plan.part, plan.parts) if plan.feed is not None else None
        self._fed = True
        live = LiveSender(Path(plan.live_socket)) if plan.live_socket else None
        self._writer = HistoryWriter(Path(plan.history), plan.load_writer, live)
        self._writer.event(ProcessStarted(at_ns=self.clock.now(), process=plan.load_writer, pid=os.getpid()))
        self.requested = Requested(self._writer, self.clock, self.note)
        if self._feed is not None:
            file, order = Path(self._feed.plan.file).name, self._feed.plan.order
            self.event(FeedOpened(at_ns=self.clock.now(), file=file, order=order, rows=len(self._feed)))
        self.link = EngineLink(plan.begin(), self._hear, self._lost)
        self._beats = gevent.spawn(self._beat)

    # --- for users ------------------------------------------------------------------------------

    def play(
        self,
        scenario: str,
        hold_s: float,
        start_s: int | None = None,
        end_s: int | None = None,
        style: Style = PLAIN,
    ) -> Ended:
        """Have one window played, when the scenario is not suspended; return how it ended."""
        refusals = self._refusals_of(scenario)
        while wait_ns := refusals.wait_ns(self.clock.now()):
            gevent.sleep(seconds(wait_ns))
        heard = False
        try:
            ended = self.link.play(hold_s, start_s, end_s, style)
            heard = True
        finally:
            if not heard:
                refusals.gave_up()
        if ended.accepted:
            refusals.accepted()
        elif ended.outcome in REFUSALS:
            self._refused(refusals, ended.outcome)
        else:
            refusals.gave_up()
        return ended

    def arrive(self) -> None:
        """Have the plan's arrivals played, and wait until none is left; nothing without any, and nothing the second time."""
        if self.plan.arrivals is not None and not self._arrived:
            self._arrived = True
            self.link.arrive(self._opened(self.plan.arrivals), self.plan.hold_s)

    def _opened(self, arrivals: Arrivals) -> Arrivals:
        """Wait for the plan's gate, if it has one, and return the arrivals from then on."""
        if not self.plan.arrivals_gate:
            return arrivals
        gate = Path(self.plan.arrivals_gate)
        self.link.wait()
        gate.with_name(f"{gate.name}.ready").touch()
        while not gate.exists():
            gevent.sleep(GATE_S)
        gevent.spawn(self._cease_when, gate.with_name(f"{gate.name}.closed"))
        return arrivals.after(float(gate.read_text(encoding="ascii")))

    def _cease_when(self, closed: Path) -> None:
        """Have no arrival sent any more once the gate is closed again; windows that are open stay."""
        while not self._over and not closed.exists():
            gevent.sleep(GATE_S)
        self.link.send(Cease())

    def recordings(self) -> list[tuple[int, int]]:
        """Return what was recorded and is finished, as whole seconds; asked once, and again while there is nothing."""
        with self._one_probe:
            if not self._recordings:
                now_s = int(time.time())
                found = self.link.recordings(now_s - int(self.plan.historic_back_s), now_s)
                self._recordings = playable(found.spans)
        return self._recordings

    def row(self, user: str) -> Row | None:
        """Return the next row of the feed for a user of class `user`, and write that down; None when there is none left."""
        if self._feed is None:
            self.failed(
                InputError(f"{user} asks for rows, and there is no feed: give load.feed, or --feed FILE")
            )
            return None
        taken = self._feed.take()
        if taken is None:
            if self._fed:
                self._fed = False
                text = f"the feed {Path(self._feed.plan.file).name} is used up: each of its {len(self._feed)} rows was taken once"
                self.note("warning", f"{text}; users that ask for more stop")
            return None
        line, row = taken
        file = self._writer.samples(FEED)
        file.add((self.clock.now(), line, file.text(user)))
        return row

    def note(self, level: str, text: str) -> None:
        """Say something in the record; what cannot be written is at least logged."""
        self._note(level, text)

    def event(self, event: Any) -> None:
        """Append an event to the load's own record."""
        self._writer.event(event)

    # --- for Locust -----------------------------------------------------------------------------

    def failed(self, error: BaseException) -> None:
        """Note our own failure in the history, set the exit code, end the load."""
        self._endings.append(error.code if isinstance(error, HarnessError) else Exit.INTERNAL)
        text = f"{type(error).__name__}: {error}"
        logger.error("%s", text, exc_info=None if isinstance(error, HarnessError) else error)
        self._note("error", f"load: {text}")
        self._stop(text)

    def end(self) -> Exit:
        """Close every window, write everything down, end the engine; return the exit code. Safe to call twice."""
        if self._over:
            return self.ending
        self._over = True
        self._beats.kill()
        self._endings.append(self.link.drain(DRAIN_S))
        try:
            self._writer.event(
                ProcessEnded(
                    at_ns=self.clock.now(),
                    process=self.plan.load_writer,
                    pid=os.getpid(),
                    exit_code=int(self.ending),
                )
            )
            self._writer.close()
        except HarnessError as error:
            self._endings.append(error.code)
            logger.error("%s", error)  # noqa: TRY400  (the message is for people, the trace is not)
        return self.ending

    @property
    def ending(self) -> Exit:
        """The exit code as far as it is known now."""
        return gravest(self._endings)

    # --- inside ---------------------------------------------------------------------------------

    def _refusals_of(self, scenario: str) -> Refusals:
        plan = self.plan
        if scenario not in self._refusals:
            self._refusals[scenario] = Refusals(
                plan.suspend_after, nanoseconds(plan.suspend_s), storm=plan.storm
            )
        return self._refusals[scenario]

    def _refused(self, refusals: Refusals, outcome: Outcome) -> None:
        suspension = refusals.refused(outcome, self.clock.now())
        if suspension is not None:
            self.event(
                ScenarioSuspended(
                    at_ns=self.clock.now(),
                    outcome=suspension.outcome,
                    refusals=suspension.refusals,
                    until_ns=suspension.until_ns,
                )
            )

    def _beat(self) -> None:
        while True:
            self.link.send(Beat(cpu_s=time.process_time(), wanted=self._wanted()))
            try:
                self._writer.flush()
            except HarnessError as error:
                self.failed(error)
            gevent.sleep(1.0)

    def _hear(self, told: Told) -> None:
        match told:
            case Answered():
                self._row("HTTP", "POST /configure", told.latency_ns, told.bytes, told.outcome)
                if told.late_ns is not None:
                    from_plan_ns = told.latency_ns + told.late_ns
                    self._row("HTTP", "POST /configure, as planned", from_plan_ns, told.bytes, told.outcome)
            case NotOffered():
                for _ in range(min(told.count, ROWS_AT_ONCE)):
                    error = ArrivalNotOffered(f"not offered: {told.why}")
                    self._fire_row("HTTP", "POST /configure, as planned", error=error)
            case Ready():
                self._row("gRPC", "window ready", told.since_accept_ns)
            case First():
                self._row("gRPC", "first frame", told.since_accept_ns)
            case Ended():
                self._window_ended(told)
            case RecordingsFound():
                self._row("HTTP", "POST /recordings_in_time_range", told.latency_ns, 0, told.outcome)
            case ErrandDone() if told.outcome is not Outcome.CANCELLED:
                self._row("HTTP", ERRANDS[told.what], told.latency_ns, 0, told.outcome)
            case Exhausted():
                logger.warning("%s; the load ends here", told.text)
                self._stop(told.text)
            case Failed():
                self._endings.append(Exit(told.code))
                logger.error("the engine failed: %s", told.text)
                self._stop(told.text.strip().rpartition("\n")[2])

    def _window_ended(self, told: Ended) -> None:
        """Show the step a window failed at; those before were shown when they happened."""
        if not told.accepted or told.outcome is Outcome.CANCELLED:
            return
        if told.outcome is Outcome.ABANDONED:
            return
        good = told.outcome in SUCCESSES
        outcome = None if good else told.outcome
        if not told.ready:
            self._row("gRPC", "window ready", told.since_accept_ns, 0, outcome, told.detail)
        elif not told.first:
            self._row("gRPC", "first frame", told.since_accept_ns, 0, outcome, told.detail)
        else:
            self._row("gRPC", "stream", told.streamed_ns, told.bytes, outcome, told.detail)

    def _row(
        self,
        kind: str,
        name: str,
        took_ns: int,
        length: int = 0,
        outcome: Outcome | None = None,
        detail: str = "",
    ) -> None:
        error = None if outcome is None else WindowFailed(outcome, detail)
        self._fire_row(kind, name, took_ns, length, error)

    def _fire_row(
        self, kind: str, name: str, took_ns: int = 0, length: int = 0, error: HarnessError | None = None
    ) -> None:
        self._fire(
            request_type=kind,
            name=name,
            response_time=took_ns / 1e6,
            response_length=length,
            exception=error,
            context=OURS,
        )

    def _lost(self, error: EngineGone) -> None:
        self.failed(error)

    def _note(self, level: str, text: str) -> None:
        try:
            self._writer.event(Note(at_ns=self.clock.now(), level=level, text=text))
        except (HarnessError, ValueError):  # a full disk, or a record that is closed already
            logger.exception("this could not be noted in the history: %s", text)


def playable(spans: tuple[Span, ...]) -> list[tuple[int, int]]:
    """Return finished recordings as whole seconds that lie inside them."""
    return [
        (start_s, end_s)
        for start_s, end_s in ((-int(-span.start_s // 1), int(span.end_s)) for span in spans if span.end_s)
        if end_s > start_s
    ]
