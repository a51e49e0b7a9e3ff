"""Nobody hands on what they do not have; and what an older kubectl reads of the OpenAPI page is the page."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from plane_parts import Parts

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controlplane import openapi, openapi_protobuf, protobuf
from harness.sandbox.controlplane.asking import Target
from harness.sandbox.controlplane.callers import Callers
from harness.sandbox.controlplane.identity import ADMIN, User
from harness.sandbox.controlplane.resources import BY_KEY
from harness.sandbox.controlplane.rights import Rights

RBAC = "rbac.authorization.k8s.io"
BOB = User("bob", ("system:authenticated",))


@pytest.fixture
def callers(tmp_path: Path) -> Callers:
    """A cluster in which bob may read pods, and make roles and bindings, in `default`."""
    parts = Parts(tmp_path)
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        {"apiGroups": [RBAC], "resources": ["roles", "rolebindings"], "verbs": ["create", "update", "patch"]},
    ]
    parts.make(f"roles.{RBAC}", {"metadata": {"name": "r"}, "rules": rules})
    ref, subject = {"kind": "Role", "name": "r"}, {"kind": "User", "name": "bob"}
    parts.make(f"rolebindings.{RBAC}", {"metadata": {"name": "b"}, "roleRef": ref, "subjects": [subject]})
    return Callers(parts.store, parts.subresources.tokens, Rights(parts.store))


def _role(*verbs: str) -> Obj:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": list(verbs)}]
    return {"metadata": {"name": "new"}, "rules": rules}


def test_a_role_can_give_what_its_maker_has_and_no_more(callers: Callers) -> None:
    target = Target(BY_KEY[f"roles.{RBAC}"], "default")
    callers.check_escalation(BOB, target, _role("get"))
    callers.check_escalation(ADMIN, target, _role("delete"))
    with pytest.raises(ApiStatus, match="attempting to grant RBAC permissions not currently held"):
        callers.check_escalation(BOB, target, _role("get", "delete"))
    with pytest.raises(ApiStatus, match="attempting to grant"):
        callers.check_patch(BOB, target, {"rules": _role("delete")["rules"]})


def test_a_binding_to_a_greater_role_is_refused(callers: Callers) -> None:
    target = Target(BY_KEY[f"rolebindings.{RBAC}"], "default")
    subjects = [{"kind": "User", "name": "eve"}]
    callers.check_escalation(BOB, target, {"roleRef": {"kind": "Role", "name": "r"}, "subjects": subjects})
    for role in ("cluster-admin", "edit"):
        body = {
            "metadata": {"name": "x"},
            "roleRef": {"kind": "ClusterRole", "name": role},
            "subjects": subjects,
        }
        with pytest.raises(ApiStatus) as refused:
            callers.check_escalation(BOB, target, body)
        assert refused.value.code == 403


def _named(raw: bytes, number: int) -> Iterator[tuple[str, bytes]]:
    for found, entry in protobuf._members(raw):
        if found == number:
            pair = dict(protobuf._members(protobuf._bytes(entry)))
            yield protobuf._text(pair[1]), protobuf._bytes(pair[2])


def test_the_protobuf_form_of_the_openapi_page_has_its_paths_definitions_and_fields() -> None:
    page = msgspec.json.decode(openapi.page("/openapi/v2") or b"")
    document = dict(protobuf._members(openapi_protobuf.encode(page)))
    paths = dict(_named(protobuf._bytes(document[8]), 2))
    definitions = dict(_named(protobuf._bytes(document[9]), 1))
    assert set(paths) == set(page["paths"])
    assert set(definitions) == set(page["definitions"])
    name = next(n for n in definitions if n.endswith(".PodSpec"))
    schema = dict(protobuf._members(definitions[name]))
    fields = dict(_named(protobuf._bytes(schema[25]), 1))
    assert set(fields) == set(page["definitions"][name]["properties"])
