"""Give every open window a channel range of its own, so that another window's frames can be told by looking. Pure.

Ranges have one width and begin at different channels; a range given back is used again as late as possible, because the job
that had it may still be answering on a reused port. When all are taken, narrower ones follow; when there are none at all the
whole range is shared, which `taken` windows then cannot be told apart by.
"""

from collections import deque

from harness.focus.seam import Payload

Range = tuple[int, int]


class Watermarks:
    """Hands out channel ranges; the engine takes one per create and gives it back when the window is over."""

    def __init__(self, payload: Payload, part: int = 0, parts: int = 1) -> None:
        """Of all ranges those are handed out that begin at every `parts`-th channel, from `part` on."""
        self._payload = payload
        self._part, self._parts = part, parts
        self._free: dict[int, deque[Range]] = {}
        self._open: set[Range] = set()

    def take(self, channels: int | None = None) -> Range:
        """Return a range of the payload's width, or of another, that no open window has (a narrower or the common one if none is left)."""
        widest = min(
            channels or self._payload.channels, self._payload.channel_max - self._payload.channel_min + 1
        )
        for width in range(widest, 0, -1):
            free = self._free.get(width)
            if free is None:
                free = self._free[width] = deque(self._of_width(width))
            if free:
                taken = free.popleft()
                self._open.add(taken)
                return taken
        return (self._payload.channel_min, self._payload.channel_min + widest - 1)

    def give_back(self, taken: Range) -> None:
        """Free a range; one that was shared is not in anybody's possession."""
        if taken in self._open:
            self._open.remove(taken)
            self._free[taken[1] - taken[0] + 1].append(taken)

    def _of_width(self, width: int) -> list[Range]:
        last = self._payload.channel_max - width + 1
        first = self._payload.channel_min + self._part
        return [(low, low + width - 1) for low in range(first, last + 1, self._parts)]
