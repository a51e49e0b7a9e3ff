"""Label and field selectors select what a real API server would select."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.sandbox.controlplane import selectors

FEW = settings(max_examples=40, deadline=None)

WORD = st.from_regex(r"[a-z]{1,4}", fullmatch=True)
LABELS = st.dictionaries(WORD, WORD, max_size=4)


@pytest.mark.parametrize(
    ("text", "labels", "selected"),
    [
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "c"}, False),
        ("a!=b", {}, True),
        ("a in (b, c),d", {"a": "c", "d": ""}, True),
        ("a notin (b,c)", {}, True),
        ("a notin (b,c)", {"a": "b"}, False),
        ("!a", {"a": ""}, False),
        ("x.y/z", {"x.y/z": "1"}, True),
        ("n>5", {"n": "6"}, True),
        ("n<5", {"n": "six"}, False),
        ("", {}, True),
    ],
)
def test_label_selectors_of_every_kind_match_as_the_server_does(
    text: str, labels: dict[str, str], selected: bool
) -> None:
    assert selectors.parse_labels(text).holds(labels) is selected


@pytest.mark.parametrize("text", ["a=", "a in ()", "a,,b", "a in (b", "=b", "a b", "a=b c"])
def test_a_malformed_label_selector_is_refused_or_means_an_empty_value(text: str) -> None:
    if text in ("a=", "a in ()"):
        assert selectors.parse_labels(text).holds({"a": ""})
        return
    with pytest.raises(ValueError, match="unable to parse requirement"):
        selectors.parse_labels(text)


@given(LABELS, WORD, WORD)
@FEW
def test_a_term_and_its_negation_never_agree(labels: dict[str, str], key: str, value: str) -> None:
    for one, other in (
        (f"{key}={value}", f"{key}!={value}"),
        (key, f"!{key}"),
        (f"{key} in ({value})", f"{key} notin ({value})"),
    ):
        assert selectors.parse_labels(one).holds(labels) is not selectors.parse_labels(other).holds(labels)


@given(LABELS, LABELS)
@FEW
def test_a_selector_object_and_its_text_select_the_same(
    wanted: dict[str, str], labels: dict[str, str]
) -> None:
    found = {"matchLabels": wanted}
    assert selectors.from_object(found).holds(labels) is selectors.parse_labels(selectors.show(found)).holds(
        labels
    )


def test_no_selector_selects_nothing_and_an_empty_one_everything() -> None:
    assert not selectors.from_object(None).holds({})
    assert selectors.from_object({}).holds({})
    assert not selectors.from_map({}).holds({"a": "b"})


def test_a_field_selector_without_an_operator_is_refused_in_the_servers_words() -> None:
    with pytest.raises(
        ValueError, match=r"invalid selector: 'metadata\.name'; can't understand 'metadata\.name'"
    ):
        selectors.parse_fields("metadata.name")
