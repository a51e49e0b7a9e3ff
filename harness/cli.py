"""The command line: reads arguments, calls one room, turns every ending into the documented exit code.

No work is done here. `HarnessError` becomes its message and its code; anything unforeseen becomes 70 with the traceback
in a file, so that a pipeline never sees the 1 that any program may print.
"""

import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import click

import harness
from harness.errors import Exit, HarnessError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Verbs(click.Group):
    """The group of all commands; rooms are imported when their command is called, so that `--help` is instant."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command `cmd_name`."""
        if cmd_name == "sandbox":
            from harness.sandbox.command import sandbox  # noqa: PLC0415  (needs the extra `sandbox`)

            group: click.Command = sandbox
            return group
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted([*super().list_commands(ctx), "sandbox"])


@click.group(cls=Verbs, context_settings=CONTEXT)
@click.version_option(harness.__version__, prog_name="harness")
def cli() -> None:
    """Chaos and load campaigns against Focus Server."""


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
    except BrokenPipeError:  # the reader of a pipe went away, as `head` does
        sys.stderr.close()
        return int(Exit.OK)
    except Exception as error:
        return internal(error)


def internal(error: Exception) -> int:
    """Report an error that nobody foresaw: one line for people, the traceback in a file."""
    with tempfile.NamedTemporaryFile("w", prefix="harness-", suffix=".log", delete=False) as log:
        traceback.print_exception(error, file=log)
    click.echo(
        f"harness: internal error: {type(error).__name__}: {error}\n  traceback: {Path(log.name)}", err=True
    )
    return int(Exit.INTERNAL)
