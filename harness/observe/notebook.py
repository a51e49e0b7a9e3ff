"""Where every watcher writes: observations only when they differ from the last, and who can see and who cannot.

Called from all watcher threads. Keeps for `health()` what it last wrote of each watcher. It never raises into a watcher when
the record cannot be written: that is kept as the watcher's state, and the conductor's own writer meets the same disk.
"""

import threading
from dataclasses import dataclass

import msgspec

from harness.clock import SECOND_NS, Clock
from harness.errors import RecordUnusable
from harness.history.events import DependencySeen, Event, WatcherState
from harness.history.writer import HistoryWriter

REPEAT_NS = 10 * SECOND_NS
"""A dependency's state is written on change, and this often without one."""
DOWN_REPEAT_NS = SECOND_NS
"""That it is still down is written more often: since the last such word it may have been back."""
SLOWER_NS = SECOND_NS // 10
"""A dependency that takes this much longer or less than last written, and twice or half as long, has changed too."""


STOOD_STILL = "the watchers' process stood still"


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a watcher can see, since when, and if not, why not."""

    seeing: bool
    since_ns: int
    detail: str = ""


class Notebook:
    """The watchers' common way to the history; takes over the writer."""

    def __init__(self, writer: HistoryWriter, clock: Clock) -> None:
        self.clock = clock
        self._writer = writer
        self._lock = threading.Lock()
        self._last: dict[tuple[str, str], Event] = {}
        self._health: dict[str, Health] = {}
        self._blinked: set[str] = set()
        self._lost = ""
        self._closed = False

    def now(self) -> int:
        """Return the present instant."""
        return self.clock.now()

    def note(self, event: Event, key: str = "") -> bool:
        """Write `event` unless it says what the last of its kind and `key` said; return whether it was written."""
        slot = (type(event).__name__, key)
        with self._lock:
            before = self._last.get(slot)
            if before is not None and msgspec.structs.replace(before, at_ns=event.at_ns) == event:
                return False
            self._last[slot] = event
            self._write(event)
            return True

    def append(self, event: Event) -> None:
        """Write `event`, whatever the last one said."""
        with self._lock:
            self._write(event)

    def forget(self, kind: type[Event], key: str) -> None:
        """Forget what was said of `key`: it is gone and its name may come again."""
        with self._lock:
            self._last.pop((kind.__name__, key), None)

    def dependency(self, name: str, *, up: bool, at_ns: int, latency_ns: int = 0, detail: str = "") -> None:
        """Write a dependency's state if it changed (by its latency, too), or was last written `REPEAT_NS` ago (`DOWN_REPEAT_NS` while it is down)."""
        slot = (DependencySeen.__name__, name)
        with self._lock:
            before = self._last.get(slot)
            if isinstance(before, DependencySeen):
                same = before.up == up and not _shifted(before.latency_ns, latency_ns)
                if same and at_ns - before.at_ns < (REPEAT_NS if up else DOWN_REPEAT_NS):
                    return
            event = DependencySeen(at_ns=at_ns, dependency=name, up=up, latency_ns=latency_ns, detail=detail)
            self._last[slot] = event
            self._write(event)

    def seeing(self, watcher: str, *, seeing: bool, detail: str = "", at_ns: int | None = None) -> None:
        """Write that a watcher can see, or no longer can, if that is new."""
        with self._lock:
            before = self._health.get(watcher)
            if before is not None and before.seeing == seeing:
                return
            instant = self.clock.now() if at_ns is None else at_ns
            self._health[watcher] = Health(seeing, instant, detail)
            self._write(WatcherState(at_ns=instant, watcher=watcher, seeing=seeing, detail=detail))

    def blinked(self, from_ns: int) -> None:
        """Write for every watcher that sees that nobody has looked since `from_ns` (the process stood still)."""
        with self._lock:
            watchers = [name for name, health in self._health.items() if health.seeing]
            for watcher in watchers:
                self._health[watcher] = Health(False, from_ns, STOOD_STILL)
                self._write(WatcherState(at_ns=from_ns, watcher=watcher, seeing=False, detail=STOOD_STILL))
        self._blinked |= set(watchers)

    def caught_up(self) -> None:
        """Let watchers that stood still see again: what they had missed has been told with instants that are too late."""
        blinked, self._blinked = self._blinked, set()
        for watcher in blinked:
            with self._lock:
                still = self._health[watcher].detail == STOOD_STILL
            if still:
                self.seeing(watcher, seeing=True)

    def health(self) -> dict[str, Health]:
        """Return every watcher's state; a record that cannot be written makes all of them blind."""
        with self._lock:
            if not self._lost:
                return dict(self._health)
            return {name: Health(False, health.since_ns, self._lost) for name, health in self._health.items()}

    def close(self) -> None:
        """Close the writer; what is said afterwards is dropped."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._writer.close()

    def _write(self, event: Event) -> None:
        if self._closed:
            return
        try:
            self._writer.event(event)
        except RecordUnusable as error:
            self._lost = str(error)


def _shifted(before_ns: int, now_ns: int) -> bool:
    low, high = sorted((before_ns, now_ns))
    return high - low > SLOWER_NS and high > 2 * low
