"""fill-windows: squatters open windows and hold them without reading. Cause of a 503: max windows.

Each window is asked for as any user would, and its Job is marked with the entry. A window nobody reads is removed by cleanup
sooner or later; while the fault is held another one is taken for it. The undo deletes the marked Jobs, and their cleanup pods
remove the rest; a window whose name was never learned (its answer was lost) falls to cleanup alone.
"""

from typing import ClassVar

import msgspec

from harness.chaos.faults.fault import (
    DELETE,
    ENTRY_LABEL,
    Case,
    Fault,
    Reading,
    Signature,
    change,
    ref_of,
)
from harness.chaos.faults.kill_streams import percentage
from harness.chaos.windows import Refused
from harness.chaos.world import Site
from harness.cluster import Object, Right, name_of, uid_of
from harness.errors import HarnessError, InjectionFailed, InputError, TargetError

JOB_PREFIX = "grpc-job-"
AT_ONCE = 4
"""Windows asked for between two looks, so that holding never takes long."""


class FillArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`windows`: a number, or a percentage of MaxWindows."""

    windows: str = "50%"


class FillBefore(msgspec.Struct, frozen=True):
    """How many windows are taken; the limit, 0 where there is none."""

    windows: int
    limit: int


class FillWindows(Fault[FillArguments, FillBefore]):
    """Take windows and hold them."""

    kind: ClassVar[str] = "fill-windows"
    title: ClassVar[str] = "opens `windows` windows by POST /configure and holds them without reading"
    undo_text: ClassVar[str] = "deletes their Jobs by name; cleanup then removes Services, tasks and queues"
    blast_radius: ClassVar[str] = "`limits.max_window_share` of MaxWindows; a GPU share for each"
    signature: ClassVar[Signature] = Signature(
        seen="slots are held that nobody reads; 503 max_windows as soon as the others want the rest",
        where="grpc jobs and services, slots, POST /configure",
        within_s=20.0,
        gone_within_s=30.0,
    )
    arguments = FillArguments
    before = FillBefore

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read, mark and delete windows' Jobs."""
        namespace = site.kubernetes.namespace
        return (*(Right(verb, "jobs", namespace) for verb in ("get", "list", "patch", "delete")),)

    def look(self, site: Site, arguments: FillArguments) -> FillBefore:
        """Decide how many."""
        limit = site.target.window_limit or 0
        wanted = _wanted(arguments.windows, limit)
        share = site.target.limits.max_window_share
        if limit and wanted > int(limit * share):
            raise TargetError(
                f"fill-windows would hold {wanted} of {limit} windows, the target allows {int(limit * share)} "
                f"(limits.max_window_share {share:g}); raise it in the target file, or ask for fewer `windows`"
            )
        if not limit and wanted > site.target.budget.max_open_windows:
            raise TargetError(
                f"fill-windows would hold {wanted} windows, the target allows {site.target.budget.max_open_windows} "
                "(budget.max_open_windows)"
            )
        return FillBefore(wanted, limit)

    def describe(self, case: Case[FillArguments, FillBefore]) -> str:
        """Say how many."""
        of = f" of {case.before.limit}" if case.before.limit else ""
        return f"{case.before.windows}{of} windows"

    def inject(self, site: Site, case: Case[FillArguments, FillBefore]) -> None:
        """Take the first one, so that a server that refuses is found out at once."""
        self._take(site, case)

    def is_active(self, site: Site, case: Case[FillArguments, FillBefore]) -> bool:
        """That many are held, up to those that cleanup has just taken."""
        return len(self._held(site, case)) >= max(1, case.before.windows - AT_ONCE)

    def sustain(self, site: Site, case: Case[FillArguments, FillBefore]) -> None:
        """Take what is missing, a few at a time; a refusal ends this round."""
        missing = case.before.windows - len(self._held(site, case))
        for _ in range(min(missing, AT_ONCE)):
            try:
                self._take(site, case)
            except InjectionFailed:
                return

    def undo(self, site: Site, case: Case[FillArguments, FillBefore]) -> None:
        """Delete the Jobs; cleanup removes the rest."""
        for job in self._held(site, case):
            site.world.delete("jobs", name_of(job), propagation="Background")

    def reading(self, site: Site, case: Case[FillArguments, FillBefore]) -> Reading:
        """Look for marked Jobs."""
        left = [name_of(job) for job in self._held(site, case)]
        return Reading(tuple(f"jobs/{name} still exists" for name in left), f"{len(left)} squatters")

    def mend(self, site: Site, case: Case[FillArguments, FillBefore]) -> str:
        """Return the kubectl line."""
        return f"kubectl -n {site.kubernetes.namespace} delete jobs -l {ENTRY_LABEL}={case.entry}"

    def _held(self, site: Site, case: Case[FillArguments, FillBefore]) -> list[Object]:
        return site.world.objects("jobs", selector=f"{ENTRY_LABEL}={case.entry}")

    def _take(self, site: Site, case: Case[FillArguments, FillBefore]) -> None:
        case.still_mine()
        given: list[str] = []
        try:
            site.at_once([lambda: given.append(site.open_window(site.target))])  # a busy server may take long
        except Refused as error:
            raise InjectionFailed(f"fill-windows: no window was given: {error}") from error
        (job_id,) = given
        job = site.world.find("jobs", f"{JOB_PREFIX}{job_id}")
        if job is None:
            raise InjectionFailed(
                f"fill-windows: window {job_id} was given, but its Job {JOB_PREFIX}{job_id} is not there"
            )
        try:
            change(site, case, ref_of("jobs", job), {}, DELETE)
            case.still_mine()
        except HarnessError:
            # Nobody else would remove it: whoever undid the entry meanwhile has not seen the mark, or there is none.
            site.world.delete("jobs", name_of(job), uid=uid_of(job), propagation="Background")
            raise


def _wanted(text: str, limit: int) -> int:
    if text.isdigit() and int(text):
        return int(text)
    if not text.endswith("%"):
        raise InputError(f"windows: {text!r} is neither a number from 1 nor a percentage")
    if not limit:
        raise InputError(f"windows: {text!r}: the target has no MaxWindows; write a number")
    return max(1, int(limit * percentage(text, "windows") / 100))
