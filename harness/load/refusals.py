"""When to stop asking: equal refusals in a row suspend a scenario, and then one user at a time probes. Pure.

The recorded overloads of the field were made by clients that kept asking. One `Refusals` per scenario, used by all its users in
one process; instants are arguments. A plan's `storm: true` switches it off.
"""

from dataclasses import dataclass

from harness.history.events import Outcome

PROBE_ON_ITS_WAY_NS = 250_000_000

REFUSALS: frozenset[Outcome] = frozenset(
    {
        Outcome.UNAVAILABLE_503,
        Outcome.SERVER_5XX,
        Outcome.PARSE_500,
        Outcome.INGRESS_502_504,
        Outcome.NO_RECORDING_404,
        Outcome.NOT_FOUND_404,
        Outcome.VALIDATION_422,
        Outcome.OTHER_STATUS,
        Outcome.CONNECT_FAILED,
        Outcome.CONNECT_TIMEOUT,
        Outcome.READ_TIMEOUT,
        Outcome.BROKEN_ANSWER,
        Outcome.UNKNOWN,
    }
)
"""Ways in which a create got no window: the load waits before it asks again."""


@dataclass(frozen=True, slots=True)
class Suspension:
    """The scenario stops asking until `until_ns`."""

    outcome: Outcome
    refusals: int
    until_ns: int


class Refusals:
    """Counts equal refusals in a row of one scenario."""

    def __init__(self, after: int, suspend_ns: int, *, storm: bool = False) -> None:
        self._after = after
        self._suspend_ns = suspend_ns
        self._storm = storm
        self._outcome: Outcome | None = None
        self._count = 0
        self._until_ns: int | None = None
        self._probing = False

    def wait_ns(self, now_ns: int) -> int:
        """Return how long a user has to wait before it looks again; 0 means: ask now (as the probe, if suspended)."""
        if self._until_ns is None:
            return 0
        if now_ns < self._until_ns:
            return self._until_ns - now_ns
        if self._probing:
            return PROBE_ON_ITS_WAY_NS
        self._probing = True
        return 0

    def accepted(self) -> None:
        """A window was granted: the row is broken."""
        self._outcome, self._count, self._until_ns, self._probing = None, 0, None, False

    def refused(self, outcome: Outcome, now_ns: int) -> Suspension | None:
        """Count a refusal; return the suspension that begins with it, if one does."""
        if outcome is not self._outcome:
            self._outcome, self._count, self._until_ns = outcome, 0, None
        self._count += 1
        self._probing = False
        if self._storm or self._count < self._after:
            return None
        if self._until_ns is not None and now_ns < self._until_ns:
            return None  # an answer to a question that was asked before the suspension
        self._until_ns = now_ns + self._suspend_ns
        return Suspension(outcome, self._count, self._until_ns)

    def gave_up(self) -> None:
        """A user stopped before its answer came; if it was the probe, somebody else may probe."""
        self._probing = False
