"""What may pass through a proxy, and how fast: the network between clients and pods as far as a proxy is it.

A `Traffic` says what holds for all connections of a proxy; each direction of a connection is a `Lane`, which passes on what it
is given at once, late, or not for now, and always in order. Nothing is ever lost: what is held flows again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from harness.sandbox.impairments import NONE, Impairment

Backend = tuple[str, int]
Allows = Callable[[str, Backend], bool]
LANE_BYTES = 4 << 20
"""What a lane keeps at most before its sender has to wait, like the buffers of a long line."""


class Traffic:
    """What holds for everything that passes through one proxy."""

    def __init__(self) -> None:
        self._impairment = NONE
        self._allows: Allows = lambda _source, _backend: True
        self._lanes: set[Lane] = set()
        self._changed = asyncio.Event()

    @property
    def delay_s(self) -> float:
        """How much longer each way is."""
        return self._impairment.delay_s

    @property
    def drops(self) -> bool:
        """Whether nothing passes at all."""
        return self._impairment.drops

    def allows(self, source: str, backend: Backend) -> bool:
        """Say whether policies let a client's packets through to a pod."""
        return self._allows(source, backend)

    def impair(self, impairment: Impairment) -> None:
        """Be impaired like this from now on."""
        self._impairment = impairment
        self.changed()

    def police(self, allows: Allows) -> None:
        """Let through what `allows` says; call `changed` when its answers change."""
        self._allows = allows
        self.changed()

    def changed(self) -> None:
        """Look at every connection again, and wake whoever waits for a change."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for lane in list(self._lanes):
            lane.look()

    async def change(self) -> None:
        """Wait until something changes."""
        await self._changed.wait()

    def join(self, lane: Lane) -> None:
        """Take a lane in."""
        self._lanes.add(lane)

    def leave(self, lane: Lane) -> None:
        """Forget a lane through which nothing will come any more."""
        self._lanes.discard(lane)


class Lane:
    """One direction of a connection from `source` to `backend`; `brake` stops and releases its sender."""

    def __init__(
        self, traffic: Traffic, source: str, backend: Backend, brake: Callable[[bool], None]
    ) -> None:
        self._traffic = traffic
        self._between = source, backend
        self._brake = brake
        self._pieces: deque[tuple[float, int, Callable[[], None]]] = deque()
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._held = False
        traffic.join(self)
        self.look()

    @property
    def is_free(self) -> bool:
        """Whether what comes now may pass at once."""
        return not (self._held or self._traffic.delay_s)

    def put(self, size: int, pass_on: Callable[[], None]) -> None:
        """Do `pass_on`, which carries `size` bytes, when its turn has come."""
        if self.is_free:
            pass_on()
            return
        self._pieces.append((asyncio.get_running_loop().time(), size, pass_on))
        self._bytes += size
        if self._bytes > LANE_BYTES:
            self._brake(True)
        self._flow()

    def look(self) -> None:
        """See again what holds, and pass on what may go now."""
        self._held = self._traffic.drops or not self._traffic.allows(*self._between)
        if self._pieces:
            self._flow()

    def _flow(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._pieces and not self._held:
            came_s, size, pass_on = self._pieces[0]
            due_s = came_s + self._traffic.delay_s
            if due_s > loop.time():
                self._timer = loop.call_at(due_s, self._flow)
                break
            self._pieces.popleft()
            self._bytes -= size
            pass_on()
        if self._bytes <= LANE_BYTES // 2:
            self._brake(False)
