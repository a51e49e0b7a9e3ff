"""`harness doctor`: examine a target, print the answer, and with `--fix` do one remedy. The command line is all there is to it."""

import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click

from harness.cluster import Cluster
from harness.doctor.checks import CHECKS, NAMES
from harness.doctor.diagnosis import Diagnosis, diagnose
from harness.doctor.document import FixDocument, document, in_json
from harness.doctor.examine import examine, look_at
from harness.doctor.journal import Journal, new_run_id
from harness.doctor.mend import Mending, Outcome
from harness.doctor.page import Page
from harness.doctor.remedies import BY_NAME, REMEDIES, Plan, Remedy
from harness.doctor.result import CannotLook, CheckResult
from harness.doctor.sight import Sight
from harness.doctor.way import shown
from harness.errors import Exit, HarnessError, InputError, TargetError, Unreachable
from harness.target import Target, find_target, load_target

WIDEST = 100


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked on the command line."""

    target: str | None
    form: str = "text"
    fix: str | None = None
    agreed: bool = False
    dry_run: bool = False
    only: tuple[str, ...] = ()
    older_than_s: float = 60.0
    reports: Path = Path("reports")


def doctor_command(order: Order) -> Exit:
    """Do what was ordered; return the exit code of the common table."""
    _refuse_what_does_not_go_together(order)
    file = find_target(order.target)
    sight = look_at(load_target(file), order.older_than_s, str(file))
    out = _page()
    if order.fix is not None:
        return _fix(order, sight, BY_NAME[order.fix], out)
    checks = [check for check in CHECKS if not order.only or check.name in order.only]
    diagnosis = diagnose(examine(sight, checks))
    plans = plans_of(diagnosis, sight)
    if order.form == "json":
        _print_json(sight, diagnosis, plans, diagnosis.code)
    else:
        click.echo(out.whole(diagnosis, plans, where_of(sight), _shell(sight.target)), color=True)
    return diagnosis.code


def _refuse_what_does_not_go_together(order: Order) -> None:
    for name in order.only:
        if name not in NAMES:
            raise InputError(f"--only {name}: no such check; there are: {', '.join(NAMES)}")
    if order.fix is None and (order.agreed or order.dry_run):
        raise InputError("--yes and --dry-run belong to --fix REMEDY; the examination alone changes nothing")
    if order.fix is not None and order.only:
        raise InputError("--only belongs to the examination; leave it out with --fix")
    if order.fix is not None and order.fix not in BY_NAME:
        listed = "\n".join(f"  {remedy.name:<24}{remedy.title}" for remedy in REMEDIES)
        raise InputError(f"--fix {order.fix}: no such remedy; there are:\n{listed}")


def plans_of(diagnosis: Diagnosis, sight: Sight) -> dict[str, tuple[str, Plan]]:
    """Return the plan of every remedy that a finding names, by name, with why; one that cannot be planned says so."""
    plans: dict[str, tuple[str, Plan]] = {}
    for one in diagnosis.found:
        for advice in one.advice:
            if advice.remedy in plans:
                continue
            try:
                plan = BY_NAME[advice.remedy].plan(sight)
            except CannotLook as error:
                plan = Plan(notes=(str(error),))
            plans[advice.remedy] = (advice.why, plan)
    return plans


def where_of(sight: Sight) -> str:
    """Return in words which target and cluster this is."""
    target = sight.target
    if target.kubernetes == "none":
        return f"target {target.name}, {shown(target.url)}, no cluster"
    kube = target.kubernetes
    host = f" at {sight.world.host}" if isinstance(sight.world, Cluster) else ""
    context = f", context {kube.context}" if kube.context else ""
    return f"target {target.name}: cluster {kube.identity}{host}{context}, namespace {kube.namespace}"


def _shell(target: Target) -> str:
    if target.kubernetes == "none" or not target.kubernetes.kubeconfig:
        return ""
    return f"export KUBECONFIG={target.kubernetes.kubeconfig}"


def _fix(order: Order, sight: Sight, remedy: Remedy, out: Page) -> Exit:
    """Show the plan, and do it if that was agreed to; with `json` a document is printed however it ends."""
    quiet = order.form == "json"
    fix = _Fix(sight, remedy, quiet=quiet)
    try:
        if sight.unreachable:
            raise Unreachable(f"nothing can be mended without the API server: {sight.blind}")
        try:
            fix.plan = remedy.plan(sight)
        except CannotLook as error:
            fix.plan = Plan(notes=(str(error),))
            raise TargetError(f"--fix {remedy.name}: {error}; nothing was done") from error
        return _planned(order, fix, out)
    except HarnessError as error:
        fix.tell(error.code)
        raise


def _planned(order: Order, fix: "_Fix", out: Page) -> Exit:
    sight, remedy, plan = fix.sight, fix.remedy, fix.plan
    click.echo(out.plan(remedy.name, remedy.title, plan, where_of(sight)), err=fix.quiet, color=True)
    if not plan.touches:
        click.echo("nothing to do" if not plan.refused else "nothing here that may be touched", err=fix.quiet)
        code = Outcome(after=fix.look()).code
        return fix.tell(code, after=True)
    if order.dry_run:
        return fix.tell(Exit.OK)
    if not order.agreed:
        if not sys.stdin.isatty():
            raise InputError(
                "--fix asks before it acts, and this is no terminal; say --yes, or --dry-run to only see"
            )
        if not click.confirm(f"Do this on {sight.target.name}?", err=fix.quiet):
            return fix.tell(Exit.STOPPED)
    run_id = new_run_id()
    journal = Journal(order.reports / run_id)
    fix.journal = journal.path
    try:
        journal.write("began", remedy=remedy.name, target=sight.target.name, where=where_of(sight))
        outcome = Mending(sight, remedy, journal, run_id, lambda text: click.echo(text, err=fix.quiet)).run(
            plan
        )
        journal.write("ended", healed=outcome.healed, exit_code=int(outcome.code))
    finally:
        journal.close()
    for one in outcome.after:
        click.echo(f"  {one.check}: {one.result.value}: {one.summary}", err=fix.quiet)
    click.echo(f"journal: {journal.path}", err=fix.quiet)
    fix.outcome, fix.seen = outcome, outcome.after
    return fix.tell(outcome.code, after=True)


@dataclass(slots=True)
class _Fix:
    """One fix as far as it has come, for the document: what was planned, what the journal says was done, what was seen."""

    sight: Sight
    remedy: Remedy
    quiet: bool
    plan: Plan = field(default_factory=Plan)
    journal: Path | None = None
    outcome: Outcome | None = None
    seen: list[CheckResult] | None = None

    def look(self) -> list[CheckResult]:
        """Ask the remedy's checks, once."""
        if self.seen is None:
            heals = set(self.remedy.heals) | ({"api-access"} if self.sight.unreachable else set())
            sight = self.sight if self.journal is None else self.sight.again()
            self.seen = examine(sight, [check for check in CHECKS if check.name in heals])
        return self.seen

    def tell(self, code: Exit, *, after: bool = False) -> Exit:
        """Print the document if one was asked for; return the code. `after` says that the checks looked afterwards."""
        if not self.quiet:
            return code
        ended = self.outcome
        done, skipped = (ended.done, ended.skipped) if ended else told_of(self.journal)
        fix = FixDocument(
            remedy=self.remedy.name,
            done=done,
            skipped=skipped,
            refused=[f"{one.what}: {one.why}" for one in self.plan.refused],
            after=self.look() if after or done else [],
            journal=str(self.journal or ""),
        )
        plans = {self.remedy.name: (self.remedy.title, self.plan)}
        _print_json(self.sight, diagnose(self.look()), plans, code, fix)
        return code


def told_of(journal: Path | None) -> tuple[list[str], list[str]]:
    """Return what a journal says was done, and what was left alone and why."""
    done: list[str] = []
    skipped: list[str] = []
    for line in journal.read_text(encoding="utf-8").splitlines() if journal and journal.exists() else ():
        try:
            said = json.loads(line)
        except ValueError:  # the disk was full
            continue
        if said["event"] in {"done", "skipped"}:
            what = f"{said['kind'].removesuffix('s')} {said['name']}"
            if said["event"] == "done":
                done.append(f"{said['does']} {what}")
            else:
                skipped.append(f"{what}: {said['why']}")
    return done, skipped


def _print_json(
    sight: Sight,
    diagnosis: Diagnosis,
    plans: dict[str, tuple[str, Plan]],
    code: Exit,
    fix: FixDocument | None = None,
) -> None:
    kube = sight.target.kubernetes
    cluster = "" if kube == "none" else kube.identity
    at = datetime.now(UTC).isoformat(timespec="seconds")
    doc = document(
        diagnosis, plans, target=sight.target.name, cluster=cluster, at=at, exit_code=int(code), fix=fix
    )
    click.echo(in_json(doc))


def _page() -> Page:
    terminal = sys.stdout.isatty()
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns) if terminal else WIDEST
    return Page(width, colour=colour)
