"""Server-side apply, simplified: merge by keys, remember which manager applied which fields, refuse conflicts.

Only fields that were applied are remembered (managedFields entries of operation Apply); changes by other verbs own
nothing, so a conflict is one between two appliers. Called by the verbs; pure but for its arguments.
"""

import json
from collections.abc import Iterator
from typing import Any

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controlplane import fields, patches, statuses
from harness.sandbox.controlplane.resources import Resource

Path = tuple[str, ...]
UNOWNED = {("f:kind",), ("f:apiVersion",), ("f:metadata", "f:name"), ("f:metadata", "f:namespace")}


class Conflicts(Exception):
    """Fields that another manager applied with another value."""

    def __init__(self, found: list[tuple[str, Path]]) -> None:
        super().__init__("conflict")
        self.found = found

    def status(self) -> ApiStatus:
        """The 409 that lists them."""
        managers = list(dict.fromkeys(manager for manager, _ in self.found))
        causes = [
            {
                "reason": "FieldManagerConflict",
                "message": f'conflict with "{manager}"',
                "field": _dotted(path),
            }
            for manager, path in self.found
        ]
        count = len(self.found)
        words = "\n".join(f"conflicts with {json.dumps(m)}:" for m in managers)
        if count == 1:
            words = f'conflict with "{managers[0]}": {_dotted(self.found[0][1])}'
        else:
            words += "".join(f"\n- {_dotted(path)}" for _, path in self.found)
        text = f"Apply failed with {count} conflict{'s' if count > 1 else ''}: {words}"
        return statuses.refusal(409, "Conflict", text, {"causes": causes})


def _dotted(path: Path) -> str:
    words = ""
    for step in path:
        words += f".{step[2:]}" if step.startswith("f:") else f"[{step[2:]}]"
    return words


def _leaves(value: Any, type_name: str | None, field: str, at: Path) -> Iterator[Path]:
    """The paths a configuration names: leaves, and elements of lists that are joined by a key."""
    if isinstance(value, dict) and value:
        below = fields.field_type(type_name, field) if field else type_name
        for key, item in value.items():
            yield from _leaves(item, below, key, (*at, f"f:{key}"))
        return
    key = fields.merge_key(type_name or "", field) if field else None
    if isinstance(value, list) and key is not None:
        for item in value:
            step = f"v:{json.dumps(item)}" if key == "" else "k:" + json.dumps({key: item.get(key)})
            yield (*at, step)
            if isinstance(item, dict):
                below = fields.field_type(type_name, field)
                for name, inner in item.items():
                    yield from _leaves(inner, below, name, (*at, step, f"f:{name}"))
        return
    yield at


def owned_paths(config: Obj, type_name: str) -> set[Path]:
    """Every path an applied configuration owns."""
    return {path for path in _leaves(config, type_name, "", ()) if path not in UNOWNED and path}


def to_fields(paths: set[Path]) -> Obj:
    """Paths as a FieldsV1 tree."""
    tree: Obj = {}
    for path in sorted(paths):
        level = tree
        for step in path:
            level = level.setdefault(step, {})
        if path[-1][0] in "kv":
            level["."] = {}
    return tree


def from_fields(tree: Obj, at: Path = ()) -> set[Path]:
    """The paths of a FieldsV1 tree."""
    found: set[Path] = set()
    for step, below in tree.items():
        if step == ".":
            found.add(at)
        elif below:
            found |= from_fields(below, (*at, step))
        else:
            found.add((*at, step))
    return found


def _value(obj: Any, path: Path) -> Any:
    for step in path:
        obj = _step(obj, step)
        if obj is None:
            return None
    return obj


def _step(obj: Any, step: str) -> Any:
    if step.startswith("f:"):
        return obj.get(step[2:]) if isinstance(obj, dict) else None
    if not isinstance(obj, list):
        return None
    wanted = json.loads(step[2:])
    if step.startswith("v:"):
        return wanted if wanted in obj else None
    return next((i for i in obj if all(i.get(k) == v for k, v in wanted.items())), None)


def _remove(obj: Obj, path: Path) -> None:
    parent = _value(obj, path[:-1])
    step = path[-1]
    if isinstance(parent, dict) and step.startswith("f:"):
        parent.pop(step[2:], None)
    elif isinstance(parent, list):
        gone = _step(parent, step)
        if gone is not None:
            parent.remove(gone)


def _entry(manager: str, resource: Resource, paths: set[Path], now: str, sub: str) -> Obj:
    entry = {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": resource.api_version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": to_fields(paths),
    }
    return {**entry, "subresource": sub} if sub else entry


def first(wanted: Obj, resource: Resource, manager: str, now: str) -> Obj:
    """A configuration applied to nothing: the object to create, with its owner."""
    paths = owned_paths(
        {k: v for k, v in wanted.items() if k not in ("kind", "apiVersion")}, resource.type_name
    )
    meta = {**wanted["metadata"], "managedFields": [_entry(manager, resource, paths, now, "")]}
    return {**wanted, "metadata": meta}


def merged(
    current: Obj, wanted: Obj, resource: Resource, manager: str, now: str, *, force: bool, sub: str
) -> Obj:
    """A configuration applied to an object; raise Conflicts where others applied other values."""
    config = {k: v for k, v in wanted.items() if k not in ("kind", "apiVersion")}
    paths = owned_paths(config, resource.type_name)
    entries = current["metadata"].get("managedFields") or []
    mine = next((e for e in entries if e.get("operation") == "Apply" and e.get("manager") == manager), None)
    others = [e for e in entries if e is not mine]
    found = [
        (e["manager"], path)
        for e in others
        for path in sorted(from_fields(e.get("fieldsV1") or {}) & paths)
        if path[-1].startswith("f:") and _value(current, path) != _value(config, path)
    ]
    if found and not force:
        raise Conflicts(found)
    taken = {path for _, path in found}
    for entry in others:
        if taken:
            entry["fieldsV1"] = to_fields(from_fields(entry.get("fieldsV1") or {}) - taken)
    kept = set().union(*(from_fields(e.get("fieldsV1") or {}) for e in others)) if others else set()
    had = from_fields(mine.get("fieldsV1") or {}) if mine else set()
    for path in sorted(had - paths - kept, key=len, reverse=True):
        _remove(current, path)
    result = patches.strategic_patch(current, config, resource.type_name)
    result["metadata"]["managedFields"] = [
        *(e for e in others if e.get("fieldsV1")),
        _entry(manager, resource, paths, now, sub),
    ]
    return result
