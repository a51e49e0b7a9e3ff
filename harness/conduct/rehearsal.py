"""Give a run a sandbox of its own: started before it, stopped after it, whatever happens in between.

The sandbox is reached through its command line only, as any person would; it ends by itself if this process is killed.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import click

from harness.errors import Exit, InputError, Unreachable

NAME_VARIABLE = "HARNESS_SANDBOX"
LONGEST_S = 75.0
"""More than a sandbox gives itself to start or to stop."""


@dataclass(slots=True)
class OwnSandbox:
    """The sandbox of one run; its logs stay on disk if `keep` is set before it is stopped."""

    name: str
    keep: bool = True


@contextmanager
def sandbox_of_its_own(settings: Mapping[str, str]) -> Iterator[OwnSandbox]:
    """Start a sandbox for the length of the block; `settings` are `mode`, `profile` and any other setting of a sandbox."""
    own = OwnSandbox(f"run-{os.getpid()}")
    up = _sandbox("up", "--name", own.name, "--bound-to", str(os.getpid()), *_options(settings))
    if up == Exit.USAGE:
        raise InputError(
            "the sandbox does not take these --sandbox-option values; see: harness sandbox up --settings"
        )
    if up != Exit.OK:
        raise Unreachable(
            f"the sandbox did not start (exit code {up}); see: harness sandbox status --name {own.name}"
        )
    before = os.environ.get(NAME_VARIABLE)
    os.environ[NAME_VARIABLE] = own.name
    try:
        yield own
    finally:
        if before is None:
            del os.environ[NAME_VARIABLE]
        else:
            os.environ[NAME_VARIABLE] = before
        down = _sandbox("down", "--name", own.name, *(() if own.keep else ("--purge",)))
        if down != Exit.OK:  # said, not raised: how the run itself ended matters more
            click.echo(
                f"harness: the sandbox {own.name} did not stop (exit code {down}); "
                f"try: harness sandbox down --name {own.name}",
                err=True,
            )


def _options(settings: Mapping[str, str]) -> list[str]:
    options = []
    for key, value in settings.items():
        options += [f"--{key}", value] if key in {"mode", "profile"} else ["--set", f"{key}={value}"]
    return options


def _sandbox(*arguments: str) -> int:
    """Run `harness sandbox`, out of reach of the terminal's Ctrl-C: it must be able to stop what it started."""
    command = [sys.executable, "-m", "harness", "sandbox", *arguments]
    try:
        return subprocess.run(command, start_new_session=True, check=False, timeout=LONGEST_S).returncode
    except subprocess.TimeoutExpired:
        return int(Exit.INTERNAL)
