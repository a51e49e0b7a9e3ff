"""What people's own users asked, by type and name, and which rows of a feed they took. Called by judge."""

from collections import Counter

import numpy as np

from harness.history.events import FeedOpened
from harness.judge.findings import FeedFinding, OwnFinding, RequestRow
from harness.judge.record import SECOND_NS, RunRecord
from harness.measures.measure import quantile_s


def own(record: RunRecord) -> OwnFinding | None:
    """Return what own users did; None where there were neither requests nor a feed."""
    fed = _feed(record)
    rows, texts = record.requests.rows, record.requests.texts
    if not len(rows):
        return None if fed is None else OwnFinding(count=0, failed=0, requests=(), feed=fed)
    lasted_s = max(int(record.answered_ns.max() - rows["sent_ns"].min()) / SECOND_NS, 1e-3)
    keys = rows["type"].astype(np.uint64) << np.uint64(32) | rows["name"]
    found = []
    for key in np.unique(keys).tolist():
        chosen = rows[keys == key]
        took_ns = chosen["took_ns"]
        errors = Counter(error for n in chosen["error"].tolist() if (error := texts[n]))
        found.append(
            RequestRow(
                type=texts[key >> 32],
                name=texts[key & 0xFFFFFFFF],
                count=len(chosen),
                failed=sum(errors.values()),
                p50_s=quantile_s(took_ns, 0.5) or 0.0,
                p95_s=quantile_s(took_ns, 0.95) or 0.0,
                p99_s=quantile_s(took_ns, 0.99) or 0.0,
                max_s=int(took_ns.max()) / SECOND_NS,
                rate_per_s=len(chosen) / lasted_s,
                errors=dict(errors.most_common()),
            )
        )
    found.sort(key=lambda one: (-one.count, one.type, one.name))
    return OwnFinding(
        count=len(rows), failed=sum(one.failed for one in found), requests=tuple(found), feed=fed
    )


def _feed(record: RunRecord) -> FeedFinding | None:
    opened = record.of(FeedOpened)
    if not opened:
        return None
    taken, texts = record.feed.rows, record.feed.texts
    return FeedFinding(
        file=opened[0].file,
        order=opened[0].order,
        rows=sum(one.rows for one in opened),
        taken=len(taken),
        different=len(np.unique(taken["row"])),
        users=dict(sorted(Counter(texts[n] for n in taken["user"].tolist()).items())),
    )
