"""Whatever a client sends, the server answers: accepted, or refused with a Status, never a mistake of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plane_parts import Parts

from harness.sandbox.api import ApiStatus
from harness.sandbox.controlplane import fields, tables
from harness.sandbox.controlplane.resources import RESOURCES, Resource
from harness.sandbox.controlplane.store import Record
from harness.sandbox.controlplane.verbs import Ask

TEXT = st.sampled_from(
    ["", "a", "x.y/z", "Not Valid!", "Always", "None", "ClusterIP", "NodePort", "In", "Exists", "10.96.0.9"]
)
NUMBER = st.sampled_from([-1, 0, 1, 80, 70000])
WORDS: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "bytes": st.just("YQ=="),
    "int": NUMBER,
    "number": NUMBER,
    "bool": st.booleans(),
    "time": st.just("2026-01-01T00:00:00Z"),
    "quantity": st.sampled_from(["1", "500m", "-1", 2, "1Gi"]),
    "intorstring": st.one_of(NUMBER, TEXT, st.just("50%")),
    "any": st.one_of(TEXT, st.just({})),
}
DEEP = {
    "spec",
    "template",
    "containers",
    "ports",
    "metadata",
    "rules",
    "subjects",
    "roleRef",
    "selector",
    "status",
}


@st.composite
def body(draw: st.DrawFn, type_name: str, depth: int = 0) -> dict[str, Any]:
    """A well-typed object: some of its fields, the deep ones mostly."""
    found: dict[str, Any] = {}
    for field, word in fields.table()[type_name].items():
        if field in ("kind", "apiVersion") or draw(st.integers(0, 3 if field in DEEP else 12)) > (
            2 if field in DEEP else 1
        ):
            continue
        shape = fields.shape(word)
        if shape.is_type and depth > 5:
            continue
        one = body(shape.word, depth + 1) if shape.is_type else WORDS[shape.word]
        if shape.of == "list":
            found[field] = draw(st.lists(one, max_size=2))
        elif shape.of == "map":
            found[field] = draw(st.dictionaries(TEXT, one, max_size=2))
        else:
            found[field] = draw(st.one_of(one, st.none()) if depth else one)
    return found


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    folder: Path = tmp_path_factory.mktemp("plane")
    return Parts(folder)


KINDS = [resource for resource in RESOURCES if resource.stored]


@st.composite
def asked(draw: st.DrawFn) -> tuple[Resource, dict[str, Any], dict[str, Any]]:
    """A kind, a body to create and a patch to change it by."""
    resource = draw(st.sampled_from(KINDS))
    obj, patch = draw(body(resource.type_name)), draw(body(resource.type_name))
    meta = obj.get("metadata") or {}
    kept = {key: meta[key] for key in ("labels", "annotations") if key in meta}
    patch.pop("metadata", None)
    return resource, {**obj, "metadata": {"generateName": "x-", **kept}}, patch


def answer(call: Callable[[], Record]) -> Record | int:
    """What was written, or the code of the refusal; any other exception is the server's own mistake."""
    try:
        return call()
    except ApiStatus as refused:
        return refused.code


@given(asked())
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_well_typed_body_of_any_kind_is_accepted_or_refused_with_a_status(
    parts: Parts, story: tuple[Resource, dict[str, Any], dict[str, Any]]
) -> None:
    resource, obj, patch = story
    namespace = "default" if resource.namespaced else ""
    made = answer(lambda: parts.verbs.create(resource, namespace, obj, Ask()))
    if isinstance(made, int):
        assert made in (400, 403, 404, 409, 422)
        return
    tables.table(resource, [made], "v1", {})
    name = made.obj["metadata"]["name"]
    for how in ("merge", "strategic"):
        changed = answer(lambda how=how: parts.verbs.patch(resource, namespace, name, how, patch, Ask())[0])  # type: ignore[misc]
        assert not isinstance(changed, int) or changed in (400, 403, 409, 422)
