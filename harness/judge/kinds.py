"""Sort a run's records by the kind of their event, once; every table of judging reads only the kinds it needs."""

from collections.abc import Iterable
from typing import TypeVar

from harness.history.events import Event, Record

Kind = TypeVar("Kind", bound=Event)


def by_kind(records: Iterable[Record]) -> dict[type[Event], list[Record]]:
    """Return records by the kind of their event, each list in order of time."""
    found: dict[type[Event], list[Record]] = {}
    for record in records:
        found.setdefault(type(record.event), []).append(record)
    return found
