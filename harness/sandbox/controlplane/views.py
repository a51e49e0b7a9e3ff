"""Looking at stored objects: field labels and selectors, and the second API version of events.

Called by lists, watches and the verbs. It refuses (ApiStatus 400) a field label the resource does not have.
"""

from typing import Any

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controlplane import statuses
from harness.sandbox.controlplane.resources import Resource
from harness.sandbox.controlplane.selectors import (
    EVERYTHING,
    FieldTerm,
    LabelSelector,
    parse_fields,
    parse_labels,
)
from harness.sandbox.controlplane.store import Change

NUMBERS = {"status.replicas", "status.successful"}


def at_path(obj: Any, path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    for part in path.split("."):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(part)
    return obj


def field_value(resource: Resource, obj: Obj, label: str) -> str:
    """The value of a field label as text."""
    if label.startswith("metadata."):
        return obj["metadata"].get(label[9:], "") or ""
    if label == "source":
        component = at_path(obj, "source.component") or obj.get("reportingComponent")
        return str(component or "")
    value = at_path(obj, _stored_path(resource, label))
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        if label in NUMBERS:
            return "0"
        return "false" if label in ("spec.unschedulable", "spec.hostNetwork") else ""
    return str(value)


def _stored_path(resource: Resource, label: str) -> str:
    return resource.selectable[label]


def matches(resource: Resource, obj: Obj, labels: LabelSelector, terms: tuple[FieldTerm, ...]) -> bool:
    """Whether an object is selected by labels and fields."""
    if not labels.holds(obj["metadata"].get("labels")):
        return False
    return all((field_value(resource, obj, t.label) == t.value) is t.equal for t in terms)


def read_selectors(
    resource: Resource, labels: str, terms: str
) -> tuple[LabelSelector, tuple[FieldTerm, ...]]:
    """Both selectors of a query; raise ApiStatus 400 where one cannot be understood."""
    try:
        selected, found = parse_labels(labels), parse_fields(terms)
    except ValueError as error:
        raise statuses.bad_request(str(error)) from error
    known = {"metadata.name", "metadata.namespace", *resource.selectable}
    if not resource.namespaced:
        known.discard("metadata.namespace")
    for term in found:
        if term.label not in known:
            raise _unsupported(resource, term.label)
    return selected, found


def _unsupported(resource: Resource, label: str) -> ApiStatus:
    if resource.label_style == "plain":
        return statuses.bad_request(f"field label not supported: {label}")
    if resource.label_style == "kind":
        return statuses.bad_request(f'field label "{label}" not supported for {resource.kind}')
    text = f'"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"'
    return statuses.bad_request(text)


NEW_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
OLD_NAMES = {new: old for old, new in NEW_NAMES.items()}


def from_stored(resource: Resource, obj: Obj) -> Obj:
    """A stored object as the resource shows it."""
    shown = {NEW_NAMES.get(key, key): value for key, value in obj.items()}
    return {**shown, "kind": resource.kind, "apiVersion": resource.api_version}


def to_stored(resource: Resource, obj: Obj) -> Obj:
    """An object as the resource shows it, the way it is stored."""
    return {OLD_NAMES.get(key, key): value for key, value in obj.items()}


def event_type(
    resource: Resource, change: Change, labels: LabelSelector, terms: tuple[FieldTerm, ...]
) -> str | None:
    """What a change is for a watcher with these selectors: an object may enter or leave the selection."""
    if labels is EVERYTHING and not terms:
        return change.kind
    before = change.before is not None and matches(resource, change.before.obj, labels, terms)
    after = change.kind != "DELETED" and matches(resource, change.record.obj, labels, terms)
    if before and after:
        return "MODIFIED"
    if after:
        return "ADDED"
    return "DELETED" if before else None
