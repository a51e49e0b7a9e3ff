"""Look at a campaign's stop conditions while it is played: say every change, and end the run when one asks for it.

The conductor owns one `StopConditions` per run. It looks four times a second in a thread of its own, from the load's start to its
end, so that neither a slow cluster nor a slow answer delays it. Before the first injection it is the go/no-go. It injects and
undoes nothing itself: it asks the run to stop, like everybody else.
"""

import threading
from collections.abc import Sequence

from harness.campaign import MeasureCondition, StopCondition
from harness.clock import Clock, nanoseconds
from harness.conduct.asking import Asker
from harness.conduct.stop import Stop
from harness.conduct.stopping import Lasting, LoadHeard, MeasureWatch, Reading
from harness.errors import Exit, HarnessError
from harness.focus.endpoint import INSECURE_WARNING
from harness.history.events import ConditionState, Note, Record, StopConditionChanged
from harness.history.live import Second
from harness.history.writer import HistoryWriter

LOOK_S = 0.25
LAST_LOOK_NS = nanoseconds(1.0)
"""The last look before the first injection is so long before it: enough to keep the chaos process from it."""
ENDED = "stop condition"
"""`RunEnded.reason` of a run that a stop condition ended."""


class StopConditions:
    """The stop conditions of one run; harmless when there are none."""

    def __init__(self, conditions: Sequence[StopCondition], clock: Clock, stop: Stop) -> None:
        self._clock = clock
        self._stop = stop
        self._lock = threading.Lock()
        self._watches = [
            MeasureWatch(condition) if isinstance(condition, MeasureCondition) else Asker(condition, clock)
            for condition in conditions
        ]
        self._lasting = [Lasting(nanoseconds(condition.for_s)) for condition in conditions]
        self._readings: list[Reading | None] = [None for _ in conditions]
        self._load = LoadHeard(begins_ns=0)
        self._writer: HistoryWriter | None = None
        self._first_injection_ns: int | None = None
        self._went = False
        self._deaf: Exception | None = None
        """Why live messages cannot be taken in, if they cannot."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stop conditions", daemon=True)
        self.endings: dict[Exit, str] = {}
        """How the run has to end by them, and why; empty as long as it may go on."""

    def hear(self, message: Record | Second) -> None:
        """Take in a message of the live path."""
        if not self._watches:
            return
        now_ns = self._clock.now()
        with self._lock:
            try:
                self._load.hear(now_ns, message)
                for watch in self._watches:
                    if isinstance(watch, MeasureWatch):
                        watch.hear(now_ns, message)
            except Exception as error:  # whoever talks goes on; the next look ends the run
                self._deaf = error

    def begin(self, begins_ns: int, first_injection_ns: int | None, writer: HistoryWriter) -> None:
        """Look from now on; the load's time begins at `begins_ns`, and the first fault is to go in at `first_injection_ns`."""
        self._writer, self._first_injection_ns = writer, first_injection_ns
        if not self._watches:
            return
        with self._lock:
            self._load.begins_ns = begins_ns
        for watch in self._watches:
            if isinstance(watch, Asker):
                watch.start()
                if watch.condition.insecure and watch.condition.address.startswith("https://"):
                    text = INSECURE_WARNING.format(url=watch.condition.shown)
                    writer.event(Note(at_ns=self._clock.now(), level="warning", text=text))
        self._thread.start()

    def end(self) -> None:
        """Look no more: the load is over."""
        self._over.set()
        for watch in self._watches:
            if isinstance(watch, Asker):
                watch.stop()
        if self._thread.is_alive():
            self._thread.join(1.0)  # a look is quick; the undo that comes next must not wait for a slow one

    def go(self) -> bool:
        """Return whether the first fault may go in; if not, the run is asked to stop, or an answer is still on its way."""
        if not self._went and not self._look(go=True):
            self._went = all(reading is not None for reading in self._readings)
        return self._went

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            due = self._first_injection_ns
            last_look = due is not None and self._clock.now() >= due - LAST_LOOK_NS
            if last_look:
                self._first_injection_ns = None
            if self._look(go=last_look):
                return

    def _look(self, *, go: bool) -> bool:
        """Look at all conditions; return whether the run has to end. If that is not possible it ends: nobody else would notice."""
        try:
            return self._look_at_all(go=go)
        except Exception as error:
            code = error.code if isinstance(error, HarnessError) else Exit.INTERNAL
            text = f"the stop conditions cannot be looked at: {type(error).__name__}: {error}"
            self.endings.setdefault(code, text)
            self._stop.ask(text)
            return True

    def _look_at_all(self, *, go: bool) -> bool:
        """Read every condition and act on it; `go` is the question whether the first fault may go in."""
        with self._lock:
            if self.endings:
                return True
            if self._deaf is not None:
                raise self._deaf
            now_ns = self._clock.now()
            for number, watch in enumerate(self._watches):
                reading = (
                    watch.read(now_ns, self._load) if isinstance(watch, MeasureWatch) else watch.read(now_ns)
                )
                if reading is None:
                    continue
                before, self._readings[number] = self._readings[number], reading
                if before is None or before.state is not reading.state:
                    self._say(number, reading)
                code = self._lasting[number].take(now_ns, reading.state)
                if code is not None and not self._stop.asked:
                    self._end(number, code, self._reason(number, reading, code))
            if go and not self.endings and not self._stop.asked:
                self._go()
            return bool(self.endings)

    def _go(self) -> None:
        """End the run for every condition that holds or is not known at this moment; the first answer may still be on its way."""
        for number, reading in enumerate(self._readings):
            if reading is None or reading.state is ConditionState.CLEAR:
                continue
            holds = reading.state is ConditionState.HOLDS
            self._end(
                number,
                Exit.FAILED if holds else Exit.UNJUDGED,
                f"no-go: stop condition {self._name(number)!r} {'holds' if holds else 'is not known'} "
                f"before the first injection: {reading.detail}",
            )

    def _reason(self, number: int, reading: Reading, code: Exit) -> str:
        for_s = self._watches[number].condition.for_s
        if code is Exit.FAILED:
            return f"stop condition {self._name(number)!r} held for {for_s:g} s: {reading.detail}"
        return f"stop condition {self._name(number)!r} was not known for {for_s:g} s: {reading.detail}"

    def _end(self, number: int, code: Exit, reason: str) -> None:
        self.endings.setdefault(code, reason)
        reading = self._readings[number]
        assert reading is not None  # it is what ends the run
        self._say(number, Reading(reading.state, reading.value, reason), ended=True)
        self._stop.ask(reason)

    def _say(self, number: int, reading: Reading, *, ended: bool = False) -> None:
        if self._writer is not None:
            self._writer.event(
                StopConditionChanged(
                    at_ns=self._clock.now(),
                    name=self._name(number),
                    state=reading.state,
                    value=reading.value,
                    detail=reading.detail,
                    ended=ended,
                )
            )

    def _name(self, number: int) -> str:
        return self._watches[number].condition.name
