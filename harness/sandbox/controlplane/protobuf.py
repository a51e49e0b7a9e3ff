"""Reading protobuf bodies: kubectl sends its typed requests (create, drain, auth can-i) in this form.

Called by the HTTP front for bodies of `application/vnd.kubernetes.protobuf`. Field numbers are data
(`protobuf.json`), types come from the field table. It refuses (Unreadable) kinds and fields without a number there,
rather than to lose something; answers are never written in this form, JSON is what clients accept beside it.
"""

import base64
import json
import time
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import fields
from harness.sandbox.controlplane.resources import RESOURCES

MAGIC = b"k8s\x00"
OTHER_KINDS = {
    "DeleteOptions": "DeleteOptions",
    "Eviction": "Eviction",
    "TokenRequest": "AuthenticationTokenRequest",
}
STATUSES = {  # numbers of fields that are sent along without meaning
    "Deployment": 3,
    "Job": 3,
    "Service": 3,
    "PodDisruptionBudget": 3,
    "ResourceQuota": 3,
    "SelfSubjectReview": 2,
    "SelfSubjectAccessReview": 3,
    "SelfSubjectRulesReview": 3,
    "SubjectAccessReview": 3,
    "LocalSubjectAccessReview": 3,
    "AuthenticationTokenRequest": 3,
}


class Unreadable(Exception):
    """A body that is no protobuf of Kubernetes, or of a kind or field that is not known here."""


@cache
def _numbers() -> dict[str, dict[str, str]]:
    text = resources.files(__package__).joinpath("protobuf.json").read_text()
    loaded: dict[str, dict[str, str]] = json.loads(text)
    return loaded


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(raw) or shift > 63:
            raise Unreadable("truncated message")
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _members(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of one message: integers, or bytes for everything with a length."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(raw, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(raw, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise Unreadable(f"wire type {wire}")
        if at + size > len(raw):
            raise Unreadable("truncated message")
        yield number, raw[at : at + size]
        at += size


def _text(value: int | bytes) -> str:
    if isinstance(value, int):
        raise Unreadable("a number where a text belongs")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(str(error)) from error


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise Unreadable("a number where a message belongs")
    return value


def _time(raw: bytes) -> str | None:
    found = {number: value for number, value in _members(raw) if isinstance(value, int)}
    seconds = found.get(1, 0)
    if not seconds or seconds >= 1 << 63:  # nothing, or the zero time of Go
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _int_or_string(raw: bytes) -> int | str:
    found = dict(_members(raw))
    if found.get(1, 0) == 0:
        number = found.get(2, 0)
        return number if isinstance(number, int) else 0
    return _text(found.get(3, b""))


def _value(word: str, value: int | bytes) -> Any:
    if word in ("int", "bool"):
        if not isinstance(value, int):
            raise Unreadable("a text where a number belongs")
        signed = value - (1 << 64) if value >= 1 << 63 else value
        return bool(value) if word == "bool" else signed
    if word == "string":
        return _text(value)
    raw = _bytes(value)
    if word == "bytes":
        return base64.b64encode(raw).decode()
    if word == "time":
        return _time(raw)
    if word == "quantity":
        return _text(next((v for n, v in _members(raw) if n == 1), b"0"))
    if word == "intorstring":
        return _int_or_string(raw)
    if word == "any":
        return json.loads(_text(next((v for n, v in _members(raw) if n == 1), b"null")))
    return _message(word, raw)


def _message(type_name: str, raw: bytes) -> Obj:
    known, words = _numbers().get(type_name), fields.table().get(type_name, {})
    if known is None:
        raise Unreadable(f"{type_name} is not read from protobuf here")
    result: Obj = {}
    for number, value in _members(raw):
        name = known.get(str(number))
        if name is None:
            if number == STATUSES.get(type_name):
                continue
            raise Unreadable(f"field {number} of {type_name} is not read from protobuf here")
        _add(result, name, fields.shape(words[name]), value)
    return result


def _add(result: Obj, name: str, found: fields.Shape, value: int | bytes) -> None:
    if found.of == "list":
        result.setdefault(name, []).append(_value(found.word, value))
    elif found.of == "map":
        entry = dict(_members(_bytes(value)))
        empty: int | bytes = b""
        result.setdefault(name, {})[_text(entry.get(1, b""))] = _value(found.word, entry.get(2, empty))
    else:
        read = _value(found.word, value)
        if read not in (None, ""):  # Go sends every plain text, the empty ones too
            result[name] = read


def _type_of(kind: str, api_version: str) -> str:
    if kind in OTHER_KINDS:
        return OTHER_KINDS[kind]
    found = [r.type_name for r in RESOURCES if r.kind == kind and r.api_version == api_version]
    if not found:
        raise Unreadable(f"{api_version} {kind} is not read from protobuf here")
    return found[0]


def read(raw: bytes) -> Obj:
    """The object in a protobuf body, as its JSON would be; raise Unreadable where it cannot be read."""
    if not raw.startswith(MAGIC):
        raise Unreadable("no protobuf of Kubernetes")
    envelope = dict(_members(raw[len(MAGIC) :]))
    head = {number: _text(value) for number, value in _members(_bytes(envelope.get(1, b"")))}
    api_version, kind = head.get(1, ""), head.get(2, "")
    obj = _message(_type_of(kind, api_version), _bytes(envelope.get(2, b"")))
    return {"kind": kind, "apiVersion": api_version, **obj}
