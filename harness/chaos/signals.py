"""Hear a signal whatever else becomes of it.

Chaos Toolkit puts a handler of its own in place between our actions, which raises in the main thread; raised inside a log line, that is
swallowed, and the signal is gone. The interpreter also writes each signal's number to a file descriptor, and a thread here
reads it: the play is told, and ends at its next step.
"""

import os
import signal
import threading
from collections.abc import Callable


def hear(numbers: tuple[signal.Signals, ...], told: Callable[[str], None]) -> None:
    """Call `told` with a signal's name, in a thread, whenever one of `numbers` arrives; call this on the main thread."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)

    def follow() -> None:
        while data := os.read(read_end, 64):
            for number in numbers:
                if number in data:
                    told(number.name)

    threading.Thread(target=follow, name="signals", daemon=True).start()
