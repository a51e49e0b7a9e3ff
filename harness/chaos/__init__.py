"""Faults, and the way back from each: undo journal, guard, limits, Chaos Toolkit actions.

The only package that knows Chaos Toolkit. The conductor starts `python -m harness.chaos` per experiment and a guard beside it;
`chaos run experiments/X.yaml` works alone. Nothing is injected whose undo is not on disk and in the cluster first.
"""

from harness.chaos.alive import Alive
from harness.chaos.deployment import require_reverter
from harness.chaos.dry import calls_of
from harness.chaos.faults.fault import ENTRY_LABEL
from harness.chaos.preflight import check_settings, fighters, preflight, rehearse, unverified_actions
from harness.chaos.standing import api_is_away, open_entries
from harness.chaos.undo import undo_command
from harness.chaos.ward import Guard, undo_folder

__all__ = [
    "ENTRY_LABEL",
    "Alive",
    "Guard",
    "api_is_away",
    "calls_of",
    "check_settings",
    "fighters",
    "open_entries",
    "preflight",
    "rehearse",
    "require_reverter",
    "undo_command",
    "undo_folder",
    "unverified_actions",
]
