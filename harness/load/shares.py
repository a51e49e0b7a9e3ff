"""One plan for several workers: to each its part, so that together they are the plan and cost no more than it may. Pure.

Limits that are counts are dealt out like cards. Whatever one of them would get none of cannot be shared: that is refused.
"""

import msgspec

from harness.errors import InputError
from harness.load.plan import LoadPlan

WINDOWS_EACH = 100_000_000
"""Window numbers of one worker begin so far after those of the one before."""


def share(plan: LoadPlan, part: int, parts: int) -> LoadPlan:
    """Return what worker `part` (from 0) of `parts` plays; raise `InputError` where there is not enough for all."""
    budget = plan.budget
    rate = int(budget.max_rate_per_s)
    limits = {
        "creates in flight": plan.creates_in_flight,
        "budget.max_jobs": budget.max_jobs,
        "budget.max_open_windows": budget.max_open_windows,
        "budget.max_rate_per_s": rate,
    }
    if short := [f"{name} {most}" for name, most in limits.items() if most < parts]:
        raise InputError(
            f"{parts} workers cannot share {', '.join(short)}: start fewer (--processes), or allow more"
        )
    return msgspec.structs.replace(
        plan,
        part=part,
        parts=parts,
        budget=msgspec.structs.replace(
            budget,
            max_jobs=dealt(budget.max_jobs, part, parts),
            max_open_windows=dealt(budget.max_open_windows, part, parts),
            # whole numbers only: each worker's second may begin at any instant, and the sum must hold for all of them
            max_rate_per_s=float(dealt(rate, part, parts)) if parts > 1 else budget.max_rate_per_s,
        ),
        creates_in_flight=dealt(plan.creates_in_flight, part, parts),
        arrivals=plan.arrivals and msgspec.structs.replace(plan.arrivals, part=part, parts=parts),
        load_writer=f"load-{part + 1}",
        engine_writer=f"engine-{part + 1}",
        window_base=part * WINDOWS_EACH,
    )


def dealt(most: int, part: int, parts: int) -> int:
    """Return how many of `most` cards player `part` gets."""
    return most // parts + (part < most % parts)
