"""Label and field selectors: parsed once, then matched against objects.

Used by lists, watches, budgets and controllers. It refuses (ValueError, with the server's sentence) what cannot be
understood; which field labels a resource supports is the resource table's business.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term: key, operator (in, notin, exists, absent, gt, lt) and values."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Labels) -> bool:
        """Whether labels fulfil the term."""
        value = labels.get(self.key)
        if self.operator == "in":
            return value is not None and value in self.values
        if self.operator == "notin":
            return value is None or value not in self.values
        if self.operator == "exists":
            return value is not None
        if self.operator == "absent":
            return value is None
        return self._compares(value)

    def _compares(self, value: str | None) -> bool:
        try:
            number, limit = int(value or ""), int(next(iter(self.values)))
        except ValueError:
            return False
        return number > limit if self.operator == "gt" else number < limit


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All terms must hold; none means everything."""

    terms: tuple[Requirement, ...] = ()

    def holds(self, labels: Labels | None) -> bool:
        """Whether labels are selected."""
        return all(term.holds(labels or {}) for term in self.terms)


EVERYTHING = LabelSelector()
NOTHING = LabelSelector((Requirement("", "exists"), Requirement("", "absent")))
KEY = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
TERM = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<gone>{KEY})"
    rf"|(?P<key>{KEY})(?:\s*(?P<op>==|=|!=|>|<)\s*(?P<value>{VALUE})"
    rf"|\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*"
)


@lru_cache(maxsize=1024)
def parse_labels(text: str) -> LabelSelector:
    """Read a label selector as given in a query; raise ValueError with the server's words."""
    if not text.strip():
        return EVERYTHING
    terms, at = [], 0
    while True:
        found = TERM.match(text, at)
        if found is None or (found.end() < len(text) and text[found.end()] != ","):
            raise ValueError(_unreadable(text, at if found is None else found.end()))
        terms.append(_requirement(found))
        at = found.end() + 1
        if at > len(text):
            return LabelSelector(tuple(terms))


def _unreadable(text: str, at: int) -> str:
    rest = text[at:].strip() or ""
    return f"unable to parse requirement: found '{rest}', expected: ',' or 'end of string'"


def _requirement(found: re.Match[str]) -> Requirement:
    if found["absent"]:
        return Requirement(found["gone"], "absent")
    key, operator = found["key"], found["op"]
    if found["set"]:
        values = frozenset(value.strip() for value in found["values"].split(","))
        bad = [value for value in values if not re.fullmatch(VALUE, value)]
        if bad:
            raise ValueError(f"unable to parse requirement: values[0][{key}]: Invalid value: {bad[0]!r}")
        return Requirement(key, found["set"], values)
    if operator is None:
        return Requirement(key, "exists")
    words = {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}
    return Requirement(key, words[operator], frozenset([found["value"]]))


OPERATORS = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "absent",
    "Gt": "gt",
    "Lt": "lt",
}


def from_object(selector: Mapping[str, Any] | None) -> LabelSelector:
    """A LabelSelector object (matchLabels, matchExpressions): none selects nothing, an empty one everything."""
    if selector is None:
        return NOTHING
    terms = [Requirement(k, "in", frozenset([v])) for k, v in (selector.get("matchLabels") or {}).items()]
    terms += [
        Requirement(term["key"], OPERATORS[term["operator"]], frozenset(term.get("values") or []))
        for term in selector.get("matchExpressions") or []
    ]
    return LabelSelector(tuple(terms))


def from_map(labels: Labels | None) -> LabelSelector:
    """A plain map of labels, as Services have it: an empty one selects nothing."""
    if not labels:
        return NOTHING
    return LabelSelector(tuple(Requirement(k, "in", frozenset([v])) for k, v in labels.items()))


def show(selector: Mapping[str, Any] | None) -> str:
    """A LabelSelector object as text, as a Scale's status.selector has it."""
    if not selector:
        return ""
    words = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for term in selector.get("matchExpressions") or []:
        values = ",".join(sorted(term.get("values") or []))
        forms = {"Exists": term["key"], "DoesNotExist": "!" + term["key"]}
        shown = f"{term['key']} {term['operator'].lower()} ({values})"
        words.append(forms.get(term["operator"], shown))
    return ",".join(words)


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """One term of a field selector."""

    label: str
    value: str
    equal: bool


@lru_cache(maxsize=1024)
def parse_fields(text: str) -> tuple[FieldTerm, ...]:
    """Read a field selector as given in a query; raise ValueError with the server's words."""
    terms = []
    for part in re.split(r"(?<!\\),", text):
        if not part:
            continue
        found = re.match(r"^(.*?)(!=|==|=)(.*)$", part, re.DOTALL)
        if found is None:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{part}'")
        value = re.sub(r"\\([\\,=])", r"\1", found[3])
        terms.append(FieldTerm(found[1].strip(), value, found[2] != "!="))
    return tuple(terms)
