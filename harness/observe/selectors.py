"""Decide whether labels match a Kubernetes label selector, here rather than at the server: one watch serves many roles.

Called by `reading`. Takes the selector syntax of kubectl (`a=b`, `a!=b`, `a`, `!a`, `a in (b,c)`, `a notin (b,c)`, comma separated).
Raises `InputError` for anything else; fields are none of its business.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import InputError

_SET = re.compile(r"^(?P<key>[^\s!=,()]+)\s+(?P<op>in|notin)\s+\((?P<values>[^()]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[^\s!=,()]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s!=,()]*)$")
_EXISTS = re.compile(r"^(?P<no>!?)\s*(?P<key>[^\s!=,()]+)$")
_COMMA = re.compile(r",(?![^(]*\))")


@dataclass(frozen=True, slots=True)
class _Term:
    key: str
    values: frozenset[str] | None
    """The wanted values; None: any."""
    negated: bool

    def holds(self, labels: Mapping[str, str]) -> bool:
        found = self.key in labels and (self.values is None or labels[self.key] in self.values)
        return found != self.negated


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed label selector."""

    terms: tuple[_Term, ...]

    @classmethod
    def parse(cls, text: str) -> "Selector":
        """Parse a selector; an empty one matches everything."""
        return cls(tuple(_term(part.strip(), text) for part in _COMMA.split(text) if part.strip()))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether every term holds for `labels`."""
        return all(term.holds(labels) for term in self.terms)


def _term(part: str, whole: str) -> _Term:
    if match := _SET.match(part):
        values = frozenset(value.strip() for value in match["values"].split(","))
        return _Term(match["key"], values, match["op"] == "notin")
    if match := _EQUAL.match(part):
        return _Term(match["key"], frozenset({match["value"]}), match["op"] == "!=")
    if match := _EXISTS.match(part):
        return _Term(match["key"], None, match["no"] == "!")
    raise InputError(f"label selector {whole!r}: {part!r} is not understood; write key=value, key or !key")
