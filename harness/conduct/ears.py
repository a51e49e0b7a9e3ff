"""Listen to the live path: one thread that feeds what every process of the run tells to those who show it.

Nothing is decided from it that the record could not decide later: phases need it in time, terminal and metrics show it.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Self

from harness.history.events import Record
from harness.history.live import LiveReceiver, Second

Hearer = Callable[[Record | Second], None]


class Ears:
    """Hands every live message to every hearer, in a thread of its own, for the length of the block."""

    def __init__(self, receiver: LiveReceiver, hearers: Sequence[Hearer]) -> None:
        self._receiver = receiver
        self._hearers = hearers
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="live path", daemon=True)
        self.failure: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(5.0)
        self._receiver.close()

    def _listen(self) -> None:
        while True:
            try:
                message = self._receiver.receive(0.2)
                if message is None:
                    if self._done.is_set():
                        return
                    continue
                for hear in self._hearers:
                    hear(message)
            except Exception as failure:  # the show may suffer, the run may not; the conductor notes it
                self.failure = self.failure or failure
