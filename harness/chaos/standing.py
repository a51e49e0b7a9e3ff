"""What stands open in a run's journals: read by whoever has to know it at once, without the live path."""

from pathlib import Path

from harness.chaos.faults import BLINDING_FAULTS
from harness.chaos.journal import Journal, Progress
from harness.chaos.ward import undo_folder


def open_entries(run: Path) -> list[Progress]:
    """Return the entries of a run, of whichever experiment, that are not verified."""
    return [
        progress
        for path in sorted(undo_folder(run).glob("*.jsonl"))
        for progress in Journal(path).read().open_entries
    ]


def api_is_away(run: Path) -> bool:
    """Say whether a fault of this run has taken the API server away, and it is not verified that it is back."""
    return any(progress.entry.fault in BLINDING_FAULTS for progress in open_entries(run))
