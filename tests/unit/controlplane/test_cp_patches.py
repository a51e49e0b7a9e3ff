"""The four kinds of patch follow their laws and the API's list keys."""

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.sandbox.controlplane import apply, patches
from harness.sandbox.controlplane.resources import BY_KEY

FEW = settings(max_examples=40, deadline=None)

KEYS = st.sampled_from(["a", "b", "c"])
LEAF = st.one_of(st.integers(0, 3), st.text("xy", max_size=2), st.booleans())
OBJECTS = st.recursive(
    st.dictionaries(KEYS, LEAF, max_size=3),
    lambda below: st.dictionaries(KEYS, st.one_of(LEAF, below, st.lists(LEAF, max_size=2)), max_size=3),
    max_leaves=8,
)
PATCHES = st.recursive(
    st.dictionaries(KEYS, st.one_of(LEAF, st.none()), max_size=3),
    lambda below: st.dictionaries(KEYS, st.one_of(LEAF, st.none(), below), max_size=3),
    max_leaves=8,
)


@given(OBJECTS, PATCHES)
@FEW
def test_a_merge_patch_applied_twice_is_a_merge_patch_applied_once(
    obj: dict[str, Any], patch: dict[str, Any]
) -> None:
    once = patches.merge_patch(obj, patch)
    assert patches.merge_patch(once, patch) == once


@given(OBJECTS, PATCHES)
@FEW
def test_no_patch_changes_the_object_it_is_given(obj: dict[str, Any], patch: dict[str, Any]) -> None:
    kept = copy.deepcopy((obj, patch))
    patches.merge_patch(obj, patch)
    patches.strategic_patch(obj, patch, "Pod")
    assert (obj, patch) == kept


@given(OBJECTS, PATCHES)
@FEW
def test_without_lists_and_directives_strategic_merge_is_merge(
    obj: dict[str, Any], patch: dict[str, Any]
) -> None:
    assert patches.strategic_patch(obj, patch, None) == patches.merge_patch(obj, patch)


@given(OBJECTS, OBJECTS)
@FEW
def test_json_patch_agrees_with_the_reference_library(one: dict[str, Any], other: dict[str, Any]) -> None:
    operations = jsonpatch.make_patch(one, other).patch
    assert patches.json_patch(one, operations) == other


@pytest.mark.parametrize(
    ("operation", "malformed"),
    [
        ({"op": "test", "path": "/a", "value": 2}, False),
        ({"op": "remove", "path": "/nosuch"}, False),
        ({"op": "replace", "path": "/nosuch", "value": 1}, False),
        ({"op": "odd", "path": "/a"}, False),
        ({"path": "/a"}, True),
    ],
)
def test_a_json_patch_that_fails_says_whether_it_could_be_read(
    operation: dict[str, Any], malformed: bool
) -> None:
    with pytest.raises(patches.PatchError) as failed:
        patches.json_patch({"a": 1}, [operation])
    assert failed.value.malformed is malformed


def _containers(*patch: dict[str, Any], **more: Any) -> list[tuple[str, str, list[str]]]:
    spec = {
        "containers": [
            {"name": "main", "image": "old", "env": [{"name": "A", "value": "1"}]},
            {"name": "side", "image": "s"},
        ]
    }
    result = patches.strategic_patch({"spec": spec}, {"spec": {"containers": list(patch), **more}}, "Pod")
    return [
        (c["name"], c["image"], [e["name"] for e in c.get("env", [])]) for c in result["spec"]["containers"]
    ]


def test_strategic_merge_joins_containers_by_name_and_variables_by_name() -> None:
    new = {"name": "main", "image": "new", "env": [{"name": "B", "value": "2"}]}
    assert _containers(new) == [("main", "new", ["B", "A"]), ("side", "s", [])]


def test_strategic_merge_deletes_replaces_and_orders_when_told_to() -> None:
    assert _containers({"name": "side", "$patch": "delete"}) == [("main", "old", ["A"])]
    assert _containers({"name": "x", "image": "x"}, {"$patch": "replace"}) == [("x", "x", [])]
    order = {"$setElementOrder/containers": [{"name": "side"}, {"name": "main"}]}
    assert [name for name, _, _ in _containers({"name": "side", "image": "s2"}, **order)] == ["side", "main"]


def test_strategic_merge_replaces_lists_that_have_no_key() -> None:
    taints = {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    assert patches.strategic_patch(taints, {"spec": {"taints": [{"key": "b"}]}}, "Node")["spec"][
        "taints"
    ] == [{"key": "b"}]


def test_strategic_merge_joins_and_prunes_plain_lists() -> None:
    meta = {"metadata": {"finalizers": ["a", "b"]}}
    added = patches.strategic_patch(meta, {"metadata": {"finalizers": ["c"]}}, "Pod")
    assert added["metadata"]["finalizers"] == ["a", "b", "c"]
    pruned = patches.strategic_patch(
        meta, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}, "Pod"
    )
    assert pruned["metadata"]["finalizers"] == ["b"]


def test_retain_keys_drops_what_the_new_strategy_does_not_have() -> None:
    now = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert patches.strategic_patch(now, patch, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


CM = BY_KEY["configmaps"]


def _applied(
    current: dict[str, Any], data: dict[str, str], manager: str, *, force: bool = False
) -> dict[str, Any]:
    wanted = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": data}
    if not current:
        return apply.first(wanted, CM, manager, "now")
    return apply.merged(current, wanted, CM, manager, "now", force=force, sub="")


def test_apply_takes_back_what_the_same_manager_no_longer_names_and_leaves_the_rest() -> None:
    obj = _applied({}, {"a": "1", "b": "2"}, "one")
    obj["data"]["theirs"] = "x"
    assert _applied(obj, {"a": "1"}, "one")["data"] == {"a": "1", "theirs": "x"}


def test_apply_refuses_another_managers_field_unless_forced_and_then_takes_it_over() -> None:
    obj = _applied({}, {"a": "1"}, "one")
    with pytest.raises(apply.Conflicts) as refused:
        _applied(copy.deepcopy(obj), {"a": "2"}, "two")
    status = refused.value.status()
    assert (status.code, status.body["details"]["causes"][0]["field"]) == (409, ".data.a")
    forced = _applied(copy.deepcopy(obj), {"a": "2"}, "two", force=True)
    assert forced["data"] == {"a": "2"}
    assert _applied(forced, {}, "one")["data"] == {"a": "2"}


@given(
    st.sets(
        st.tuples(st.sampled_from(["f:a", "f:b"]), st.sampled_from(["f:c", 'k:{"name":"x"}'])), max_size=4
    )
)
def test_owned_fields_survive_their_written_form(paths: set[tuple[str, ...]]) -> None:
    assert apply.from_fields(apply.to_fields(paths)) == paths
