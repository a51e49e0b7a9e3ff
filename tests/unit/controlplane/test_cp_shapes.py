"""Field table, Tables, protobuf bodies and request reading: small pure parts."""

from pathlib import Path

import pytest
from plane_parts import Parts, pod

from harness.sandbox.api import ApiStatus
from harness.sandbox.controlplane import asking, cells, fields, protobuf, tables, views
from harness.sandbox.controlplane.resources import BY_KEY, RESOURCES


def test_every_resource_and_every_merge_key_is_in_the_field_table() -> None:
    known = fields.table()
    assert [r.key for r in RESOURCES if r.type_name not in known] == []
    assert [pair for pair in fields.MERGE_KEYS if pair[1] not in known[pair[0]]] == []


def test_every_protobuf_field_is_in_the_field_table() -> None:
    known = fields.table()
    wrong = [
        (name, f)
        for name, numbers in protobuf._numbers().items()
        for f in numbers.values()
        if f not in known[name]
    ]
    assert wrong == []


def test_a_protobuf_body_is_read_as_its_json_would_be() -> None:
    def member(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    meta = member(1, member(1, b"c") + member(11, member(1, b"k") + member(2, b"v")))
    body = meta + member(2, member(1, b"a") + member(2, b"b")) + bytes([4 << 3, 1])
    raw = b"k8s\x00" + member(1, member(1, b"v1") + member(2, b"ConfigMap")) + member(2, body)
    wanted = {"metadata": {"name": "c", "labels": {"k": "v"}}, "data": {"a": "b"}, "immutable": True}
    assert protobuf.read(raw) == {"kind": "ConfigMap", "apiVersion": "v1", **wanted}
    for cut in (raw[:-1], raw[: len(raw) // 2], b"nothing"):
        with pytest.raises(protobuf.Unreadable):
            protobuf.read(cut)


def test_every_row_has_a_cell_for_every_column(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    parts.make("pods", pod())
    for resource in RESOURCES:
        if resource.stored:
            records = parts.verbs.select(resource, None)
            table = tables.table(resource, records, "v1", {})
            widths = {len(row["cells"]) for row in table["rows"]}
            assert widths <= {len(table["columnDefinitions"])}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5, "5s"),
        (119, "119s"),
        (150, "2m30s"),
        (600, "10m"),
        (7300, "121m"),
        (4 * 3600 + 60, "4h1m"),
        (9 * 3600, "9h"),
        (3 * 86400, "3d"),
        (800 * 86400, "2y70d"),
    ],
)
def test_ages_are_shown_as_kubectl_shows_them(seconds: int, text: str) -> None:
    assert cells.duration(seconds) == text


@pytest.mark.parametrize(
    ("status", "going", "word"),
    [
        ({"phase": "Running"}, False, "Running"),
        (
            {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]},
            False,
            "ErrImagePull",
        ),
        (
            {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]},
            False,
            "ExitCode:3",
        ),
        ({"phase": "Running"}, True, "Terminating"),
        ({"phase": "Failed", "reason": "Evicted"}, False, "Evicted"),
    ],
)
def test_a_pods_status_is_the_word_that_says_most(status: dict[str, object], going: bool, word: str) -> None:
    meta = {"name": "p", **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if going else {})}
    assert cells.pod_status({"metadata": meta, "spec": {}, "status": status}) == word


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/api/v1/namespaces/a/pods/p/log", ("pods", "a", "p", "log")),
        ("/api/v1/namespaces/a", ("namespaces", "a", "a", "")),
        ("/api/v1/namespaces/a/status", ("namespaces", "a", "a", "status")),
        ("/apis/batch/v1/jobs", ("jobs.batch", "", "", "")),
        ("/apis/batch/v1beta1/jobs", None),
        ("/apis/batch/v1", None),
        ("/api/v1/namespaces/a/nodes", None),
        ("/version", None),
    ],
)
def test_paths_lead_to_their_resource_or_to_none(path: str, found: tuple[str, str, str, str] | None) -> None:
    target = asking.read_path(path)
    assert (target and (target.resource.key, target.namespace, target.name, target.sub)) == found


def test_what_an_accept_header_asks_for_is_given_in_its_order() -> None:
    table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    assert asking.negotiate(table).shape == "Table"
    assert asking.negotiate("application/json;as=Odd;v=v1;g=meta.k8s.io,application/json").shape == ""
    assert (
        asking.negotiate("application/vnd.kubernetes.protobuf,application/yaml").media == "application/yaml"
    )
    with pytest.raises(ApiStatus) as refused:
        asking.negotiate("application/xml")
    assert refused.value.code == 406


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("pods", "spec.nosuch=x", "field label not supported: spec.nosuch"),
        ("jobs.batch", "spec.suspend=true", 'field label "spec.suspend" not supported for Job'),
        (
            "configmaps",
            "data.k=x",
            '"data.k" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
    ],
)
def test_a_field_label_a_resource_does_not_have_is_refused_in_its_words(
    key: str, text: str, message: str
) -> None:
    with pytest.raises(ApiStatus) as refused:
        views.read_selectors(BY_KEY[key], "", text)
    assert refused.value.message == message
