"""What is public changes only on purpose: flags, exit codes, file schemas, metric names, event kinds, measures.

After a wanted change: `UPDATE_GOLDEN=1 python -m pytest tests/golden/test_public.py`, and a line in CHANGELOG.md that carries the
new surface's number, which the failing test prints.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import click
import msgspec

from harness import cli
from harness.conduct.schemas import schema_of
from harness.errors import Exit
from harness.history.events import KINDS
from harness.history.samples import KINDS as SAMPLES
from harness.measures.catalogue import MEASURES
from harness.report.prometheus import FAMILIES

FILE = Path(__file__).parent / "public.json"
CHANGELOG = Path(__file__).resolve().parents[2] / "CHANGELOG.md"


def flags(command: click.Command) -> dict[str, Any]:
    """Return the command's options and, for a group, those of its commands."""
    context = click.Context(command)
    found: dict[str, Any] = {
        "options": sorted(flag for param in command.params for flag in param.opts if flag.startswith("-"))
    }
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            found[name] = flags(below)
    return found


def surface() -> dict[str, Any]:
    metrics = [[family.name, family.kind, *family.labels] for family in FAMILIES]
    return {
        "command line": flags(cli.cli),
        "exit codes": {code.name: int(code) for code in Exit},
        "events": {
            kind: [f.encode_name for f in msgspec.structs.fields(cls)] for kind, cls in sorted(KINDS.items())
        },
        "samples": {
            name: [list(map(str, column)) for column in kind.dtype.descr] for name, kind in SAMPLES.items()
        },
        "measures": [measure.name for measure in MEASURES],
        "metrics": metrics,
        "schemas": {
            of: hashlib.sha256(schema_of(of).encode()).hexdigest()[:16]
            for of in ("campaign", "target", "verdict", "doctor")
        },
    }


def number(of: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:8]


def test_what_is_public_changes_only_on_purpose() -> None:
    now = surface()
    if os.environ.get("UPDATE_GOLDEN"):
        FILE.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    assert now == json.loads(FILE.read_text()), (
        "if this is wanted: UPDATE_GOLDEN=1, and a line in the CHANGELOG"
    )


def test_a_change_of_what_is_public_has_its_line_in_the_changelog() -> None:
    wanted = number(json.loads(FILE.read_text()))
    assert f"public surface {wanted}" in CHANGELOG.read_text()
