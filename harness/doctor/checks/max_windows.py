"""max-windows: slots held against the limit, and by which windows. Cause of a 503: max_windows."""

from typing import Any

from harness.doctor.result import Advice, CheckResult, Evidence, fine, found, unknown
from harness.doctor.sight import Sight
from harness.doctor.windows import stale_job, windows_of

NAME = "max-windows"
ASKS = "slots held (Services and unfinished Jobs of windows) against MaxWindows, each with age and state"
CAUSE = "max_windows"
MOST = 6


def look(sight: Sight) -> CheckResult:
    """Count slots and list their windows."""
    held = [window for window in windows_of(sight).values() if window.holds_slot]
    limit = sight.target.window_limit
    orphans = [window.job_id for window in held if window.job is None]
    stale = [window.job_id for window in held if stale_job(sight, window)[0]]
    listed = [
        {"job_id": window.job_id, "age_s": round(window.oldest_s(sight)), "state": window.state(sight)}
        for window in held
    ]
    evidence = Evidence(
        "services grpc-service-*, jobs grpc-job-*",
        _listed(listed),
        {"held": len(held), "limit": limit, "windows": listed, "orphans": orphans, "stale": stale},
    )
    if sight.target.max_windows == "unknown":
        why = "max_windows is unknown in the target file: nobody can say whether that is all"
        return unknown(NAME, f"{len(held)} slots held; {why}", evidence)
    if limit is None:
        return fine(NAME, f"{len(held)} slots held; the target has no limit", evidence)
    words = f"{len(held)} of {limit} slots held"
    if orphans:
        words += f", {len(orphans)} by Services without a Job"
    if len(held) < limit:
        return fine(NAME, words, evidence)
    advice = [Advice("wait", "slots come back when windows end")] if len(orphans) < len(held) else []
    if orphans:
        advice.insert(0, Advice("delete-orphan-services", f"{len(orphans)} slots are held by nothing else"))
    if stale:
        advice.insert(0, Advice("delete-stale-jobs", f"{len(stale)} Jobs are left over"))
    return found(NAME, words, evidence, cause=CAUSE, refuses=True, advice=tuple(advice))


def _listed(windows: list[dict[str, Any]]) -> str:
    """Return the windows in words, as many as a person reads; the data has all of them."""
    words = [f"{one['job_id']}: {one['age_s']} s, {one['state']}" for one in windows[:MOST]]
    more = [f"and {len(windows) - MOST} more"] if len(windows) > MOST else []
    return "; ".join([*words, *more]) or "no window"
