"""What the doctor can do. A new remedy is a `Remedy` in a file here, an entry in the tuple, and a row in docs/doctor.md."""

from harness.doctor.remedies import binding, nodes, patience, restart, stale
from harness.doctor.remedies.plan import Plan, Refusal, Remedy, Touch

REMEDIES: tuple[Remedy, ...] = (
    *restart.REMEDIES,
    *binding.REMEDIES,
    *stale.REMEDIES,
    *nodes.REMEDIES,
    *patience.REMEDIES,
)
"""All remedies, in the order in which they are listed."""
BY_NAME = {remedy.name: remedy for remedy in REMEDIES}

__all__ = ["BY_NAME", "REMEDIES", "Plan", "Refusal", "Remedy", "Touch"]
