"""Refusals in the API server's own words: Status objects and the causes of an invalid object.

Raised by every part of the control plane as `ApiStatus`; nothing here decides whether something is wrong.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.sandbox.api import ApiStatus, Obj


@dataclass(frozen=True)
class Cause:
    """One field that is wrong: path, machine reason, sentence."""

    field: str
    reason: str
    message: str


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if value is None:
        return "null"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def required(field: str, detail: str = "") -> Cause:
    """A value that is missing."""
    return Cause(field, "FieldValueRequired", "Required value" + (f": {detail}" if detail else ""))


def invalid_value(field: str, value: Any, detail: str) -> Cause:
    """A value that breaks a rule."""
    return Cause(field, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {detail}")


def unsupported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    """A value that is none of those known."""
    known = ", ".join(json.dumps(word) for word in sorted(supported))
    return Cause(
        field, "FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {known}"
    )


def forbidden_field(field: str, detail: str) -> Cause:
    """A value that may not be set here."""
    return Cause(field, "FieldValueForbidden", f"Forbidden: {detail}")


def duplicate(field: str, value: Any) -> Cause:
    """A value that is there twice."""
    return Cause(field, "FieldValueDuplicate", f"Duplicate value: {_shown(value)}")


def missing_reference(field: str, value: Any) -> Cause:
    """A name that refers to nothing."""
    return Cause(field, "FieldValueNotFound", f"Not found: {_shown(value)}")


def too_long(field: str, limit: int) -> Cause:
    """A value over its size in bytes."""
    return Cause(field, "FieldValueTooLong", f"Too long: may not be more than {limit} bytes")


def qualified(word: str, group: str) -> str:
    """A kind or resource with its group: Job.batch, jobs.batch, pods."""
    return f"{word}.{group}" if group else word


def refusal(code: int, reason: str, message: str, details: Obj | None = None) -> ApiStatus:
    """A refusal with its Status object."""
    body: Obj = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
    }
    if reason:
        body["reason"] = reason
    if details is not None:
        body["details"] = details
    body["code"] = code
    return ApiStatus(code, reason, message, body)


def _about(kind: str, group: str, name: str, **more: Any) -> Obj:
    details: Obj = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    return {**details, **more}


def not_found(plural: str, group: str, name: str) -> ApiStatus:
    """404 for one object."""
    message = f'{qualified(plural, group)} "{name}" not found'
    return refusal(404, "NotFound", message, _about(plural, group, name))


def no_such_resource() -> ApiStatus:
    """404 for a resource that is not served."""
    return refusal(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(plural: str, group: str, name: str) -> ApiStatus:
    """409 for a name that is taken."""
    message = f'{qualified(plural, group)} "{name}" already exists'
    return refusal(409, "AlreadyExists", message, _about(plural, group, name))


STALE = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(plural: str, group: str, name: str, why: str = STALE) -> ApiStatus:
    """409 for a write that rests on an old state."""
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return refusal(409, "Conflict", message, _about(plural, group, name))


def bad_request(message: str) -> ApiStatus:
    """400 for what cannot be read."""
    return refusal(400, "BadRequest", message)


def internal(message: str) -> ApiStatus:
    """500, with the cause in words."""
    causes = [{"message": message}]
    return refusal(500, "InternalError", f"Internal error occurred: {message}", {"causes": causes})


def method_not_allowed() -> ApiStatus:
    """405 for a verb a resource does not have."""
    return refusal(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
    )


def expired(message: str) -> ApiStatus:
    """410 for a version whose events are gone."""
    return refusal(410, "Expired", message)


def too_many(message: str, causes: list[Obj], retry_after_s: int = 0) -> ApiStatus:
    """429, asked to come again later; clients that are told when do so by themselves and say nothing of it."""
    details: Obj = {"causes": causes}
    if retry_after_s:
        details["retryAfterSeconds"] = retry_after_s
    return refusal(429, "TooManyRequests", message, details)


def forbidden(plural: str, group: str, name: str, why: str, causes: list[Obj] | None = None) -> ApiStatus:
    """403 by admission or missing rights."""
    named = f'{qualified(plural, group)} "{name}"' if name else qualified(plural, group)
    details = _about(plural, group, name)
    if causes:
        details["causes"] = causes
    return refusal(403, "Forbidden", f"{named} is forbidden: {why}", details)


def invalid(kind: str, group: str, name: str, causes: Iterable[Cause]) -> ApiStatus:
    """422 with every cause; equal sentences are said once, equal causes are all listed."""
    listed = list(causes)
    words = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in listed))
    text = words[0] if len(words) == 1 else "[" + ", ".join(words) + "]"
    found = [{"reason": c.reason, "message": c.message, "field": c.field} for c in listed]
    message = f'{qualified(kind, group)} "{name}" is invalid: {text}'
    return refusal(422, "Invalid", message, _about(kind, group, name, causes=found))
