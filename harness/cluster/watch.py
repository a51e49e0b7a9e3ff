"""List, then watch, and say when blind: how everybody follows objects of a cluster.

Called by watchers (in threads of their own). Every connection ends by itself before 60 s, so that a half-open one is noticed; the
list is repeated after a 410 and every few minutes as truth; what vanished between two lists is reported as DELETED. It
never raises for a cluster that does not answer: it reports a gap and tries again until `stop` is set.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Literal

from harness.cluster.errors import Gone, ours, refusal
from harness.cluster.kinds import KINDS, Object, uid_of, version_of
from harness.errors import TargetError

if TYPE_CHECKING:
    from harness.cluster.client import Cluster

WATCH_S = 10
"""The server is asked to end a watch after this long; the client gives up a little later."""
SILENCE_S = 5.0
"""A connection silent for this much longer than WATCH_S is half-open: blind for at most 15 s without knowing it."""
RELIST_S = 240.0
PAUSE_S = (0.2, 0.5, 1.0, 2.0)

What = Literal["LISTED", "ADDED", "MODIFIED", "DELETED", "SYNCED"]


@dataclass(frozen=True, slots=True)
class Change:
    """One sight of one object. `SYNCED` (without object) follows the last `LISTED` of a list."""

    what: What
    obj: Object


def watch(
    cluster: "Cluster",
    kind: str,
    stop: Event,
    on_change: Callable[[Change], None],
    on_gap: Callable[[bool, str], None],
    *,
    namespace: str | None = None,
    selector: str = "",
    fields: str = "",
) -> None:
    """Report every change until `stop` is set.

    `on_gap(seeing, why)` is called with True after each successful list that follows a blind spot (or the start) and with
    False when the cluster stops answering. An object that changed while blind is reported as LISTED, a vanished one as DELETED.
    """
    known: dict[str, Object] = {}
    seeing: bool | None = None
    failures = 0
    while not stop.is_set():
        try:
            items, version = cluster.objects_at(kind, namespace, selector, fields)
            _listed(items, known, on_change)
            if seeing is not True:
                seeing = True
                on_gap(True, "")
            failures = 0
            _follow(cluster, kind, version, known, stop, on_change, namespace, selector, fields)
        except Gone:
            continue
        except TargetError as error:
            if seeing is not False:
                seeing = False
                on_gap(False, str(error))
            stop.wait(PAUSE_S[min(failures, len(PAUSE_S) - 1)])
            failures += 1


def _listed(items: list[Object], known: dict[str, Object], on_change: Callable[[Change], None]) -> None:
    present = {uid_of(item): item for item in items}
    for uid in [uid for uid in known if uid not in present]:
        on_change(Change("DELETED", known.pop(uid)))
    for uid, item in present.items():
        before = known.get(uid)
        if before is None or version_of(before) != version_of(item):
            known[uid] = item
            on_change(Change("LISTED", item))
    on_change(Change("SYNCED", {}))


def _follow(
    cluster: "Cluster",
    kind: str,
    version: str,
    known: dict[str, Object],
    stop: Event,
    on_change: Callable[[Change], None],
    namespace: str | None,
    selector: str,
    fields: str,
) -> None:
    where = None if namespace == "*" else namespace or cluster.namespace
    path = KINDS[kind].path(where)
    relist_at = time.monotonic() + RELIST_S
    while not stop.is_set() and time.monotonic() < relist_at:
        query = {
            "watch": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_S),
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "fieldSelector": fields,
        }
        for event in _events(cluster, path, query, stop):
            obj = event["object"]
            if event["type"] == "ERROR":
                raise refusal(int(obj.get("code", 500)), json.dumps(obj), f"watch {path}")
            version = version_of(obj) or version
            if event["type"] == "BOOKMARK":
                continue
            if event["type"] == "DELETED":
                known.pop(uid_of(obj), None)
            else:
                known[uid_of(obj)] = obj
            on_change(Change(event["type"], obj))


def _events(cluster: "Cluster", path: str, query: dict[str, str], stop: Event) -> Iterator[Object]:
    """Yield the events of one connection; ends quietly when the server ends it or nothing came for a while."""
    with ours(f"watch {path}"):
        response = cluster.open("GET", path, query, None, "application/json", WATCH_S + SILENCE_S)
        try:
            if response.status != 200:
                raise refusal(response.status, response.data.decode(errors="replace"), f"watch {path}")
            rest = b""
            for part in response.stream(1 << 16):
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    if stop.is_set():
                        return
                    if line.strip():
                        yield json.loads(line)
        finally:
            response.close()
