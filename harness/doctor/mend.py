"""`harness doctor --fix REMEDY`: do what was shown and agreed to, object by object, and look again afterwards.

Takes the target's lock, so that a campaign is never meddled with; writes each step to the journal before it is done; reads each object
right before, makes the plan anew, and deletes by uid and resourceVersion, so that what was reused meanwhile is left alone.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from harness.cluster import (
    Cluster,
    Conflict,
    Lease,
    Missing,
    Object,
    Right,
    missing_rights,
    refuse_if_in_use,
    uid_of,
    version_of,
)
from harness.doctor.checks import CHECKS
from harness.doctor.commands import run_command, run_hand
from harness.doctor.diagnosis import healthy
from harness.doctor.examine import examine
from harness.doctor.journal import Journal
from harness.doctor.remedies import Plan, Remedy, Touch
from harness.doctor.result import CheckResult, Result
from harness.doctor.sight import Sight
from harness.errors import AccessDenied, Exit, HarnessError, RecordUnusable, StillBroken, Stopped, Unreachable

SWEEP_TIMEOUT_S = 90.0
LOOK_AGAIN_S = 1.0
TRIES = 3
HARMLESS = (Stopped, RecordUnusable)
"""After these, what was not done yet was simply not done."""
CHANGED = "it has changed meanwhile: the remedy would not do that to it any more"
VERBS = {"delete": "delete", "patch": "patch", "create": "create"}
Say = Callable[[str], None]


@dataclass(slots=True)
class Outcome:
    """How a fix ended."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    after: list[CheckResult] = field(default_factory=list)

    @property
    def healed(self) -> bool:
        """Whether none of the checks that the remedy heals finds anything any more."""
        return all(one.result is not Result.FOUND for one in self.after)

    @property
    def code(self) -> Exit:
        """The exit code."""
        if not self.healed:
            return Exit.FAILED
        return Exit.OK if healthy(self.after) else Exit.UNJUDGED


class Mending:
    """One fix, from the lock to the look afterwards."""

    def __init__(self, sight: Sight, remedy: Remedy, journal: Journal, run_id: str, say: Say) -> None:
        self._sight = sight
        self._cluster = cast("Cluster", sight.world)
        self._remedy = remedy
        self._journal = journal
        self._run_id = run_id
        self._say = say
        self._lease: Lease | None = None
        self._outcome = Outcome()
        self._plan = Plan()
        self._sent = False
        """Whether a write of the present step is on its way or done."""
        self._rescuing = False

    def run(self, plan: Plan) -> Outcome:
        """Do the plan; raises TargetBusy, AccessDenied before anything is done, StillBroken if a step failed half way."""
        self._plan = plan
        self._refuse_without_rights(plan)
        if self._remedy.lock == "none":
            return self._held(plan)
        if self._remedy.lock == "its own":
            refuse_if_in_use(self._cluster)
            return self._held(plan)
        lease = Lease.acquire(self._cluster, self._run_id, ends="as soon as it is mended")
        self._lease = lease
        try:
            return self._held(plan)
        finally:
            try:
                lease.release()
            except HarnessError as error:
                self._say(f"  the lock was not given back ({error}); it lapses by itself")

    def _held(self, plan: Plan) -> Outcome:
        for refusal in plan.refused:
            self._journal.write("refused", object=refusal.what, why=refusal.why)
        for index, touch in enumerate(plan.touches):
            self._sent = False
            try:
                self._alive()
                self._step(touch)
            except BaseException as error:
                if self._outcome.done or (self._sent and isinstance(error, Unreachable)):
                    left = self._not_half(plan.touches[index:])
                    if left and isinstance(error, HarnessError) and not isinstance(error, HARMLESS):
                        raise self._broken(touch, error, left) from error
                raise
        self._outcome.after = self._look_again()
        return self._outcome

    def _not_half(self, left: Sequence[Touch]) -> list[Touch]:
        """Do what is left of a remedy that must not end half way (scaled down, not up again); return what is still to be done."""
        self._rescuing = True
        undone = list(left)
        for touch in left:
            if touch.does == "patch" and not touch.recheck:
                try:
                    self._step(touch)
                except HarnessError as error:
                    self._say(f"  NOT done: {touch.words}: {error}; by hand: {touch.line}")
                    undone = [touch]
                else:
                    undone = []
        return undone

    def _broken(self, touch: Touch, error: HarnessError, left: Sequence[Touch]) -> StillBroken:
        done = (
            "; ".join(self._outcome.done)
            or f"perhaps {touch.does} {touch.kind.removesuffix('s')} {touch.name}"
        )
        hand = "; ".join(one.line for one in left) or "nothing: the rest was done all the same"
        return StillBroken(f"{touch.words}: {error}; done before: {done}; by hand: {hand}")

    def _refuse_without_rights(self, plan: Plan) -> None:
        needed = {
            Right(VERBS[touch.does], touch.kind, touch.namespace)
            for touch in plan.touches
            if touch.does in VERBS
        }
        if missing := missing_rights(self._cluster, needed):
            who = self._cluster.whoami() or "this user"
            raise AccessDenied(
                f"{who} may not {'; '.join(map(str, missing))}; grant it, or type the lines above as somebody who may"
            )

    def _step(self, touch: Touch) -> None:
        facts = {
            "does": touch.does,
            "kind": touch.kind,
            "name": touch.name,
            "namespace": touch.namespace,
            "uid": touch.uid,
        }
        self._note("intended", **facts, why=touch.why, line=touch.line)
        try:
            how = self._carry_out(touch)
        except HarnessError as error:
            self._note("failed", **facts, error=str(error))
            raise
        named = f"{touch.kind.removesuffix('s')} {touch.name}"
        if how:
            self._outcome.skipped.append(f"{named}: {how}")
            self._say(f"  left alone: {named}: {how}")
            self._note("skipped", **facts, why=how)
        else:
            self._outcome.done.append(f"{touch.does} {named}")
            self._say(f"  done: {touch.does} {named}")
            self._note("done", **facts)

    def _note(self, event: str, **facts: Any) -> None:
        """Write to the journal; while a half-done remedy is brought to its end, one that cannot be written keeps nobody from it."""
        try:
            self._journal.write(event, **facts)
        except RecordUnusable:
            if not self._rescuing:
                raise

    def _carry_out(self, touch: Touch) -> str:
        """Do one thing; return why it was left alone, empty if it was done."""
        if touch.does == "hand":
            if touch.recheck and not self._still_planned(touch):
                return CHANGED
            run_hand(self._sight, touch, self._alive)
            return ""
        if touch.does == "sweep":
            argv = [sys.executable, "-m", "harness", "undo", "--sweep", "--target"]
            argv.append(self._sight.source or self._sight.target.name)
            run_command(argv, SWEEP_TIMEOUT_S, self._alive)
            return ""
        if touch.does == "wait":
            return ""  # the look afterwards waits
        if touch.does == "create":
            try:
                self._sent = True
                self._cluster.create(touch.kind, touch.body, touch.namespace or None)
            except Conflict:
                return "somebody has made it meanwhile"
            return ""
        return self._change(touch)

    def _change(self, touch: Touch) -> str:
        for _ in range(TRIES):
            found = self._cluster.find(touch.kind, touch.name, touch.namespace or None)
            if found is None:
                return "it is gone already"
            if uid_of(found) != touch.uid:
                return "its name was reused meanwhile by another object"
            # The version was read before the plan is made anew: whatever changes in between makes a conflict.
            if touch.recheck and not self._still_planned(touch):
                return CHANGED
            try:
                self._write(touch, found)
            except Conflict:
                continue
            except Missing:
                return "it is gone already"
            return ""
        return f"it changed {TRIES} times under our eyes; try again"

    def _write(self, touch: Touch, found: Object) -> None:
        where = touch.namespace or None
        self._sent = True
        if touch.does == "patch":
            self._cluster.patch(touch.kind, touch.name, touch.body, where, resource_version=version_of(found))
        elif touch.kind == "pods":  # a pod's status changes all the time; its uid is what must be the same
            self._cluster.delete(touch.kind, touch.name, where, uid=touch.uid)
        else:
            self._cluster.delete(
                touch.kind,
                touch.name,
                where,
                uid=touch.uid,
                resource_version=version_of(found),
                propagation="Background",
            )

    def _still_planned(self, touch: Touch) -> bool:
        """Say whether the plan, made anew, holds a touch as it was shown, and all that must follow it."""
        again = self._remedy.plan(self._sight.again())
        must = [touch, *(one for one in self._plan.touches if one.does == "patch" and not one.recheck)]
        return all(any(one.same_as(other) for other in again.touches) for one in must)

    def _look_again(self) -> list[CheckResult]:
        checks = [check for check in CHECKS if check.name in self._remedy.heals]
        longest_s = max(self._remedy.within_s, self._plan.wait_s) if self._remedy.within_s else 0.0
        until = time.monotonic() + longest_s
        self._say(f"  looking again: {', '.join(check.name for check in checks)}")
        while True:
            self._alive()
            seen = examine(self._sight.again(), checks, within_s=5.0)
            if not any(self._may_still_heal(one) for one in seen) or time.monotonic() > until:
                break
            time.sleep(LOOK_AGAIN_S)
        for one in seen:
            self._journal.write("verified", check=one.check, result=one.result.value, summary=one.summary)
        return seen

    def _may_still_heal(self, one: CheckResult) -> bool:
        """Say whether a finding may yet go away by what was done; one that by now asks for another remedy will not."""
        asks_for = {advice.remedy for advice in one.advice}
        return one.result is Result.FOUND and (not asks_for or self._remedy.name in asks_for)

    def _alive(self) -> None:
        if self._lease is not None:
            self._lease.renew(may_have_run_out=True)
