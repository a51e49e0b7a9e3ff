"""wait, undo-sweep: let windows end by themselves, with the time that takes; and take back what faults of ours left."""

import shlex

from harness.doctor.checks import leftovers
from harness.doctor.remedies.plan import Plan, Remedy, Touch
from harness.doctor.result import Result
from harness.doctor.sight import Sight
from harness.doctor.windows import IDLE_M, Window, over_for_s, windows_of

PERIOD_S = 10.0
"""How often a cleanup pod looks; its object does not tell."""
READINGS = 5
READINGS_ENV = "MAX_CPU_USAGE_COUNT"


def wait(sight: Sight) -> Plan:
    """Say when the first slot comes back by itself, and wait for it."""
    held = [window for window in windows_of(sight).values() if window.holds_slot and window.job is not None]
    if not held:
        return Plan(notes=("no window holds a slot with a Job: there is nothing to wait for",))
    by_itself = sorted(seconds for one in held if (seconds := ends_in_s(sight, one)) is not None)
    idle_s = max(idle_cleanup_s(one) for one in held)
    notes = [
        f"{len(held)} windows hold slots with a Job; one that nobody reads is removed after {idle_s:.0f} s (cleanup's readings)"
    ]
    busy = len(held) - len(by_itself)
    if busy:
        notes.append(
            f"{busy} do not end by themselves as far as can be seen: somebody reads them, or no cleanup watches them"
        )
    expected_s = by_itself[0] if by_itself else idle_s
    line = f"sleep {expected_s:.0f}"
    touch = Touch(
        "wait",
        "windows",
        "of others",
        f"the first slot is expected back in {expected_s:.0f} s",
        line,
        body=expected_s,
        recheck=False,
    )
    return Plan((touch,), notes=tuple(notes), wait_s=expected_s)


def ends_in_s(sight: Sight, window: Window) -> float | None:
    """Return in how many seconds a window gives its slot back by itself; None if somebody reads it."""
    if window.job is not None and window.finished:
        ttl_s = float(window.job["spec"].get("ttlSecondsAfterFinished") or 0)
        return max(0.0, min(ttl_s - over_for_s(sight, window.job), PERIOD_S))
    if window.cleanup is None or window.pending:
        return None
    idle = window.cpu_m is None or window.cpu_m <= IDLE_M
    return idle_cleanup_s(window) if idle else None


def idle_cleanup_s(window: Window) -> float:
    """Return how long cleanup lets an idle window live, by its own settings."""
    boxes = ((window.cleanup or {}).get("spec") or {}).get("template", {}).get("spec", {}).get(
        "containers"
    ) or ()
    told = [
        one.get("value", "")
        for box in boxes
        for one in box.get("env") or ()
        if one.get("name") == READINGS_ENV
    ]
    readings = int(told[0]) if told and str(told[0]).isdigit() else READINGS
    return PERIOD_S * readings


def sweep(sight: Sight) -> Plan:
    """Plan `harness undo --sweep`, if there is anything to sweep."""
    seen = leftovers.look(sight)
    line = shlex.join(["harness", "undo", "--sweep", "--target", sight.source or sight.target.name])
    if seen.result is not Result.FOUND:
        return Plan(notes=(seen.summary,))
    marks = ", ".join(seen.facts["marks"])
    return Plan((Touch("sweep", "marks", "of faults", marks, line, recheck=False),), wait_s=20)


REMEDIES = (
    Remedy("wait", "wait until windows end by themselves", ("max-windows", "gpu"), wait, 120, lock="none"),
    Remedy(
        "undo-sweep",
        "harness undo --sweep: take back by its marks what faults left",
        ("leftovers",),
        sweep,
        60,
        lock="its own",
    ),
)
