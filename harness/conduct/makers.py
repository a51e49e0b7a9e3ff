"""Whose is what was left? A window's by its job id, a fault's by its entry, this run's processes, somebody else's; or nobody can tell.

Called by the audit, with the events of the run. Ours is only what the record proves to be ours; what may be ours and may be somebody
else's is `unknown`, and neither fails a run nor lets it pass.
"""

from collections.abc import Iterable

from harness.conduct.things import LEASE, PROCESS, SOCKET, Thing
from harness.history.events import FaultChanged, Record, WindowAccepted, WindowClosed, WindowUnknown

OWN, FAULT, FOREIGN, UNKNOWN = "own", "fault", "foreign", "unknown"
TAKES_WINDOWS = "fill-windows"
"""The fault that opens windows: they are known as its own while their Jobs are there, which carry its mark."""


class Makers:
    """Who made what, as one run's record tells it."""

    def __init__(self, records: Iterable[Record], there_before: Iterable[str] = ()) -> None:
        self.windows: dict[str, int] = {}
        """Windows by job id."""
        self._there_before = frozenset(there_before)
        self._closed: dict[int, WindowClosed] = {}
        self._experiments: dict[str, str] = {}
        self._squatters: dict[str, str] = {}
        """Entries of faults' windows by job id, as far as their marks were seen."""
        self._lost = 0
        self._takes_windows = False
        for record in records:
            match record.event:
                case WindowAccepted(job_id=job_id, window=window):
                    self.windows[job_id] = window
                case WindowClosed(window=window) as closed:
                    self._closed[window] = closed
                case WindowUnknown():
                    self._lost += 1
                case FaultChanged(entry=entry, experiment=experiment, fault=fault):
                    self._experiments[entry] = experiment
                    self._takes_windows |= fault == TAKES_WINDOWS

    def note_marks(self, things: Iterable[Thing]) -> None:
        """Remember which windows carry the mark of a fault: a Service carries none once the Job is gone."""
        self._squatters |= {thing.job_id: thing.entry for thing in things if thing.job_id and thing.entry}

    def of(self, thing: Thing) -> tuple[str, str]:
        """Return the owner (own, fault, foreign or unknown) and, in words, what made it."""
        if thing.kind in {PROCESS, SOCKET}:
            return OWN, "this run"
        if thing.kind == LEASE:
            return FOREIGN, "somebody else: a run has no Lease but the lock"
        entry = thing.entry or self._squatters.get(thing.job_id, "")
        if entry in self._experiments:
            return FAULT, f"{self._experiments[entry]} ({entry})"
        if entry:
            return UNKNOWN, f"a fault that this run has no record of ({entry})"
        if window := self.windows.get(thing.job_id):
            return OWN, self._window(window)
        return self._stranger(thing)

    def _window(self, window: int) -> str:
        closed = self._closed.get(window)
        told = (
            f", closed at {closed.at_ns / 1e9:.1f} s ({closed.outcome})"
            if closed
            else ", never seen to close"
        )
        return f"window {window}{told}"

    def _stranger(self, thing: Thing) -> tuple[str, str]:
        if thing.job_id in self._there_before:
            return FOREIGN, "a window that was there before"
        perhaps = []
        if self._lost:
            creates = "a create" if self._lost == 1 else f"one of {self._lost} creates"
            perhaps.append(f"{creates} whose answer was lost")
        if self._takes_windows:
            perhaps.append(f"{TAKES_WINDOWS}, whose mark it does not carry")
        if perhaps:
            return UNKNOWN, f"{' or '.join(perhaps)}, or somebody else"
        return FOREIGN, "a window that no request of ours explains"
