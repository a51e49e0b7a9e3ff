"""The four ways to change part of an object: JSON patch, merge patch, strategic merge patch and apply.

Pure functions from (object, patch) to a new object; called by the verbs. They refuse (PatchError) what cannot be
read or applied, and never look at the store. Strategic merge takes list keys and types from the field table.
"""

import copy
from typing import Any

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import fields

PATCH = "$patch"
ORDER = "$setElementOrder/"
DELETE_FROM = "$deleteFromPrimitiveList/"
RETAIN = "$retainKeys"


class PatchError(Exception):
    """A patch that cannot be read (malformed) or does not fit the object."""

    def __init__(self, message: str, *, malformed: bool = False) -> None:
        super().__init__(message)
        self.malformed = malformed


# ---- JSON patch (RFC 6902)


def json_patch(obj: Obj, operations: Any) -> Obj:
    """Apply a list of operations, all or none; raise PatchError where one fails."""
    if not isinstance(operations, list):
        raise PatchError(
            "json: cannot unmarshal object into Go value of type jsonpatch.Patch", malformed=True
        )
    result = copy.deepcopy(obj)
    for operation in operations:
        if not isinstance(operation, dict) or "op" not in operation or "path" not in operation:
            raise PatchError("Invalid JSON Patch", malformed=True)
        result = _operate(result, operation)
    return result


def _steps(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise PatchError(f"invalid path: {pointer}")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _operate(obj: Any, operation: Obj) -> Any:
    verb, path = operation["op"], operation["path"]
    if verb == "test":
        if _found(obj, path) != operation.get("value"):
            raise PatchError(f"testing value {path} failed")
        return obj
    if verb == "remove":
        return _taken(obj, path)
    if verb == "replace":
        _found(obj, path)
        return _set(obj, path, copy.deepcopy(operation.get("value")), insert=False)
    if verb == "add":
        return _set(obj, path, copy.deepcopy(operation.get("value")), insert=True)
    if verb == "copy":
        return _set(obj, path, copy.deepcopy(_found(obj, operation.get("from", ""))), insert=True)
    if verb == "move":
        value = _found(obj, operation.get("from", ""))
        return _set(_taken(obj, operation.get("from", "")), path, value, insert=True)
    raise PatchError(f"Unexpected kind: {verb}")


def _child(value: Any, step: str, path: str) -> Any:
    if isinstance(value, dict) and step in value:
        return value[step]
    if isinstance(value, list) and step.isdigit() and int(step) < len(value):
        return value[int(step)]
    raise PatchError(f'Unable to access path "{path}": missing value')


def _found(obj: Any, path: str) -> Any:
    for step in _steps(path):
        obj = _child(obj, step, path)
    return obj


def _taken(obj: Any, path: str) -> Any:
    steps = _steps(path)
    parent = obj
    for step in steps[:-1]:
        parent = _child(parent, step, path)
    _child(parent, steps[-1], path)
    if isinstance(parent, dict):
        del parent[steps[-1]]
    else:
        del parent[int(steps[-1])]
    return obj


def _set(obj: Any, path: str, value: Any, *, insert: bool) -> Any:
    steps = _steps(path)
    if not steps:
        return value
    parent = obj
    for step in steps[:-1]:
        parent = _child(parent, step, path)
    last = steps[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        _set_item(parent, last, value, path, insert=insert)
    else:
        raise PatchError(f'Unable to access path "{path}": not a container')
    return obj


def _set_item(parent: list[Any], last: str, value: Any, path: str, *, insert: bool) -> None:
    if last == "-":
        parent.append(value)
        return
    if not last.isdigit() or int(last) > len(parent) - (0 if insert else 1):
        raise PatchError(f'Unable to access invalid index: "{path}"')
    if insert:
        parent.insert(int(last), value)
    else:
        parent[int(last)] = value


# ---- merge patch (RFC 7396)


def merge_patch(target: Any, patch: Any) -> Any:
    """Merge maps, replace everything else, drop what the patch says is null."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def merge_object(target: Obj, patch: Any) -> Obj:
    """Apply a merge patch to an object; raise PatchError where it is not an object itself."""
    if not isinstance(patch, dict):
        text = "json: cannot unmarshal array into Go value of type map[string]interface {}"
        raise PatchError(text, malformed=True)
    merged: Obj = merge_patch(target, patch)
    return merged


# ---- strategic merge patch


def strategic_patch(target: Obj, patch: Any, type_name: str | None) -> Obj:
    """Merge maps, and lists by the key their field has; directives ($patch, $setElementOrder, ...) are obeyed."""
    if not isinstance(patch, dict):
        raise PatchError("strategic merge patch must be an object", malformed=True)
    return _strategic_map(target, patch, type_name)


def _strategic_map(target: Any, patch: Obj, type_name: str | None) -> Obj:
    directive = patch.get(PATCH)
    if directive == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != PATCH}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise PatchError(f"unknown patch type: {directive}", malformed=True)
    result: Obj = dict(target) if isinstance(target, dict) else {}
    if RETAIN in patch:
        result = {key: value for key, value in result.items() if key in patch[RETAIN]}
    for key, value in patch.items():
        if key.startswith("$"):
            _obey(result, key, value)
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            below = fields.field_type(type_name, key)
            if value.get(PATCH) == "delete":
                result.pop(key, None)
            else:
                result[key] = _strategic_map(result.get(key), value, below)
        elif isinstance(value, list):
            result[key] = _strategic_list(result.get(key), value, type_name, key, patch.get(ORDER + key))
        else:
            result[key] = value
    for key, order in patch.items():
        field = key.removeprefix(ORDER)
        if key.startswith(ORDER) and field not in patch and isinstance(result.get(field), list):
            result[field] = _in_order(result[field], order, fields.merge_key(type_name or "", field))
    return result


def _obey(result: Obj, key: str, value: Any) -> None:
    if key.startswith(DELETE_FROM):
        field = key.removeprefix(DELETE_FROM)
        result[field] = [item for item in result.get(field) or [] if item not in value]


def _strategic_list(
    current: Any, patch: list[Any], type_name: str | None, field: str, order: list[Any] | None
) -> list[Any]:
    key = fields.merge_key(type_name or "", field)
    if key is None:
        return copy.deepcopy([item for item in patch if not (isinstance(item, dict) and PATCH in item)])
    now = list(current) if isinstance(current, list) else []
    if key == "":
        merged = now + [item for item in patch if item not in now]
        return _in_order(merged, order, key) if order is not None else merged
    if any(isinstance(item, dict) and item.get(PATCH) == "replace" for item in patch):
        return copy.deepcopy([item for item in patch if PATCH not in item])
    below = fields.field_type(type_name, field)
    merged, new = _joined(now, patch, key, below)
    if order is not None:
        return _in_order(merged + new, order, key)
    return new + merged


def _joined(now: list[Any], patch: list[Any], key: str, below: str | None) -> tuple[list[Any], list[Any]]:
    """The elements that were there, changed, and those that are new (the server puts these first)."""
    new: list[Any] = []
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise PatchError(f"map: {item} does not contain declared merge key: {key}", malformed=True)
        at = next((i for i, old in enumerate(now) if old.get(key) == item[key]), None)
        if item.get(PATCH) == "delete":
            now = [old for old in now if old.get(key) != item[key]]
        elif at is None:
            new.append(_strategic_map({}, {k: v for k, v in item.items() if k != PATCH}, below))
        else:
            now[at] = _strategic_map(now[at], item, below)
    return now, new


def _in_order(items: list[Any], order: list[Any], key: str | None) -> list[Any]:
    """Put elements into the order asked for; those it does not name keep their place after their neighbour."""
    names = [item.get(key) if key and isinstance(item, dict) else item for item in order]
    rank = {name: at for at, name in enumerate(names) if not isinstance(name, dict | list)}

    def place(at_item: tuple[int, Any]) -> tuple[float, int]:
        at, item = at_item
        name = item.get(key) if key and isinstance(item, dict) else item
        if name in rank:
            return rank[name], at
        before = [i for i in items[:at] if (i.get(key) if key else i) in rank]
        return (rank[before[-1].get(key) if key else before[-1]] + 0.5 if before else -1.0), at

    return [item for _, item in sorted(enumerate(items), key=place)]
