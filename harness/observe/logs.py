"""Follow Focus Server's log where the identity may read it: redacted, capped, reconnecting.

Called by `watchers`, one thread. Lines come at the instant they are read. More than `LINES_PER_S` lines in a second are counted,
not kept. What a line means is not decided here.
"""

import threading
from collections.abc import Callable, Iterator

import urllib3.exceptions

from harness.clock import SECOND_NS
from harness.cluster import Cluster
from harness.cluster.errors import ours, refusal
from harness.errors import AccessDenied, TargetError, Unreachable
from harness.history.events import LogLineSeen
from harness.observe.notebook import Notebook
from harness.observe.view import ClusterView

WATCHER = "logs"
LINES_PER_S = 50
READ_S = 15.0
"""A log silent for this long is asked for again, so that a half-open connection is noticed."""
PAUSE_S = 1.0
DENIED_PAUSE_S = 20.0


class LogWatcher:
    """Follows the log of every running Focus Server pod."""

    def __init__(
        self, cluster: Cluster, view: ClusterView, notebook: Notebook, stop: threading.Event
    ) -> None:
        self._cluster = cluster
        self._view = view
        self._notebook = notebook
        self._stop = stop
        self._followed: dict[str, threading.Thread] = {}
        self._budget = LineBudget(notebook.now)

    def run(self) -> None:
        """Keep one follower per running pod until `stop`."""
        while not self._stop.wait(PAUSE_S / 2):
            self._followed = {pod: thread for pod, thread in self._followed.items() if thread.is_alive()}
            for pod in self._view.pods_of("focus_server"):
                if pod not in self._followed:
                    thread = threading.Thread(target=self._follow, args=[pod], name=f"log-{pod}", daemon=True)
                    self._followed[pod] = thread
                    thread.start()

    def _follow(self, pod: str) -> None:
        """Follow one pod's log until it is gone or `stop`."""
        since = ""
        while not self._stop.is_set() and pod in self._view.pods_of("focus_server"):
            try:
                for stamp, text in self._lines(pod, since):
                    since = stamp or since
                    self._write(pod, text)
                    if self._stop.is_set():
                        return
                pause_s = PAUSE_S
            except TargetError as error:
                self._notebook.seeing(WATCHER, seeing=False, detail=str(error))
                pause_s = DENIED_PAUSE_S if isinstance(error, AccessDenied) else PAUSE_S
            self._stop.wait(pause_s)

    def _lines(self, pod: str, since: str) -> Iterator[tuple[str, str]]:
        """Yield (time stamp, line) of one connection, only lines after `since`."""
        for raw in follow_log(self._cluster, pod, since, lambda: self._notebook.seeing(WATCHER, seeing=True)):
            stamp, space, text = raw.partition(" ")
            if not space:
                yield "", raw
            elif stamp > since:
                yield stamp, text

    def _write(self, pod: str, text: str) -> None:
        kept, dropped = self._budget.take()
        at_ns = self._notebook.now()
        if dropped:
            note = LogLineSeen(at_ns=at_ns, pod=pod, text=f"[{dropped} lines left out: too many in a second]")
            self._notebook.append(note)
        if kept:
            self._notebook.append(LogLineSeen(at_ns=at_ns, pod=pod, text=text))


def follow_log(cluster: Cluster, pod: str, since: str, seeing: Callable[[], None]) -> Iterator[str]:
    """Yield a log's new lines, each with its time stamp, until the connection ends or is silent; then ask again."""
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}/log"
    query = {"follow": "true", "timestamps": "true"} | ({"sinceTime": since} if since else {"tailLines": "0"})
    try:
        with ours(f"GET {path}"):
            response = cluster.open("GET", path, query, None, "application/json", READ_S)
            try:
                if response.status != 200:
                    raise refusal(response.status, response.data.decode(errors="replace"), f"GET {path}")
                seeing()
                rest = b""
                for part in response.stream(1 << 14):
                    *lines, rest = (rest + part).split(b"\n")
                    yield from (line.decode(errors="replace") for line in lines if line)
            finally:
                response.close()
    except Unreachable as error:
        if not isinstance(error.__cause__, urllib3.exceptions.ReadTimeoutError):
            raise


class LineBudget:
    """So many lines a second are kept; `take` says whether one more is, and how many were left out before it."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._second = -1
        self._lines = 0
        self._dropped = 0
        self._lock = threading.Lock()

    def take(self) -> tuple[bool, int]:
        """Return (keep this line, how many lines before it were left out and not told of yet)."""
        with self._lock:
            second = self._now() // SECOND_NS
            told = 0
            if second != self._second:
                told, self._dropped = self._dropped, 0
                self._second, self._lines = second, 0
            self._lines += 1
            kept = self._lines <= LINES_PER_S
            self._dropped += not kept
            return kept, told
