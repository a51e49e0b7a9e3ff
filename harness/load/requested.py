"""Requests of people's own user classes, as Locust reports them, into the load's record: one row each, written once a second.

Fed by a listener of `events.request`; what the session itself shows on Locust's pages is marked with `OURS` and left out, because
the engine has recorded it already.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from harness.clock import SECOND_NS, Clock
from harness.history.samples import OTHER, REQUESTS
from harness.history.writer import HistoryWriter, SampleFile

OURS: Final[dict[str, Any]] = {}
"""The `context` of rows that the session fires: known by its identity."""
NAMES = 200
"""So many different types and names are kept apart, further ones are counted together."""
ERRORS = 100
LONGEST_S = 86_400.0
LARGEST = 2**53


class Requested:
    """Writes requests down. `note` says something in the record, once."""

    def __init__(self, writer: HistoryWriter, clock: Clock, note: Callable[[str, str], None]) -> None:
        self._writer = writer
        self._clock = clock
        self._note = note
        self._file: SampleFile | None = None
        self._known: set[tuple[str, str]] = set()
        self._errors: set[str] = set()
        self._full = False

    def heard(
        self,
        request_type: Any = "",
        name: Any = "",
        response_time: float | None = 0.0,
        response_length: float | None = 0,
        exception: BaseException | None = None,
        start_time: float | None = None,
        response: Any = None,
        **_: Any,
    ) -> None:
        """Take one request: the arguments of Locust's `events.request`."""
        now_ns = self._clock.now()
        took_ns = _within(response_time, LONGEST_S * 1e3, 1e6)
        if self._file is None:
            self._file = self._writer.samples(REQUESTS)
        kind, called = self._named(str(request_type), str(name))
        self._file.add(
            (
                now_ns - max(took_ns, _since_ns(start_time, took_ns)),
                took_ns,
                _within(response_length, LARGEST, 1),
                self._file.text(kind),
                self._file.text(called),
                self._file.text(self._error(exception, response)),
            )
        )

    def _named(self, kind: str, name: str) -> tuple[str, str]:
        request = (kind, name)
        if request in self._known:
            return request
        if len(self._known) < NAMES:
            self._known.add(request)
            return request
        if not self._full:
            self._full = True
            self._note(
                "warning",
                f"own users' requests have more than {NAMES} different names; further ones are counted as {OTHER!r}. "
                "Give requests of one kind one name (name=...)",
            )
        return ("any", OTHER)

    def _error(self, exception: BaseException | None, response: Any) -> str:
        if not exception:  # as Locust judges it: some give an empty text for success
            return ""
        status = getattr(response, "status_code", 0)
        kind = type(exception).__name__ if isinstance(exception, BaseException) else "failure"
        text = f"{kind} {status}" if status else kind
        if text in self._errors or len(self._errors) < ERRORS:
            self._errors.add(text)
            return text
        return OTHER


def _since_ns(start_time: float | None, took_ns: int) -> int:
    """Return how long ago a request began by the wall clock, where that is told and can be true; else 0."""
    if not isinstance(start_time, int | float):
        return 0
    since_ns = int((time.time() - start_time) * SECOND_NS) if 0 < start_time < LARGEST else 0
    return since_ns if since_ns < took_ns + 60 * SECOND_NS else 0


def _within(value: float | None, most: float, scale: float) -> int:
    """Return what a client reported as a whole number, in bounds whatever it was."""
    if not isinstance(value, int | float) or not value >= 0:
        return 0
    return int(min(value, most) * scale)
