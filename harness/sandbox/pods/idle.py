"""The program of `pause` and of the hogs: holds its pod's resources and does nothing until it is told to end.

Called by the spawner. It uses no CPU and refuses no signal.
"""

from __future__ import annotations

import signal
from types import FrameType

from harness.sandbox.pods.context import PodContext


class _Told(Exception):
    """SIGTERM arrived."""


def _told(_signal: int, _frame: FrameType | None) -> None:
    raise _Told


def main(pod: PodContext) -> int:
    """Wait for SIGTERM; return 0."""
    try:
        signal.signal(signal.SIGTERM, _told)
        while True:
            signal.pause()
    except _Told:
        return 0
