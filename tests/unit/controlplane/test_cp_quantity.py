"""Quantities are exact, and their canonical text means the same number."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.sandbox.controlplane import quantity

FEW = settings(max_examples=40, deadline=None)

SUFFIXES = [*quantity.BINARY, *(s for s in quantity.DECIMAL if s != "n"), "e3", "E2"]


@pytest.mark.parametrize(
    ("text", "value", "canonical"),
    [
        ("500m", Fraction(1, 2), "500m"),
        ("0.5", Fraction(1, 2), "500m"),
        ("1000m", Fraction(1), "1"),
        ("1024Mi", Fraction(2**30), "1Gi"),
        ("1.5Gi", Fraction(3 * 2**29), "1536Mi"),
        ("1e3", Fraction(1000), "1k"),
        (1, Fraction(1), "1"),
        ("0", Fraction(0), "0"),
    ],
)
def test_known_quantities_are_read_and_shown_as_the_server_does(
    text: str | int, value: Fraction, canonical: str
) -> None:
    assert quantity.parse(text) == value
    assert quantity.canonical(text) == canonical


@pytest.mark.parametrize("text", ["many", "", "1 Gi", "1gi", "--1", "1KiB", "0x10"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        quantity.parse(text)


@given(st.integers(-(10**9), 10**9), st.sampled_from(SUFFIXES))
@FEW
def test_the_canonical_text_means_the_same_number_and_is_its_own_canonical_text(
    number: int, suffix: str
) -> None:
    text = f"{number}{suffix}"
    canonical = quantity.canonical(text)
    assert quantity.parse(canonical) == quantity.parse(text)
    assert quantity.canonical(canonical) == canonical
