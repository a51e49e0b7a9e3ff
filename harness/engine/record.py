"""What the engine writes down: attempts, frames, events, and once a second what it knows of itself.

The only user of the engine's `HistoryWriter`. A failure to write is told to `broken`, once; what follows is only counted.
"""

import time
from collections.abc import Callable
from pathlib import Path

from harness.errors import RecordUnusable
from harness.focus.api import Attempt
from harness.focus.seam import Begin
from harness.history.events import Drift, Event, LoadState, Note, Outcome, ProcessEnded, ProcessStarted
from harness.history.live import LiveSender
from harness.history.samples import ACCEPTED, ARRIVALS, ATTEMPTS, FRAMES, SENT
from harness.history.writer import HistoryWriter


class Recorder:
    """Writes the engine's part of the history; instants come in as `time.monotonic_ns` and go out as run time."""

    def __init__(self, begin: Begin, broken: Callable[[RecordUnusable], None]) -> None:
        live = LiveSender(Path(begin.live)) if begin.live else None
        self._writer = HistoryWriter(Path(begin.history), begin.writer, live)
        self._attempts = self._writer.samples(ATTEMPTS)
        self._frames = self._writer.samples(FRAMES)
        self._arrivals = self._writer.samples(ARRIVALS)
        self._intended: dict[int, int] = {}
        """When arrivals whose answer is not known yet were intended, by window."""
        self._start_ns = begin.clock_start_ns
        self._broken = broken
        self._drift: set[str] = set()
        self._noted: set[str] = set()
        self._cpu = (time.monotonic_ns(), time.process_time())
        self._load_cpu = 0.0
        self._load_cpu_seen = 0.0
        self.name = begin.writer
        self.creates = 0
        self.opening = 0
        self.streaming = 0
        self.unknown = 0
        self.wanted = 0
        self.lag_ns = 0

    def run_ns(self, monotonic_ns: int) -> int:
        """Return the run's instant for a reading of the monotonic clock."""
        return monotonic_ns - self._start_ns

    def monotonic_ns(self, run_ns: int) -> int:
        """Return the reading of the monotonic clock for an instant of the run."""
        return run_ns + self._start_ns

    def now(self) -> int:
        """Return the run's instant now."""
        return time.monotonic_ns() - self._start_ns

    def event(self, event: Event) -> None:
        """Append an event."""
        try:
            self._writer.event(event)
        except RecordUnusable as error:
            self._broken(error)

    def note(self, level: str, text: str) -> None:
        """Append something a reader of the record should know."""
        self.event(Note(at_ns=self.now(), level=level, text=text))

    def note_once(self, level: str, text: str) -> None:
        """Append a note unless the very same one was written before."""
        if text not in self._noted:
            self._noted.add(text)
            self.note(level, text)

    def started(self, pid: int) -> None:
        """Say that the engine runs."""
        self.event(ProcessStarted(at_ns=self.now(), process=self.name, pid=pid))

    def attempt(self, attempt: Attempt, window: int) -> None:
        """Append one HTTP attempt."""
        row = self._attempts
        if attempt.operation == "configure":
            outcome = attempt.outcome.value if attempt.outcome else ACCEPTED
        elif attempt.outcome is Outcome.CANCELLED:  # by our own stop: nobody failed
            outcome = attempt.outcome.value
        elif attempt.operation == "configure_invalid":
            outcome = (
                "ok" if 400 <= attempt.status < 500 else "failed"
            )  # to be refused is what it was sent for
        else:
            outcome = "failed" if attempt.outcome else "ok"
        sent_ns = self.run_ns(attempt.sent_ns)
        row.add(
            (
                self._intended.pop(window, sent_ns),  # closed users send when they decide to
                sent_ns,
                self.run_ns(attempt.done_ns),
                window,
                row.text(attempt.operation),
                row.text(outcome),
                attempt.status,
                min(attempt.bytes, 0x7FFFFFFF),
                row.text(attempt.body),
                int(attempt.request_id[-16:], 16),
            )
        )

    def arrived(self, window: int, intended_ns: int, sent_ns: int) -> None:
        """Append that a planned arrival is sent: instants of the run, and of the monotonic clock."""
        self._intended[window] = intended_ns
        row = self._arrivals
        row.add((intended_ns, self.run_ns(sent_ns), window, 1, row.text(SENT)))

    def not_offered(self, window: int, count: int, intended_ns: int, why: str) -> None:
        """Append that a planned arrival, and the `count` - 1 after it, are not offered."""
        row = self._arrivals
        row.add((intended_ns, 0, window, count, row.text(why)))

    def frame(self, row: tuple[int, ...]) -> None:
        """Append one frame: a row of FRAMES."""
        self._frames.add(row)

    def drift(self, quirks: tuple[str, ...], where: str) -> None:
        """Append the quirks that were not seen before."""
        for quirk in quirks:
            if quirk not in self._drift:
                self._drift.add(quirk)
                self.event(Drift(at_ns=self.now(), quirk=quirk, detail=where))

    def heard(self, cpu_s: float, wanted: int) -> None:
        """Take what the load process says of itself."""
        if not self._load_cpu:  # what it used before its first word was its start
            self._load_cpu_seen = cpu_s
        self._load_cpu, self.wanted = cpu_s, wanted

    def gather(self) -> None:
        """Pack the samples of the last moment."""
        self._writer.gather()

    def second(self) -> None:
        """Write the second that is over: samples, and the state of the load."""
        try:
            self._writer.flush()
        except RecordUnusable as error:
            self._broken(error)
        before_ns, before_s = self._cpu
        self._cpu = (time.monotonic_ns(), time.process_time())
        spent_s = self._cpu[1] - before_s + self._load_cpu - self._load_cpu_seen
        self._load_cpu_seen = self._load_cpu
        self.event(
            LoadState(
                at_ns=self.run_ns(self._cpu[0]),
                streams_open=self.streaming,
                opening=self.opening,
                creates=self.creates,
                unknown=self.unknown,
                lag_ns=self.lag_ns,
                cpu=round(spent_s * 1e9 / max(1, self._cpu[0] - before_ns), 4),
                wanted=self.wanted,
            )
        )
        self.lag_ns = 0

    def close(self, pid: int) -> None:
        """Write the rest and close the files."""
        self.second()
        self.event(ProcessEnded(at_ns=self.now(), process=self.name, pid=pid, exit_code=0))
        try:
            self._writer.close()
        except RecordUnusable as error:
            self._broken(error)
