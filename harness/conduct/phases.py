"""Keep the run's phase: the plan says when it should change, the faults' own events say when it did.

A phase is `inject` from a step's planned instant until its fault is in, and `undo` from the planned end until its undoing
was verified, however long that takes: what clients see then must not count as recovery.
"""

from dataclasses import dataclass, field

from harness.campaign import Moment, Plan
from harness.clock import SECOND_NS, Clock
from harness.history.events import FaultChanged, FaultStep, Phase, PhaseChanged
from harness.history.writer import HistoryWriter


@dataclass(slots=True)
class FaultBoard:
    """Which undo entries of each chaos process are in which step, by the events heard so far.

    Keyed by the process' writer, because one experiment may stand on the timeline twice. An entry belongs to whoever was
    heard of it first: the guard tells of entries that are not its own.
    """

    steps: dict[str, dict[str, FaultStep]] = field(default_factory=dict)
    owner: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    """Chaos processes that have ended: nothing more will be heard of them."""

    def absorb(self, event: FaultChanged, writer: str) -> None:
        """Take note of one step of one entry."""
        self.steps.setdefault(self.owner.setdefault(event.entry, writer), {})[event.entry] = event.step

    def injected(self, writer: str) -> bool:
        """Whether every entry opened so far is in, and there is one."""
        steps = self.steps.get(writer, {})
        return writer in self.ended or (bool(steps) and FaultStep.OPENED not in steps.values())

    def undone(self, writer: str) -> bool:
        """Whether everything the process opened is verified (or given up) to be undone."""
        over = {FaultStep.VERIFIED, FaultStep.FAILED}
        return writer in self.ended or all(step in over for step in self.steps.get(writer, {}).values())


def chaos_writer(number: int) -> str:
    """Return the writer's name of the chaos process that plays moment `number` (from 1) of the timeline."""
    return f"chaos-{number}"


class Phases:
    """Writes a `PhaseChanged` whenever `tick` finds that the phase has changed."""

    def __init__(self, plan: Plan, board: FaultBoard, writer: HistoryWriter, clock: Clock) -> None:
        self._plan = plan
        self._board = board
        self._writer = writer
        self._clock = clock
        self._undone_at_s: dict[str, float] = {}
        self._current: tuple[Phase, str] | None = None

    def tick(self, offset_ns: int) -> None:
        """Look at the clock; `offset_ns` is the instant at which the load's time began."""
        now_ns = self._clock.now()
        self._change(now_ns, *self._at((now_ns - offset_ns) / SECOND_NS))

    def at(self, phase: Phase, step: str) -> None:
        """Say which phase it is; nothing when it is that one already."""
        self._change(self._clock.now(), phase, step)

    @property
    def draining(self) -> bool:
        """Whether the last phase has begun."""
        return self._current is not None and self._current[0] is Phase.DRAIN

    def drain(self) -> None:
        """Begin the last phase."""
        self._change(self._clock.now(), Phase.DRAIN, "")

    def _change(self, now_ns: int, phase: Phase, step: str) -> None:
        if (phase, step) != self._current:
            self._current = (phase, step)
            self._writer.event(PhaseChanged(at_ns=now_ns, phase=phase, step=step))

    def _at(self, t_s: float) -> tuple[Phase, str]:
        if self.draining:
            return Phase.DRAIN, ""
        moments = enumerate(self._plan.moments, start=1)
        active = [
            found for n, moment in moments if (found := self._of(chaos_writer(n), moment, t_s)) is not None
        ]
        for phase in (Phase.UNDO, Phase.INJECT, Phase.HOLD, Phase.RECOVER):
            of_phase = [experiment for kind, experiment in active if kind is phase]
            if of_phase:
                return phase, of_phase[-1]
        return (Phase.WARM_UP if t_s < self._plan.campaign.warm_up else Phase.BASELINE), ""

    def _of(self, writer: str, moment: Moment, t_s: float) -> tuple[Phase, str] | None:
        name = moment.experiment
        if t_s < moment.inject_s:
            return None
        if t_s < moment.undo_s:
            return (Phase.HOLD if self._board.injected(writer) else Phase.INJECT), name
        if writer not in self._undone_at_s:
            if not self._board.undone(writer):
                return Phase.UNDO, name
            self._undone_at_s[writer] = t_s
        if t_s < min(self._undone_at_s[writer] + self._plan.campaign.recover, self._plan.duration_s):
            return Phase.RECOVER, name
        return None
