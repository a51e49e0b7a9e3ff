"""When the rows of a live window are due, and who of several readers gets them.

Row k of a window is due at the window's start plus k row times: absolute instants, so a late row does not delay
the next. A reader that falls behind by more than the backlog loses rows (a gap in row_index), as a full display
buffer would. Readers of one stream share one cursor in `split` mode and have one each in `copy` mode. Used by the
stream server only; knows no gRPC and no clock but the one it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable

BACKLOG_S = 0.5


class LiveCursor:
    """Hands out rows in order with the instant they are due."""

    def __init__(self, start_s: float, lines_dt_s: float, now: Callable[[], float]) -> None:
        self._start_s = start_s
        self._dt_s = lines_dt_s
        self._now = now
        self._next: int | None = None

    def take(self) -> tuple[int, float]:
        """Return the next row and its due instant in seconds of the clock given."""
        reached = (self._now() - self._start_s) / self._dt_s
        if self._next is None or reached - self._next > max(1.0, BACKLOG_S / self._dt_s):
            self._next = max(0, math.ceil(reached))
        row = self._next
        self._next += 1
        return row, self._start_s + row * self._dt_s


class HistoricCursor:
    """Hands out the first rows of messages until the recording ends."""

    def __init__(self, rows: int, rows_per_message: int) -> None:
        self._rows = rows
        self._step = rows_per_message
        self._next = 0

    def take(self) -> range | None:
        """Return the rows of the next message, None at the end of the data."""
        if self._next >= self._rows:
            return None
        rows = range(self._next, min(self._next + self._step, self._rows))
        self._next = rows.stop
        return rows
