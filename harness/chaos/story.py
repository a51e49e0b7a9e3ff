"""Read an experiment file: which faults it plays, which parameters it takes.

Called by preflight and by the chaos process, before Chaos Toolkit sees it. It checks only what concerns us; Chaos Toolkit
validates the rest.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from harness.chaos.faults import FAULTS, Fault, fault_named
from harness.errors import InputError

ACTIONS = "harness.chaos.actions"
ANY_FAULT = "inject"
"""The action that takes a fault's kind as an argument: for faults from outside."""


@dataclass(frozen=True, slots=True)
class Story:
    """An experiment file: its name (the file's), Chaos Toolkit's document, the kinds of its faults in order."""

    name: str
    document: dict[str, Any]
    faults: tuple[str, ...]
    unverified: tuple[str, ...] = ()
    """Actions that nobody undoes."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names under `configuration`."""
        return tuple(self.document.get("configuration") or {})


def read_story(file: Path) -> Story:
    """Read an experiment file; raise InputError if it is not one."""
    try:
        text = file.read_text(encoding="utf-8")
        document = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("method"), list):
        raise InputError(f"{file}: is not a Chaos Toolkit experiment: it has no `method` list")
    try:
        return Story(
            file.stem,
            document,
            _faults(document["method"]),
            _unverified([*document["method"], *(document.get("rollbacks") or [])]),
        )
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def variables(story: Story, given: Mapping[str, str], hold_s: float | None) -> dict[str, Any]:
    """Return the experiment variables that override its `configuration`; raise InputError for unknown ones."""
    problems = []
    for key in given:
        if key not in story.parameters:
            near = difflib.get_close_matches(key, story.parameters, n=1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"it takes: {', '.join(story.parameters) or 'none'}"
            )
            problems.append(f"experiment {story.name}: unknown parameter {key!r}; {hint}")
    if problems:
        raise InputError("\n".join(problems))
    changed: dict[str, Any] = dict(given)
    if hold_s is not None and "hold_s" in story.parameters:
        changed["hold_s"] = hold_s
    return changed


def planned_faults(
    story: Story, given: Mapping[str, str], outside: Sequence[str] = ()
) -> list[tuple[str, Any]]:
    """Return kind and arguments of each fault as it would be played with these settings; raise InputError."""
    from chaoslib import substitute  # noqa: PLC0415  (slow to import, and only needed here)
    from chaoslib.configuration import load_configuration  # noqa: PLC0415

    configuration = load_configuration(
        story.document.get("configuration") or {}, variables(story, given, None)
    )
    planned = []
    for activity in story.document["method"]:
        for kind in _faults([activity]):
            arguments = substitute(activity["provider"].get("arguments") or {}, configuration, {})
            arguments.pop("hold_s", None)
            if activity["provider"]["func"] == ANY_FAULT:
                arguments = arguments.get("arguments") or {}
            planned.append((kind, arguments_of(fault_named(kind, outside), arguments)))
    return planned


def arguments_of(fault: Fault[Any, Any], given: Mapping[str, Any]) -> Any:
    """Return what an experiment file says about a fault as the fault's own struct; empty values mean the default."""
    named = {key: value for key, value in given.items() if value not in (None, "")}
    try:
        return msgspec.convert(named, fault.arguments, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"{fault.kind}: {error}") from error


def _faults(method: list[Any]) -> tuple[str, ...]:
    by_function = {fault.kind.replace("-", "_"): fault.kind for fault in FAULTS}
    kinds = []
    for activity in method:
        provider = activity.get("provider", {}) if isinstance(activity, dict) else {}
        if provider.get("module") != ACTIONS:
            continue
        if provider.get("func") in by_function:
            kinds.append(by_function[provider["func"]])
        elif provider.get("func") == ANY_FAULT:
            kinds.append(str((provider.get("arguments") or {}).get("fault", "")))
    return tuple(kinds)


def _unverified(method: list[Any]) -> tuple[str, ...]:
    """Return the names of actions that are none of ours: nobody undoes them, so each has to say so."""
    found = []
    for activity in method:
        provider = activity.get("provider", {}) if isinstance(activity, dict) else {}
        if activity.get("type") == "action" and provider.get("module") != ACTIONS:
            name = str(activity.get("name", "?"))
            if activity.get("unverified") is not True:
                raise InputError(
                    f"action {name!r} has no undo of ours; use a fault of this harness (docs/faults.md), or write "
                    "`unverified: true` beside it: then it runs on the sandbox only, and the report says so"
                )
            found.append(name)
    return tuple(found)
