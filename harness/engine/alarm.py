"""Wake the event loop at an absolute instant, to some tens of microseconds: the loop's own timers count in milliseconds."""

import asyncio
import ctypes
import os
import sys
import time

TFD_NONBLOCK = os.O_NONBLOCK
TFD_TIMER_ABSTIME = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timer(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Alarm:
    """One alarm of one event loop, set for one instant at a time. Without Linux's timerfd it is the loop's timer."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung: asyncio.Future[None] | None = None
        self._fd = -1
        if sys.platform == "linux":
            self._c = ctypes.CDLL(None, use_errno=True)
            self._fd = self._c.timerfd_create(time.CLOCK_MONOTONIC, TFD_NONBLOCK)
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._ring)

    async def until(self, monotonic_ns: int) -> None:
        """Return at `monotonic_ns` (of `time.monotonic_ns`), at once if that is over."""
        if monotonic_ns <= time.monotonic_ns():
            await asyncio.sleep(0)
            return
        if self._fd < 0:
            await asyncio.sleep((monotonic_ns - time.monotonic_ns()) / 1e9)
            return
        self._rung = self._loop.create_future()
        value = _Timespec(*divmod(monotonic_ns, 1_000_000_000))
        self._c.timerfd_settime(self._fd, TFD_TIMER_ABSTIME, ctypes.byref(_Timer(_Timespec(), value)), None)
        await self._rung

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _ring(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # it was set anew meanwhile
            return
        if self._rung is not None and not self._rung.done():
            self._rung.set_result(None)
