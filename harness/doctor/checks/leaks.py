"""leaks: what windows left behind: Services without a Job, cleanup Jobs without a window, Jobs past their TTL, queues of windows gone.

Queues are asked for by name only (of windows that the log or a leftover names): AMQP cannot list them. A leak refuses nothing by
itself; what it holds shows in `max-windows` and `gpu`.
"""

from harness.cluster import name_of
from harness.doctor.asking import NoAnswer
from harness.doctor.checks import log
from harness.doctor.result import Advice, CannotLook, CheckResult, Evidence, fine, found, unknown
from harness.doctor.sight import Sight
from harness.doctor.windows import Window, orphan_service, past_ttl, stale_cleanup, stale_job, windows_of

NAME = "leaks"
ASKS = "Services without a Job, cleanup Jobs without a window, Jobs past their TTL, queues of windows gone"
MOST_QUEUES = 40


def look(sight: Sight) -> CheckResult:
    """Look for what nobody owns any more."""
    windows = windows_of(sight)
    services = [
        name_of(one.service) for one in windows.values() if one.service and orphan_service(sight, one)[0]
    ]
    cleanups = [
        name_of(one.cleanup) for one in windows.values() if one.cleanup and stale_cleanup(sight, one)[0]
    ]
    jobs = [name_of(one.job) for one in windows.values() if one.job and stale_job(sight, one)[0]]
    late = [name for name in jobs + cleanups if _past(sight, windows, name)]
    queues, asked, seen = _queues(sight, windows)
    evidence = [
        Evidence("services without a Job", ", ".join(services) or "none", {"services": services}),
        Evidence("cleanup Jobs without a window", ", ".join(cleanups) or "none", {"cleanup_jobs": cleanups}),
        Evidence("Jobs that are stale", ", ".join(jobs) or "none", {"jobs": jobs, "past_ttl": late}),
        Evidence(
            f"queues, by name ({asked})",
            ", ".join(queues) or ("none" if seen else "not seen"),
            {"queues": queues},
        ),
    ]
    counted = {"orphaned Services": services, "cleanup Jobs": cleanups, "stale Jobs": jobs, "queues": queues}
    told = ", ".join(f"{len(names)} {what}" for what, names in counted.items() if names)
    if not told and not seen:
        return unknown(NAME, f"nothing left behind but perhaps queues ({asked})", *evidence)
    if not told:
        return fine(NAME, f"nothing left behind ({asked})", *evidence)
    advice = []
    if jobs or cleanups:
        advice.append(Advice("delete-stale-jobs", f"{len(jobs) + len(cleanups)} Jobs are left over"))
    if services:
        advice.append(Advice("delete-orphan-services", f"{len(services)} Services belong to no Job"))
    words = told if seen else f"{told}; {asked}"
    return found(NAME, words, *evidence, advice=tuple(advice))


def _past(sight: Sight, windows: dict[str, Window], name: str) -> bool:
    return any(
        past_ttl(sight, job)
        for one in windows.values()
        for job in (one.job, one.cleanup)
        if job and name_of(job) == name
    )


def _queues(sight: Sight, windows: dict[str, Window]) -> tuple[list[str], str, bool]:
    """Return queues of windows that are gone, in words what was asked, and whether the broker said it."""
    uri = sight.target.broker_uri
    if not uri:
        return [], "queues not asked: no broker_uri", True
    ids = {one.job_id for one in windows.values() if one.job is None}
    try:
        ids.update(log.look(sight).facts["windows"])
    except CannotLook:
        pass
    gone = sorted(job_id for job_id in ids if job_id not in windows or windows[job_id].job is None)[
        -MOST_QUEUES:
    ]
    if not gone:
        return [], "no window gone is known by name", True
    try:
        there = sight.asking.broker(uri, [f"focus_baby.{job_id}" for job_id in gone])
    except NoAnswer as error:
        return [], f"queues not seen: {error}", False
    return sorted(there), f"{len(gone)} queues asked for", True
