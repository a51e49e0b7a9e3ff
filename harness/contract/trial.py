"""What was seen of one fault that was tried once: facts, no judgment. `attempt.py` collects them, `promises.py` judges."""

from dataclasses import dataclass, field
from typing import Any

from harness.chaos.faults import Fault
from harness.errors import Exit
from harness.history.events import FaultStep


@dataclass
class Trial:
    """What was seen of one fault."""

    fault: Fault[Any, Any]
    skipped: str = ""
    """Why this target cannot take it."""
    no_windows: str = ""
    """Why fewer windows than wanted were open."""
    error: str = ""
    """What went wrong, so that the rest was not tried."""
    by_looking: list[str] = field(default_factory=list)
    """What was changed by those verbs that only read."""
    forgets: list[str] = field(default_factory=list)
    """What does not survive being written to the journal and read back."""
    idle: list[str] = field(default_factory=list)
    """What an undo without an injection has changed of the declared state, or claims to have left."""
    late: list[str] = field(default_factory=list)
    """What a request changed that came late, after the undo."""
    without_right: list[str] = field(default_factory=list)
    unmarked: list[str] = field(default_factory=list)
    """What it changed and made that does not carry its mark while it is in, or that a sweep would not find."""
    active: bool = False
    verified: bool = False
    problem: str = ""
    undone: list[str] = field(default_factory=list)
    """What of the declared state was not as before once it was verified."""
    undone_twice: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    armed: list[str] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    """Each step of the record, in order, and its second."""
    ended: Exit = Exit.OK

    def took_s(self, start: FaultStep, end: FaultStep) -> float | None:
        """Return the time between two steps, None if one is missing."""
        if start.value not in self.steps or end.value not in self.steps:
            return None
        return self.steps[end.value] - self.steps[start.value]
