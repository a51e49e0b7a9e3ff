"""Faults, and the way back from each: undo journal, guard, limits, Chaos Toolkit actions.

The only package that knows Chaos Toolkit. The conductor starts `python -m harness.chaos` per experiment and a guard beside it;
`chaos run experiments/X.yaml` works alone. Nothing is injected whose undo is not on disk and in the cluster first.
"""

from harness.chaos.preflight import check_settings, preflight, rehearse
from harness.chaos.undo import undo_command
from harness.chaos.ward import Guard

__all__ = ["Guard", "check_settings", "preflight", "rehearse", "undo_command"]
