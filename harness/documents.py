"""Read the YAML files people write, and say everything that is wrong with one at once, each with file:line.

Used for campaigns and targets: the file is parsed with line numbers kept, `${NAME}` and `${NAME:-default}` are
filled from given variables, and a pydantic model checks the rest. It opens the file it is given and nothing else.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema

from harness.errors import FileProblems, InputError, Problem

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def duration_s(value: object) -> float:
    """Convert `500ms`, `10s`, `2m` or `1h` to seconds; a bare number has no unit and is refused (except 0)."""
    if value == 0:
        return 0.0
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in _UNITS_S:
        raise ValueError(
            f"{value!r} is not a duration; write a number with a unit, one of {', '.join(_UNITS_S)} (10s)"
        )
    return float(match[1]) * _UNITS_S[match[2]]


Seconds = Annotated[
    float,
    BeforeValidator(duration_s),
    WithJsonSchema(
        {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)$", "description": "a duration: 10s, 500ms, 2m"}
    ),
]
"""A duration in a file: written with its unit, seconds inside."""


class Document(BaseModel):
    """A part of a file that people write: unknown keys are refused, values do not change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


D = TypeVar("D", bound=Document)
Lines = dict[tuple[str | int, ...], int]


def read_document(
    file: Path,
    model: type[D],
    variables: Mapping[str, str] | Callable[[Mapping[str, Any]], Mapping[str, str]],
    change: Callable[[dict[str, Any]], None] | None = None,
    hint: str = "set the environment variable {name}",
    below: Mapping[str, Mapping[str, str]] | None = None,
) -> D:
    """Read `file` as a `model`; raise `FileProblems` with every problem in it.

    `variables` fill `${NAME}`; given as a function it is called with the raw mapping first (a file may say where its
    variables come from). `change` may alter the raw mapping (overrides from a command line) before it is checked. `hint` says how to set a variable.
    `below` gives further variables for what stands below one key of the file, and for nothing else.
    """
    raw, lines = _parse(file)
    if change is not None:
        change(raw)
    values = variables(raw) if callable(variables) else variables
    problems: list[Problem] = []

    def missing(path: tuple[str | int, ...], text: str) -> None:
        problems.append(Problem(str(file), _line(lines, path), text))

    more = below or {}
    filled = {
        key: _fill(value, {**more.get(key, {}), **values}, (key,), missing, hint)
        for key, value in raw.items()
    }
    try:
        document = model.model_validate(filled)
    except ValidationError as error:
        told = {problem.line for problem in problems}
        details = error.errors()
        for item in details:
            if item["type"] == "too_short" and any(_inside(other["loc"], item["loc"]) for other in details):
                continue  # its items were refused one by one already
            problem = _problem(file, lines, item, model)
            if problem.line not in told:
                problems.append(problem)
        raise FileProblems(problems) from None
    if problems:
        raise FileProblems(problems)
    return document


def line_of(file: Path, path: tuple[str | int, ...]) -> int:
    """Return the line at which `path` (keys and indices) stands in `file`, or that of its nearest parent."""
    return _line(_parse(file)[1], path)


def _parse(file: Path) -> tuple[dict[str, Any], Lines]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from error
    lines: Lines = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FileProblems(
            [Problem(str(file), line, f"not YAML: {error.problem or error.context}")]
        ) from error
    except yaml.YAMLError as error:
        raise FileProblems([Problem(str(file), 1, f"not YAML: {error}")]) from error
    if not isinstance(raw, dict) or node is None:
        raise FileProblems(
            [Problem(str(file), 1, "is empty or not a mapping; it needs at least `schema: 1`")]
        )
    repeated: list[Problem] = []
    _lines(
        node,
        (),
        lines,
        lambda line, key: repeated.append(Problem(str(file), line, f"key `{key}` stands here twice")),
    )
    if repeated:
        raise FileProblems(repeated)
    return raw, lines


def _lines(
    node: yaml.Node, path: tuple[str | int, ...], lines: Lines, twice: Callable[[int, str], None]
) -> None:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                twice(key.start_mark.line + 1, key.value)
            seen.add(key.value)
            _lines(value, (*path, key.value), lines, twice)
            lines[(*path, key.value)] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _lines(value, (*path, index), lines, twice)


def _line(lines: Lines, path: tuple[str | int, ...]) -> int:
    while path not in lines and path:
        path = path[:-1]
    return lines.get(path, 1)


def _fill(
    value: Any,
    variables: Mapping[str, str],
    path: tuple[str | int, ...],
    missing: Callable[[tuple[str | int, ...], str], None],
    hint: str,
) -> Any:
    if isinstance(value, dict):
        return {key: _fill(item, variables, (*path, key), missing, hint) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, variables, (*path, index), missing, hint) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if name in variables:
            return variables[name]
        if default is None:
            missing(
                path,
                f"${{{name}}} is not set; {hint.format(name=name)}, or write ${{{name}:-default}}",
            )
            return ""
        return default

    return _VARIABLE.sub(replace, value)


def _inside(path: tuple[str | int, ...], parent: tuple[str | int, ...]) -> bool:
    return len(path) > len(parent) and path[: len(parent)] == parent


def _problem(file: Path, lines: Lines, item: Any, model: type[BaseModel]) -> Problem:
    location: tuple[str | int, ...] = tuple(item["loc"])
    path: tuple[str | int, ...] = ()
    for part in location:  # pydantic adds names of union members to the path; ours stand in brackets
        path = (*path, part) if (*path, part) in lines else path
    where = ".".join(str(part) for part in location if not str(part).startswith("(")) or "the file"
    text = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        known = sorted(_keys(model))
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        text = (
            f"unknown key; did you mean `{near[0]}`?"
            if near
            else "unknown key; `harness schema campaign` and `harness schema target` list the known ones"
        )
    elif item["type"] == "missing":
        text = "is missing"
    return Problem(str(file), _line(lines, path), f"{where}: {text}")


def _keys(model: type[BaseModel]) -> set[str]:
    found: set[str] = set()
    todo: list[Any] = [model.model_json_schema()]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            found |= set(part.get("properties", {}))
            todo.extend(part.values())
        elif isinstance(part, list):
            todo.extend(part)
    return found
