"""Read a campaign file with its variables and the command line's overrides filled in.

A campaign is the same everywhere, so it takes nothing from the environment, except below `stop_when`: the addresses and
credentials of whoever is asked there belong to the place. The only module of this room that opens a file, and it opens just
the one it is given.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.campaign.model import Campaign
from harness.documents import read_document
from harness.errors import InputError


def read_campaign(file: Path, overrides: Mapping[str, str] | None = None) -> Campaign:
    """Read `file`; `overrides` set variables of the file by name, or any key by its dotted path (`load.storm`)."""
    given = dict(overrides or {})
    by_path = {key: value for key, value in given.items() if "." in key}

    def variables(raw: Mapping[str, Any]) -> Mapping[str, str]:
        declared = raw.get("variables") or {}
        if not isinstance(declared, dict):
            return {}
        unknown = sorted(set(given) - set(by_path) - set(declared))
        if unknown:
            known = ", ".join(sorted(declared)) or "it declares none"
            raise InputError(
                f"--set {unknown[0]}: {file} declares no such variable ({known}); a key needs its dotted path"
            )
        return {**{key: _text(value) for key, value in declared.items()}, **given}

    def change(raw: dict[str, Any]) -> None:
        for path, value in by_path.items():
            _put(raw, path, value, file)

    return read_document(
        file,
        Campaign,
        variables,
        change,
        hint="declare {name} under `variables:` (or, below `stop_when` only, set it in the environment)",
        below={"stop_when": os.environ},
    )


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _put(raw: dict[str, Any], path: str, value: str, file: Path) -> None:
    place: Any = raw
    *parents, last = path.split(".")
    try:
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        place[int(last) if isinstance(place, list) else last] = value
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise InputError(f"--set {path}: {file} has no such place") from error
