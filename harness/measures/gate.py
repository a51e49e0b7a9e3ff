"""A gate: a measured value against a limit, as `passed`, `failed` or `unjudged`. No data never passes.

Called by judge (after the run) and by `stop_when` (while it runs). Knows nothing of phases or faults: whoever calls it has
chosen the portion that was measured.
"""

import math
import operator
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from harness.measures.measure import Measured


class Status(StrEnum):
    """How a gate, or the whole run, ended; without enough data it is `unjudged`, never `passed`."""

    PASSED = "passed"
    FAILED = "failed"
    UNJUDGED = "unjudged"


OPS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
"""The closed set of comparisons a gate may make: measured value, then limit."""


def gate_status(measured: Measured, op: str, limit: float, min_samples: int) -> Status:
    """Return how `measured op limit` ends; too few samples (one at the very least), no value or no such op: unjudged."""
    compare = OPS.get(op)
    if compare is None or measured.value is None or math.isnan(measured.value):
        return Status.UNJUDGED
    if measured.samples < max(1, min_samples):
        return Status.UNJUDGED
    return Status.PASSED if compare(measured.value, limit) else Status.FAILED


def bounds_status(low: float, top: float, op: str, limit: float) -> Status:
    """Return how `value op limit` ends where the value is only known to lie between `low` and `top`, both included."""
    compare = OPS.get(op)
    if compare is None:
        return Status.UNJUDGED
    if op in {"==", "!="}:
        ruled_out = limit < low or limit > top
        if not ruled_out and low != top:
            return Status.UNJUDGED
        return Status.PASSED if (op == "!=") == ruled_out else Status.FAILED
    ends = {compare(low, limit), compare(top, limit)}
    if len(ends) > 1:
        return Status.UNJUDGED
    return Status.PASSED if ends.pop() else Status.FAILED
