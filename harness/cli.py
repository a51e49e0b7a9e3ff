"""The command line: reads arguments, calls one room, turns every ending into the documented exit code.

No work is done here. `HarnessError` becomes its message and its code; anything unforeseen becomes 70 with the traceback
in a file, so that a pipeline never sees the 1 that any program may print.
"""

import dataclasses
import sys
import tempfile
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

import harness
from harness.errors import Exit, HarnessError, InputError, gravest

CHAOS_COMMANDS = ("halt", "reverter")
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Verbs(click.Group):
    """The group of all commands; rooms are imported when their command is called, so that `--help` is instant."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command `cmd_name`."""
        if cmd_name == "sandbox":
            return _sandbox()
        if cmd_name in CHAOS_COMMANDS:
            from harness.chaos import command  # noqa: PLC0415  (heavy; only when asked for)

            found: click.Command = {"halt": command.halt_command, "reverter": command.reverter}[cmd_name]
            return found
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted([*super().list_commands(ctx), "sandbox", *CHAOS_COMMANDS])


def _sandbox() -> click.Command:
    missing = [name for name in ("fastapi", "psutil", "trustme", "uvicorn") if not find_spec(name)]
    if missing:
        raise InputError(
            f"the sandbox needs {', '.join(missing)}; install them with: pip install 'focus-harness[sandbox]'"
        )
    from harness.sandbox.command import sandbox  # noqa: PLC0415  (heavy; only when asked for)

    group: click.Command = sandbox
    return group


@click.group(cls=Verbs, context_settings=CONTEXT)
@click.version_option(harness.__version__, prog_name="harness")
def cli() -> None:
    """Chaos and load campaigns against Focus Server."""


def _pairs(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for value in values:
        key, sign, text = value.partition("=")
        if not sign or not key:
            raise click.BadParameter(f"{value!r} is not of the form key=value")
        pairs[key] = text
    return pairs


def _duration(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float:
    from harness.documents import duration_s  # noqa: PLC0415

    if text is None:
        return 0.0
    try:
        return duration_s(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _campaign(_ctx: click.Context, _param: click.Parameter, name: str) -> Path:
    from harness.conduct.experiments import find_campaign  # noqa: PLC0415

    return find_campaign(name)


CAMPAIGN = click.argument("campaign", callback=_campaign)
SET = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_pairs,
    help="Override a variable or a key (load.storm=true) of the campaign.",
)
REPORTS = click.option(
    "--reports",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("reports"),
    show_default=True,
    help="Where runs are kept.",
)

TARGET = click.option(
    "--target",
    metavar="NAME",
    help="Target file or its name [default: $HARNESS_TARGET, then the running sandbox].",
)
OUT = click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the record, empty or new [default: reports/<run id>].",
)
LABELS = click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", callback=_pairs, help="Keep a note with the run."
)
OWN_SANDBOX = click.option(
    "--sandbox",
    "own_sandbox",
    is_flag=True,
    help="Start a sandbox for this run alone, and stop it afterwards.",
)
SANDBOX_OPTIONS = click.option(
    "--sandbox-option",
    "sandbox_options",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_pairs,
    help="Setting of that sandbox (mode=field, profile=production, ...).",
)
WAIT_LOCK = click.option(
    "--wait-lock",
    metavar="TIME",
    callback=_duration,
    help="Wait up to this long (such as 20m) for another run on the target to end [default: exit 9 at once].",
)


@cli.command()
@CAMPAIGN
@TARGET
@SET
@OUT
@REPORTS
@LABELS
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of /metrics on loopback [default: a free one].",
)
@OWN_SANDBOX
@SANDBOX_OPTIONS
@WAIT_LOCK
@click.option(
    "--guard-only",
    is_flag=True,
    help="Play without the reverter in the cluster; recorded, and said on top of the report.",
)
@click.option(
    "--dry-run", is_flag=True, help="Print what would be done, with every object and call; change nothing."
)
def run(
    campaign: Path,
    target: str | None,
    overrides: dict[str, str],
    out: Path | None,
    reports: Path,
    labels: dict[str, str],
    metrics_port: int,
    own_sandbox: bool,
    sandbox_options: dict[str, str],
    wait_lock: float,
    guard_only: bool,
    dry_run: bool,
) -> int:
    """Play CAMPAIGN on a target and judge it."""
    from harness.conduct.explain import calls, duration, explain  # noqa: PLC0415  (heavy; `--help` is instant without)
    from harness.conduct.orders import Order, check_campaign, prepare  # noqa: PLC0415
    from harness.conduct.rehearsal import sandbox_of_its_own  # noqa: PLC0415

    if own_sandbox and target not in {None, "sandbox"}:
        raise click.UsageError("--sandbox starts a target of its own; leave --target out")
    order = Order(
        campaign,
        target,
        overrides,
        labels,
        out,
        reports,
        metrics_port,
        wait_lock_s=wait_lock,
        guard_only=guard_only,
    )
    if dry_run:
        if own_sandbox:
            planned, experiments = check_campaign(campaign, overrides)
            click.echo("\n".join(explain(planned, experiments, None)))
        else:
            prepared = prepare(order)
            click.echo("\n".join(explain(prepared.plan, prepared.experiments, prepared.target)))
            for line in calls(prepared.plan, prepared.experiments, prepared.target):
                click.echo(line)
        return Exit.OK
    from harness.conduct.run import play  # noqa: PLC0415

    planned, _ = check_campaign(campaign, overrides)
    click.echo(duration(planned, own_sandbox))
    if not own_sandbox:
        return play(prepare(order))
    with sandbox_of_its_own(sandbox_options) as own:
        code = play(prepare(dataclasses.replace(order, target="sandbox", sandbox=own.name)))
        own.keep = code != Exit.OK
        return code


def _share(_ctx: click.Context, _param: click.Parameter, text: str) -> float:
    number = text.removesuffix("%")
    try:
        return float(number) / 100 if text.endswith("%") else float(number)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no share: write 99% or 0.99") from error


@cli.command()
@TARGET
@click.option(
    "--find",
    "sought",
    multiple=True,
    type=click.Choice(["windows", "creates", "rate"]),
    help="Windows open at once, creates in flight, arrivals per second; may be repeated [default: all].",
)
@click.option(
    "--require",
    "requirements",
    multiple=True,
    metavar="'windows >= 30'",
    help="Fail unless it holds; may be repeated. Without --find, nothing else is sought, and no further than to decide it.",
)
@click.option(
    "--budget",
    metavar="TIME",
    default="10m",
    show_default=True,
    callback=_duration,
    help="How long the searches may take together.",
)
@click.option(
    "--success",
    metavar="SHARE",
    default="99%",
    show_default=True,
    callback=_share,
    help="Windows that are served.",
)
@click.option(
    "--ready-within",
    metavar="TIME",
    default="30s",
    show_default=True,
    callback=_duration,
    help="From create to ready stream, for that share.",
)
@click.option(
    "--unstalled",
    metavar="SHARE",
    default="99%",
    show_default=True,
    callback=_share,
    help="Windows without a stalled stream.",
)
@click.option(
    "--confidence",
    metavar="SHARE",
    default="95%",
    show_default=True,
    callback=_share,
    help="Of every decision on a level.",
)
@click.option(
    "--precision", metavar="SHARE", default="3%", show_default=True, callback=_share, help="Of a rate."
)
@click.option(
    "--hold",
    metavar="TIME",
    default="5s",
    show_default=True,
    callback=_duration,
    help="How long windows are held in the search for a rate.",
)
@click.option(
    "--reclaim",
    metavar="TIME",
    default="200s",
    show_default=True,
    callback=_duration,
    help="How long closed windows are waited for before the next probe.",
)
@OUT
@REPORTS
@LABELS
@OWN_SANDBOX
@SANDBOX_OPTIONS
@WAIT_LOCK
def capacity(
    target: str | None,
    out: Path | None,
    reports: Path,
    labels: dict[str, str],
    own_sandbox: bool,
    sandbox_options: dict[str, str],
    wait_lock: float,
    **asked: Any,
) -> int:
    """Find out how many windows, creates in flight and arrivals per second a target sustains."""
    from harness.conduct.capacity_order import capacity_order  # noqa: PLC0415  (heavy; `--help` is instant without)
    from harness.conduct.orders import Order, prepare_capacity  # noqa: PLC0415
    from harness.conduct.rehearsal import sandbox_of_its_own  # noqa: PLC0415
    from harness.conduct.run import play  # noqa: PLC0415

    if own_sandbox and target not in {None, "sandbox"}:
        raise click.UsageError("--sandbox starts a target of its own; leave --target out")
    sought = capacity_order(**asked)
    order = Order(Path("capacity"), target, {}, labels, out, reports, wait_lock_s=wait_lock)
    if not own_sandbox:
        return play(prepare_capacity(order, sought))
    with sandbox_of_its_own(sandbox_options) as own:
        code = play(prepare_capacity(dataclasses.replace(order, target="sandbox", sandbox=own.name), sought))
        own.keep = code != Exit.OK
        return code


@cli.command()
@click.argument("run_name", metavar="RUN", default="latest")
@REPORTS
def judge(run_name: str, reports: Path) -> int:
    """Judge a recorded run again with today's rules. RUN is a folder, a run id, or `latest`."""
    from harness.conduct.ending import judge_folder, told, write_results  # noqa: PLC0415
    from harness.conduct.folder import find_run  # noqa: PLC0415
    from harness.report import print_verdict  # noqa: PLC0415

    folder = find_run(run_name, reports)
    facts, findings = judge_folder(folder)
    page = write_results(folder, facts, findings)
    print_verdict(findings, facts, told(folder, page), sys.stdout)
    return int(gravest([findings.verdict.exit_code, Exit.OK if page else Exit.INTERNAL]))


@cli.command()
@CAMPAIGN
@SET
@click.option("--explain", "explained", is_flag=True, help="Print the resolved plan.")
def check(campaign: Path, overrides: dict[str, str], explained: bool) -> None:
    """Say everything that is wrong with CAMPAIGN, each with file and line."""
    from harness.conduct.explain import explain  # noqa: PLC0415
    from harness.conduct.orders import check_campaign  # noqa: PLC0415

    planned, experiments = check_campaign(campaign, overrides)
    if explained:
        click.echo("\n".join(explain(planned, experiments, None)))
    else:
        click.echo(
            f"{campaign}: fine ({len(planned.moments)} faults, {len(planned.gates) + 1} gates, at most {planned.longest_s:g} s)"
        )


@cli.command()
@click.argument("of", type=click.Choice(["campaign", "target", "verdict", "doctor"]))
def schema(of: str) -> None:
    """Print the JSON schema of a file."""
    from harness.conduct.schemas import schema_of  # noqa: PLC0415

    click.echo(schema_of(of))


@cli.command()
@click.argument("run_name", metavar="[RUN]", required=False)
@click.option("--target", metavar="NAME", help="Only what was injected into this target.")
@click.option(
    "--sweep",
    is_flag=True,
    help="Read no journal and no entry: take back whatever carries a fault's mark on the target and belongs to no live run.",
)
@REPORTS
def undo(run_name: str | None, target: str | None, sweep: bool, reports: Path) -> int:
    """Undo every fault that is still open: of RUN, of a target, or of every journal known on this machine."""
    from harness.chaos import undo_command  # noqa: PLC0415
    from harness.conduct.folder import find_run, sweep_socket_folders  # noqa: PLC0415

    if sweep and run_name:
        raise click.UsageError("--sweep reads no run; leave RUN out")
    for folder in sweep_socket_folders():
        click.echo(f"removed {folder}: a run that was killed had left it", err=True)
    return int(undo_command(find_run(run_name, reports) if run_name else None, target, sweep=sweep))


@cli.command()
@TARGET
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--only", multiple=True, metavar="CHECK", help="Only this check; may be repeated.")
@click.option("--fix", metavar="REMEDY", help="Do this remedy, after showing what it will touch.")
@click.option("--yes", is_flag=True, help="Agree to what --fix shows.")
@click.option("--dry-run", is_flag=True, help="Show what --fix would touch; change nothing.")
@click.option(
    "--older-than",
    metavar="TIME",
    default="1m",
    show_default=True,
    callback=_duration,
    help="What is younger is nobody's leftover yet.",
)
@REPORTS
def doctor(
    target: str | None,
    form: str,
    only: tuple[str, ...],
    fix: str | None,
    yes: bool,
    dry_run: bool,
    older_than: float,
    reports: Path,
) -> int:
    """Say what hinders windows on a target now, why, and what to type against it; with --fix, do it."""
    from harness.doctor import Order, doctor_command  # noqa: PLC0415  (heavy; only when asked for)

    return int(
        doctor_command(
            Order(
                target,
                form,
                fix,
                agreed=yes,
                dry_run=dry_run,
                only=only,
                older_than_s=older_than,
                reports=reports,
            )
        )
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the code of its ending."""
    sys.exit(ending(arguments))


def ending(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    try:
        result: Any = cli.main(args=arguments, prog_name="harness", standalone_mode=False)
        return int(result or Exit.OK)
    except HarnessError as error:
        click.echo(f"harness: {error}", err=True)
        return int(error.code)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return int(Exit.USAGE)
    except (click.Abort, KeyboardInterrupt):
        click.echo("harness: stopped", err=True)
        return int(Exit.STOPPED)
    except (
        SystemExit
    ) as end:  # a command's own ending; click's 1 means that the reader of our output went away
        return int(Exit.STOPPED if end.code == 1 else end.code or Exit.OK)
    except BrokenPipeError:
        return int(Exit.STOPPED)
    except Exception as error:
        return internal(error)


def internal(error: Exception) -> int:
    """Report an error that nobody foresaw: one line for people, the traceback in a file."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="harness-", suffix=".log", delete=False) as log:
            traceback.print_exception(error, file=log)
    except OSError:  # no room for a file: better here than nowhere
        traceback.print_exception(error)
        return int(Exit.INTERNAL)
    click.echo(
        f"harness: internal error: {type(error).__name__}: {error}\n  traceback: {Path(log.name)}", err=True
    )
    return int(Exit.INTERNAL)
