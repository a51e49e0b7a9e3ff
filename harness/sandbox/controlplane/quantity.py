"""Kubernetes quantities: "500m", "1.5Gi", "2k" to exact numbers and back to their canonical text.

Used by validation, quotas, tables and the scheduler. It refuses (ValueError) what the API server cannot read.
"""

import re
from fractions import Fraction
from functools import lru_cache

BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
DECIMAL = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
}
FORM = re.compile(r"^([+-]?)(\d+\.?\d*|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?|[eE][+-]?\d+)$")
ERROR = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def _parts(text: str) -> tuple[Fraction, str]:
    found = FORM.match(text)
    if found is None:
        raise ValueError(ERROR)
    sign, digits, suffix = found.groups()
    number = Fraction(digits) * (-1 if sign == "-" else 1)
    if suffix in BINARY:
        return number * BINARY[suffix], "binary"
    if suffix in DECIMAL:
        return number * DECIMAL[suffix], "decimal"
    return number * Fraction(10) ** int(suffix[1:]), "exponent"


@lru_cache(maxsize=4096)
def parse(text: str | int | float) -> Fraction:
    """The exact value of a quantity; raise ValueError where it is none."""
    return _parts(str(text))[0]


@lru_cache(maxsize=4096)
def canonical(text: str | int | float) -> str:
    """The text the API server would store; raise ValueError where it is none."""
    value, form = _parts(str(text))
    return show(value, binary=form == "binary")


def show(value: Fraction, *, binary: bool = False) -> str:
    """A value in the largest suffix that keeps it whole; binary suffixes where asked and possible."""
    if value == 0:
        return "0"
    if binary and value.denominator == 1 and abs(value) >= 1024:
        for suffix, size in reversed(BINARY.items()):
            if value % size == 0:
                return f"{value.numerator // size}{suffix}"
        return str(value.numerator)
    for suffix in ("E", "P", "T", "G", "M", "k", "", "m", "u", "n"):
        scaled = value / DECIMAL[suffix]
        if scaled.denominator == 1:
            return f"{scaled.numerator}{suffix}"
    rounded = -((-value * 10**9).__floor__())
    return f"{rounded}n"
