"""delete-stale-jobs, delete-orphan-services: take away what windows left behind, each by its exact name, never by a label.

What is not provably stale is left alone and named with the reason (see `windows`). A run may end no more pods than `limits.max_pods`.
"""

from harness.cluster import name_of
from harness.doctor.remedies.plan import Plan, Refusal, Remedy, Touch, deletion
from harness.doctor.sight import Sight
from harness.doctor.windows import orphan_service, stale_cleanup, stale_job, windows_of


def stale_jobs(sight: Sight) -> Plan:
    """Plan the deletion of stale grpc and cleanup Jobs."""
    touches: list[Touch] = []
    refused: list[Refusal] = []
    for window in windows_of(sight).values():
        for job, judge in ((window.job, stale_job), (window.cleanup, stale_cleanup)):
            if job is None:
                continue
            stale, alive = judge(sight, window)
            if stale:
                touches.append(deletion(sight, "jobs", job, stale))
            else:
                refused.append(Refusal(f"job {name_of(job)}", alive))
    return within_limits(sight, Plan(tuple(touches), tuple(refused), wait_s=10))


def orphan_services(sight: Sight) -> Plan:
    """Plan the deletion of Services whose windows are gone."""
    touches: list[Touch] = []
    refused: list[Refusal] = []
    for window in windows_of(sight).values():
        if window.service is None:
            continue
        orphaned, owned = orphan_service(sight, window)
        if orphaned:
            touches.append(deletion(sight, "services", window.service, orphaned))
        else:
            refused.append(Refusal(f"service {name_of(window.service)}", owned))
    return Plan(tuple(touches), tuple(refused), wait_s=5)


def within_limits(sight: Sight, plan: Plan) -> Plan:
    """Return the plan cut to what the target allows, the rest refused."""
    most = sight.target.limits.max_pods
    over = tuple(
        Refusal(
            f"job {touch.name}",
            f"the target allows {most} pods to be ended at once (limits.max_pods); run it again afterwards",
        )
        for touch in plan.touches[most:]
    )
    return Plan(plan.touches[:most], plan.refused + over, plan.notes, plan.wait_s)


REMEDIES = (
    Remedy(
        "delete-stale-jobs",
        "delete grpc and cleanup Jobs that are provably stale, by name",
        ("leaks", "gpu", "max-windows"),
        stale_jobs,
        45,
    ),
    Remedy(
        "delete-orphan-services",
        "delete Services of windows that are gone, by name",
        ("leaks", "max-windows"),
        orphan_services,
        30,
    ),
)
