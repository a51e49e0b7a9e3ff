"""Find and read target files: a name is looked for beside the campaign, then in `targets/`, then in the package.

A file may name a command that prints its variables as JSON (`environment_command`); that is the only thing started here.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.documents import read_document
from harness.errors import InputError, Unreachable
from harness.target.model import Target

TARGET_VARIABLE = "HARNESS_TARGET"
DEFAULT_TARGET = "sandbox"
PACKAGE = Path(__file__).resolve().parent.parent


def find_target(name: str | None, beside: Path | None = None) -> Path:
    """Return the file of target `name`; None means `$HARNESS_TARGET`, then the sandbox. A path is taken as it is."""
    wanted = name or os.environ.get(TARGET_VARIABLE) or DEFAULT_TARGET
    if wanted.endswith((".yaml", ".yml")) or os.sep in wanted:
        return Path(wanted)
    places = [Path.cwd() / "targets", PACKAGE / "shipped" / "targets", PACKAGE.parent / "targets"]
    near = [] if beside is None else [beside, beside.parent / "targets"]
    for place in (*near, *places):
        if (file := place / f"{wanted}.yaml").is_file():
            return file
    known = sorted({file.stem for place in places for file in place.glob("*.yaml")})
    raise InputError(f"target {wanted!r}: no such file; known targets: {', '.join(known) or 'none'}")


def load_target(file: Path) -> Target:
    """Read a target file; raise `FileProblems` for what is wrong in it, `Unreachable` if its command has no answer."""
    return read_document(file, Target, _variables)


def _variables(raw: Mapping[str, Any]) -> Mapping[str, str]:
    command = raw.get("environment_command")
    if not isinstance(command, str):
        return os.environ
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise InputError(f"environment_command {command!r} cannot be read: {error}") from error
    if argv and argv[0] == "harness":  # ours: the same installation, whatever PATH says
        argv = [sys.executable, "-m", "harness", *argv[1:]]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"environment_command {command!r} failed: {error}") from error
    if done.returncode != 0:
        raise Unreachable(
            f"environment_command {command!r} failed: {done.stderr.strip() or done.stdout.strip()}"
        )
    try:
        printed = json.loads(done.stdout)
    except ValueError as error:
        raise Unreachable(
            f"environment_command {command!r} did not print JSON: {done.stdout[:200]!r}"
        ) from error
    if not isinstance(printed, dict):
        raise Unreachable(
            f"environment_command {command!r} did not print a JSON object: {done.stdout[:200]!r}"
        )
    return {**os.environ, **{str(key): str(value) for key, value in printed.items()}}
