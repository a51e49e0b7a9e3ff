"""The budget, enforced where creates are sent, so that it holds whoever asks for windows. Pure: the instant is an argument.

`ask` is called before every create and again when it says to wait. A create that was refused for certain costs no job; one whose
answer was lost does.
"""

from collections import deque
from dataclasses import dataclass

from harness.focus.seam import Budget


@dataclass(frozen=True, slots=True)
class Go:
    """Send it now; the job is paid for."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again after `ns` nanoseconds; `limit` is what holds it back."""

    ns: int
    limit: str


@dataclass(frozen=True, slots=True)
class Spent:
    """Nothing more will be opened: `limit` is used up."""

    limit: str
    text: str


LOOK_AGAIN_NS = 50_000_000


class Purse:
    """Counts jobs, open windows and time against a budget; all instants are nanoseconds on one clock."""

    def __init__(self, budget: Budget, began_ns: int) -> None:
        self._budget = budget
        self._began_ns = began_ns
        most = max(1, int(budget.max_rate_per_s))
        self._span_ns = round(most * 1e9 / budget.max_rate_per_s)
        """So long a time may see no more creates than `_sent` holds."""
        self._sent: deque[int] = deque(maxlen=most)
        self._asked = 0
        self.jobs = 0
        self.open = 0

    def ask(self, now_ns: int) -> Go | Wait | Spent:
        """Say whether a create may be sent at `now_ns`; `Go` counts it."""
        budget = self._budget
        if (late := self.late(now_ns)) is not None:
            return late
        if self.jobs >= budget.max_jobs:
            return Spent("max_jobs", f"budget max_jobs: {self.jobs} jobs were made, no more are allowed")
        if self.jobs + self._asked >= budget.max_jobs:
            return Wait(LOOK_AGAIN_NS, "max_jobs")
        if self.open >= budget.max_open_windows:
            return Wait(LOOK_AGAIN_NS, "max_open_windows")
        if len(self._sent) == self._sent.maxlen and (left_ns := self._sent[0] + self._span_ns - now_ns) > 0:
            return Wait(left_ns, "max_rate_per_s")
        self._sent.append(now_ns)
        self._asked += 1
        self.open += 1
        return Go()

    def late(self, now_ns: int) -> Spent | None:
        """Return that `max_duration` is over, if it is."""
        if now_ns - self._began_ns < self._budget.max_duration_s * 1e9:
            return None
        limit_s = self._budget.max_duration_s
        return Spent("max_duration", f"budget max_duration: {limit_s:g} s of load are over")

    def made(self) -> None:
        """The create made a job, or may have."""
        self._asked -= 1
        self.jobs += 1

    def refused(self) -> None:
        """The create made no job for certain."""
        self._asked -= 1

    def closed(self) -> None:
        """A window that `ask` let through is over."""
        self.open -= 1
