"""What we intend: a campaign file says what to load, which faults to inject when, and what must hold.

Pure apart from reading the file (`read.py`): a campaign names no host, so the same one is played on any target.
"""

from harness.campaign.conditions import (
    HttpCondition,
    MeasureCondition,
    PromqlCondition,
    StopCondition,
)
from harness.campaign.model import Campaign, Gate, Load, Step
from harness.campaign.plan import Moment, Plan, plan
from harness.campaign.read import read_campaign

__all__ = [
    "Campaign",
    "Gate",
    "HttpCondition",
    "Load",
    "MeasureCondition",
    "Moment",
    "Plan",
    "PromqlCondition",
    "Step",
    "StopCondition",
    "plan",
    "read_campaign",
]
