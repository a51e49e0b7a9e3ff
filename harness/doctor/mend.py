"""`harness doctor --fix REMEDY`: do what was shown and agreed to, object by object, and look again afterwards.

Takes the target's lock, so that a campaign is never meddled with; writes each step to the journal before it is done; reads each object
right before, makes the plan anew, and deletes by uid and resourceVersion, so that what was reused meanwhile is left alone.
"""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

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
from harness.doctor.diagnosis import healthy
from harness.doctor.examine import examine
from harness.doctor.journal import Journal
from harness.doctor.remedies import Plan, Remedy, Touch
from harness.doctor.result import CheckResult, Result
from harness.doctor.sight import Sight
from harness.errors import AccessDenied, Exit, HarnessError, StillBroken, Unreachable

HAND_TIMEOUT_S = 20.0
SWEEP_TIMEOUT_S = 90.0
LOOK_AGAIN_S = 1.0
TRIES = 3
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

    def run(self, plan: Plan) -> Outcome:
        """Do the plan; raises TargetBusy, AccessDenied before anything is done, StillBroken if a step failed half way."""
        self._refuse_without_rights(plan)
        if not self._remedy.takes_lock:
            refuse_if_in_use(self._cluster)
            return self._held(plan)
        with Lease.acquire(self._cluster, self._run_id, ends="as soon as it is mended") as lease:
            self._lease = lease
            return self._held(plan)

    def _held(self, plan: Plan) -> Outcome:
        for refusal in plan.refused:
            self._journal.write("refused", object=refusal.what, why=refusal.why)
        for index, touch in enumerate(plan.touches):
            try:
                self._alive()
                self._step(touch)
            except BaseException:
                self._not_half(plan.touches[index:])
                raise
        self._outcome.after = self._look_again()
        return self._outcome

    def _not_half(self, left: Sequence[Touch]) -> None:
        """Do what is left of a remedy that must not end half way (scaled down, not up again), whatever has come between."""
        if self._outcome.done:
            for touch in left:
                if touch.does == "patch" and not touch.recheck:
                    self._step(touch)

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
        self._journal.write("intended", **facts, why=touch.why, line=touch.line)
        try:
            how = self._carry_out(touch)
        except HarnessError as error:
            self._journal.write("failed", **facts, error=str(error))
            if self._outcome.done:
                raise StillBroken(
                    f"{touch.words}: {error}; done before: {'; '.join(self._outcome.done)}; by hand: {touch.line}"
                ) from error
            raise
        if how:
            self._journal.write("skipped", **facts, why=how)
            self._outcome.skipped.append(f"{touch.kind.removesuffix('s')} {touch.name}: {how}")
            self._say(f"  left alone: {touch.kind.removesuffix('s')} {touch.name}: {how}")
        else:
            self._journal.write("done", **facts)
            self._outcome.done.append(f"{touch.does} {touch.kind.removesuffix('s')} {touch.name}")
            self._say(f"  done: {touch.does} {touch.kind.removesuffix('s')} {touch.name}")

    def _carry_out(self, touch: Touch) -> str:
        """Do one thing; return why it was left alone, empty if it was done."""
        if touch.does == "hand":
            _run_hand(self._sight, touch, self._alive)
            return ""
        if touch.does == "sweep":
            argv = [sys.executable, "-m", "harness", "undo", "--sweep", "--target", self._sight.target.name]
            _command(argv, SWEEP_TIMEOUT_S, self._alive)
            return ""
        if touch.does == "wait":
            return ""  # the look afterwards waits
        if touch.does == "create":
            try:
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
                return "it has changed meanwhile: the remedy would not touch it any more"
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
        again = self._remedy.plan(self._sight.again())
        return any(touch.same_as(one) for one in again.touches)

    def _look_again(self) -> list[CheckResult]:
        checks = [check for check in CHECKS if check.name in self._remedy.heals]
        until = time.monotonic() + max(self._remedy.within_s, 0.0)
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


def _run_hand(sight: Sight, touch: Touch, alive: Callable[[], None]) -> None:
    command = str(sight.target.hands.node)
    argv = shlex.split(command.format(node=shlex.quote(touch.name), verb=touch.body))
    if argv[0] == "harness":  # ours: the same installation, whatever PATH says
        argv = [sys.executable, "-m", "harness", *argv[1:]]
    _command(argv, HAND_TIMEOUT_S, alive)


def _command(argv: list[str], within_s: float, alive: Callable[[], None]) -> None:
    """Run a command, showing signs of life; raises Unreachable if it fails or takes too long."""
    until = time.monotonic() + within_s
    try:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as error:
        raise Unreachable(f"{shlex.join(argv)}: {error}") from error
    with process:
        try:
            while True:
                try:
                    said, _ = process.communicate(timeout=1.0)
                    break
                except subprocess.TimeoutExpired:
                    alive()
                    if time.monotonic() > until:
                        raise Unreachable(f"{shlex.join(argv)}: no end within {within_s:.0f} s") from None
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode != 0:
        raise Unreachable(f"{shlex.join(argv)} ended with {process.returncode}: {said.strip()[-300:]}")
