"""What happens at each number of open windows where the server has no limit. Called by judge for targets without MaxWindows.

A create belongs to the number of windows that were certainly open when it was sent.
"""

from collections import Counter

import numpy as np

from harness.history.events import FirstFrame, WindowClosed, WindowReady
from harness.history.samples import ACCEPTED
from harness.judge.findings import SweepLevel
from harness.judge.record import RunRecord
from harness.judge.world import World
from harness.measures.catalogue import BROKEN, UNSERVED


def sweep(record: RunRecord, world: World) -> tuple[SweepLevel, ...]:
    """Return one row per number of open windows that occurred when a create was sent."""
    creates = record.creates
    levels = world.windows.certain.at(creates["sent_ns"].astype(np.int64))
    ready = {event.window for event in record.of(WindowReady)}
    framed = {event.window for event in record.of(FirstFrame)}
    ended = {event.window: event.outcome for event in record.of(WindowClosed)}
    rows = []
    for level in np.unique(levels).tolist():
        here = creates[levels == level]
        windows = here["window"].tolist()
        outcomes = [record.attempts.texts[number] for number in here["outcome"].tolist()]
        failed = Counter(outcome for outcome in outcomes if outcome != ACCEPTED)
        failed.update(str(ended[window]) for window in windows if ended.get(window) in (*UNSERVED, *BROKEN))
        rows.append(
            SweepLevel(
                open=level,
                creates=len(here),
                accepted=sum(outcome == ACCEPTED for outcome in outcomes),
                ready=sum(window in ready for window in windows),
                first_frame=sum(window in framed for window in windows),
                failed=dict(sorted(failed.items())),
            )
        )
    return tuple(rows)
