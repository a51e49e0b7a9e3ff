"""Put failures with the same cause under the same circumstances together, for people; and cite the records that show it.

Called by judge. Only here are causes put beside the faults that acted at the time, after every cause has been decided without them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from harness.history.events import Outcome, Record
from harness.judge.blame import CAUSES, Blames
from harness.judge.blame.cited import in_words
from harness.judge.findings import BlameGroup, Citation, Interval, Limit
from harness.judge.record import RunRecord, Spans, within
from harness.judge.sightings import identity
from harness.judge.steps import Ints, ints
from harness.judge.world import World

LIMITS = (Limit.AT_LIMIT, Limit.PERHAPS, Limit.BELOW, Limit.NO_LIMIT)
WATCHERS = tuple(sorted({watcher for cause in CAUSES for watcher in cause.needs}))


class Standing:
    """How many windows were open while each failure was decided, and where that was against MaxWindows."""

    def __init__(self, blames: Blames, world: World, max_windows: int | None) -> None:
        creates, failures = blames.creates, blames.failures
        at_ns = failures.at_ns[len(creates) :]
        self.certain: Ints = np.concatenate([creates.certain, world.windows.certain.at(at_ns)])
        self.possible: Ints = np.concatenate([creates.possible, world.windows.possible.at(at_ns)])
        if max_windows is None:
            self.limit: Ints = np.full(len(failures), LIMITS.index(Limit.NO_LIMIT), dtype=np.int64)
        else:
            self.limit = np.where(
                self.certain >= max_windows, 0, np.where(self.possible >= max_windows, 1, 2)
            ).astype(np.int64)


def groups_of(
    record: RunRecord, world: World, blames: Blames, acted: Mapping[str, Spans]
) -> tuple[BlameGroup, ...]:
    """Return every failure in exactly one group; `acted` says when each experiment's faults acted."""
    failures = blames.failures
    if not len(failures):
        return ()
    standing = Standing(blames, world, record.run.max_windows)
    texts = sorted(set(blames.behind))
    behind = ints(texts.index(text) for text in blames.behind)
    during = [within(failures.at_ns, spans) for spans in acted.values()]
    keys = np.column_stack(
        [failures.is_window, blames.primary, behind, standing.limit, blames.held, *during]
    ).astype(np.int64)
    rows, group_of = np.unique(keys, axis=0, return_inverse=True)
    members = _members(group_of.ravel(), len(rows))
    groups = [_group(record, world, blames, standing, tuple(acted), during, chosen) for chosen in members]
    return tuple(sorted(groups, key=lambda group: (-group.count, group.first_ns)))


def _members(group_of: Ints, count: int) -> list[Ints]:
    """Return the failures of each group, each list in order of time."""
    order = np.argsort(group_of, kind="stable")
    return np.split(order, np.searchsorted(group_of[order], np.arange(1, count)))


def _group(
    record: RunRecord,
    world: World,
    blames: Blames,
    standing: Standing,
    experiments: tuple[str, ...],
    during: list[NDArray[np.bool_]],
    chosen: Ints,
) -> BlameGroup:
    failures, first = blames.failures, int(chosen[0])
    primary = int(blames.primary[first])
    outcomes = Counter(failures.texts[number] for number in failures.outcome[chosen].tolist())
    also = (name for name, holds in zip(blames.causes, blames.held[first], strict=True) if holds)
    return BlameGroup(
        cause=blames.causes[primary],
        also=tuple(name for name in also if name != blames.causes[primary]),
        behind=blames.behind[first],
        of_windows=bool(failures.is_window[first]),
        outcomes=dict(sorted(outcomes.items())),
        count=len(chosen),
        refused_503=outcomes[Outcome.UNAVAILABLE_503],
        first_ns=int(failures.at_ns[chosen].min()),
        last_ns=int(failures.at_ns[chosen].max()),
        limit=LIMITS[int(standing.limit[first])],
        open=Interval(
            certain=int(standing.certain[chosen].min()), possible=int(standing.possible[chosen].max())
        ),
        blind=_blind(world, int(failures.sent_ns[first]), int(failures.at_ns[first])),
        during=tuple(name for name, inside in zip(experiments, during, strict=True) if inside[first]),
        body=_body(record, blames, first),
        evidence=blames.evidence(first),
    )


def _blind(world: World, from_ns: int, to_ns: int) -> tuple[str, ...]:
    span = ints([from_ns]), ints([to_ns])
    return tuple(
        watcher for watcher in WATCHERS if world.could_be_seen(watcher) and world.blind_at(watcher, *span)[0]
    )


def _body(record: RunRecord, blames: Blames, index: int) -> str:
    creates = blames.creates
    if index >= len(creates):
        return blames.lives[index - len(creates)].closed.detail
    return record.attempts.texts[int(creates.rows["body"][index])] if record.attempts.texts else ""


def cited(records: Iterable[Record], identities: Iterable[str]) -> tuple[Citation, ...]:
    """Return in words every record that is shown as evidence."""
    wanted = frozenset(identities)
    return tuple(
        Citation(identity=identity(record), at_ns=record.event.at_ns, text=in_words(record.event))
        for record in records
        if wanted and identity(record) in wanted
    )


def by_cause(blames: Blames, spans: Spans) -> dict[str, int]:
    """Count the failures within `spans` by their primary cause."""
    numbers, counts = np.unique(blames.primary[within(blames.failures.at_ns, spans)], return_counts=True)
    return {
        blames.causes[number]: count for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
    }
