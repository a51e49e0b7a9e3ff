"""From what the checks said to the most likely cause of a 503 now, and what lies behind each finding. Pure.

A cause is proximate: what refuses a window. What lies behind it comes from other findings, by the rules below; the order of causes is
that of the way a request takes (the ingress, Focus Server, then what it counts and asks).
"""

from collections.abc import Callable, Sequence

import msgspec

from harness.doctor.result import CheckResult, Evidence, Result
from harness.errors import Exit

ORDER = (
    "focus_server_down",
    "path",
    "kubernetes_unreachable",
    "gpu_exhausted",
    "worker_unavailable",
    "max_windows",
    "mongodb_unavailable",
    "broker_unavailable",
    "waiting_for_fibre",
    "pod_network_exhausted",
)
"""Which of several causes is named first."""
HINT_S = 60.0
ByName = dict[str, CheckResult]


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All answers, and what they come to."""

    results: tuple[CheckResult, ...]
    cause: str = ""
    """The most likely cause of a 503 now; empty where no check found one."""
    because: tuple[str, ...] = ()
    """What lies behind it."""
    also: tuple[str, ...] = ()
    """Other causes that hold."""

    @property
    def top(self) -> CheckResult | None:
        """The finding that names the cause."""
        return next(
            (one for one in self.results if self.cause and one.cause == self.cause and one.refuses), None
        )

    @property
    def found(self) -> tuple[CheckResult, ...]:
        """Everything that was found, the likely cause first."""
        top = self.top
        rest = [one for one in self.results if one.result is Result.FOUND and one is not top]
        return (*([top] if top else []), *sorted(rest, key=lambda one: not one.refuses))

    @property
    def blind(self) -> tuple[CheckResult, ...]:
        """Checks that could not look."""
        return tuple(one for one in self.results if one.result is Result.UNKNOWN)

    @property
    def code(self) -> Exit:
        """The exit code: something found, could not see enough, or healthy."""
        if any(one.result is Result.FOUND for one in self.results):
            return Exit.FAILED
        return Exit.UNJUDGED if self.blind else Exit.OK


def diagnose(results: Sequence[CheckResult]) -> Diagnosis:
    """Put the answers together."""
    told = _hinted(list(results))
    by_name = {one.check: one for one in told if one.result is Result.FOUND}
    told = [
        msgspec.structs.replace(one, behind=_behind(one, by_name)) if one.result is Result.FOUND else one
        for one in told
    ]
    causes = sorted(
        {one.cause for one in told if one.refuses and one.cause},
        key=lambda cause: ORDER.index(cause) if cause in ORDER else len(ORDER),
    )
    first = next((one for one in told if causes and one.refuses and one.cause == causes[0]), None)
    return Diagnosis(
        results=tuple(told),
        cause=causes[0] if causes else "",
        because=first.behind if first else (),
        also=tuple(causes[1:]),
    )


def _hinted(results: list[CheckResult]) -> list[CheckResult]:
    """Turn fresh lines of the log into a finding where the check that should know could not look."""
    log = next((one for one in results if one.check == "log" and one.result is Result.OK), None)
    if log is None:
        return results
    blind = {one.check for one in results if one.result is Result.UNKNOWN}
    asks = {
        "mongodb_unavailable": "mongodb",
        "kubernetes_unreachable": "focus-rights",
        "waiting_for_fibre": "fibre",
    }
    fresh = [
        cause
        for cause, age_s in dict(log.facts.get("hints") or {}).items()
        if asks.get(cause) in blind and age_s < HINT_S
    ]
    if not fresh:
        return results
    cause = min(fresh, key=ORDER.index)
    told = msgspec.structs.replace(
        log,
        result=Result.FOUND,
        cause=cause,
        refuses=True,
        summary=f"its log tells of {cause}, and the check {asks[cause]} could not look",
    )
    return [told if one is log else one for one in results]


def _behind(one: CheckResult, found: ByName) -> tuple[str, ...]:
    return tuple(words for rule in RULES if (words := rule(one, found)))


def _down_because_of_mongodb(one: CheckResult, found: ByName) -> str:
    if one.cause == "focus_server_down" and "mongodb" in found:
        return f"MongoDB is away, and Focus Server may not start without it ({found['mongodb'].summary}): bring it back first"
    return ""


def _down_with_its_server(one: CheckResult, found: ByName) -> str:
    if one.check in {"endpoints", "path"} and one.cause == "focus_server_down" and "focus-server" in found:
        return f"its pods: {found['focus-server'].summary}"
    return ""


def _on_a_bad_node(one: CheckResult, found: ByName) -> str:
    if "nodes" not in found or one.check == "nodes":
        return ""
    bad = set(found["nodes"].facts.get("not_ready") or ())
    here = sorted(bad & set(one.facts.get("nodes") or ()))
    return f"its pods are on {', '.join(here)}, which is not Ready" if here else ""


def _slots_leaked(one: CheckResult, found: ByName) -> str:
    orphans = one.facts.get("orphans") or ()
    if one.cause == "max_windows" and orphans:
        return f"{len(orphans)} of {one.facts['held']} slots are held by orphaned Services, whose windows are gone"
    return ""


def _jobs_left(one: CheckResult, found: ByName) -> str:
    if one.cause in {"max_windows", "gpu_exhausted", "pod_network_exhausted"} and "leaks" in found:
        jobs = found["leaks"].facts.get("jobs") or ()
        return f"{len(jobs)} Jobs are left over and hold what they took" if jobs else ""
    return ""


def _shares_of_ours(one: CheckResult, found: ByName) -> str:
    ours = (one.facts.get("holders") or {}).get("pods of faults of ours")
    return (
        f"{ours} shares are held by pods of faults of ours" if one.cause == "gpu_exhausted" and ours else ""
    )


def _fault_left(one: CheckResult, found: ByName) -> str:
    if one.refuses and "leftovers" in found and one.check != "leftovers":
        return f"perhaps a fault of ours that was not taken back: {', '.join(found['leftovers'].facts['marks'][:3])}"
    return ""


RULES: tuple[Callable[[CheckResult, ByName], str], ...] = (
    _down_because_of_mongodb,
    _down_with_its_server,
    _on_a_bad_node,
    _slots_leaked,
    _jobs_left,
    _shares_of_ours,
    _fault_left,
)
"""What may lie behind a finding; each returns a sentence, or nothing."""


def healthy(results: Sequence[CheckResult]) -> bool:
    """Say whether none of these found anything or was blind."""
    return all(one.result is Result.OK for one in results)


__all__ = ["ORDER", "RULES", "Diagnosis", "Evidence", "diagnose", "healthy"]
