"""The OpenAPI v2 page in its protobuf form: kubectl before 1.27 reads no other.

Called by `pages` for clients that ask for it. It writes what `openapi` puts into the page and nothing else: paths with
query parameters, and definitions of objects, lists, maps and plain values.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

ASKED = "application/com.github.proto-openapi.spec.v2"  # followed by @v1.0+protobuf or .v1.0+protobuf
MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"  # with @ it would be no media type

# Field numbers of the messages of gnostic's OpenAPI v2 document.
DOCUMENT = {"swagger": 1, "info": 2, "paths": 8, "definitions": 9}
INFO = {"title": 1, "version": 2}
METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}
OPERATION = {"id": 5, "parameters": 8, "responses": 9, "extensions": 13}
QUERY = {"in": 2, "name": 4, "type": 6}
SCHEMA = {
    "$ref": 1,
    "format": 2,
    "description": 4,
    "additionalProperties": 21,
    "type": 22,
    "items": 23,
    "properties": 25,
    "extensions": 31,
}


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _member(number: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _named(name: str, value: bytes) -> bytes:
    return _member(1, name) + _member(2, value)


def _extensions(number: int, found: Mapping[str, Any]) -> bytes:
    """Every x- entry, its value as YAML (JSON is YAML)."""
    return b"".join(
        _member(number, _named(key, _member(2, json.dumps(value))))
        for key, value in found.items()
        if key.startswith("x-")
    )


def _schema(found: Mapping[str, Any]) -> bytes:
    raw = b"".join(
        _member(SCHEMA[key], found[key]) for key in ("$ref", "format", "description") if key in found
    )
    if "additionalProperties" in found:
        below = _member(1, _schema(found["additionalProperties"]))
        raw += _member(SCHEMA["additionalProperties"], below)
    if "type" in found:
        raw += _member(SCHEMA["type"], _member(1, found["type"]))
    if "items" in found:
        raw += _member(SCHEMA["items"], _member(1, _schema(found["items"])))
    if "properties" in found:
        raw += _member(SCHEMA["properties"], _schemas(found["properties"]))
    return raw + _extensions(SCHEMA["extensions"], found)


def _schemas(found: Mapping[str, Any]) -> bytes:
    return b"".join(_member(1, _named(name, _schema(schema))) for name, schema in found.items())


def _parameters(found: Iterable[Mapping[str, Any]]) -> bytes:
    raw = b""
    for parameter in found:
        query = b"".join(_member(QUERY[key], parameter[key]) for key in QUERY)
        raw += _member(OPERATION["parameters"], _member(1, _member(2, _member(3, query))))
    return raw


def _operation(found: Mapping[str, Any]) -> bytes:
    responses = b"".join(
        _member(1, _named(code, _member(1, _member(1, response["description"]))))
        for code, response in found["responses"].items()
    )
    raw = _member(OPERATION["id"], found["operationId"]) + _parameters(found["parameters"])
    return raw + _member(OPERATION["responses"], responses) + _extensions(OPERATION["extensions"], found)


def _path(found: Mapping[str, Any]) -> bytes:
    return b"".join(_member(METHODS[method], _operation(operation)) for method, operation in found.items())


def encode(page: Mapping[str, Any]) -> bytes:
    """An OpenAPI v2 page as protobuf."""
    info = b"".join(_member(number, page["info"][key]) for key, number in INFO.items())
    paths = b"".join(_member(2, _named(path, _path(found))) for path, found in page["paths"].items())
    return (
        _member(DOCUMENT["swagger"], page["swagger"])
        + _member(DOCUMENT["info"], info)
        + _member(DOCUMENT["paths"], paths)
        + _member(DOCUMENT["definitions"], _schemas(page["definitions"]))
    )
