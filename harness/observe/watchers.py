"""Start every watcher the target gives reason for, and stop them in bounded time.

Called by the conductor, in its own process: plain threads, no gevent, a few percent of a core. A watcher that fails says in the
record that it no longer sees; none of them ends the run, and none decides anything.
"""

import threading
import time
from collections.abc import Callable

from harness.clock import Clock
from harness.cluster import Cluster
from harness.history.writer import HistoryWriter
from harness.observe.following import follow
from harness.observe.logs import WATCHER as LOGS
from harness.observe.logs import LogWatcher
from harness.observe.notebook import Health, Notebook
from harness.observe.probes import Probe, probes, pulse
from harness.observe.reading import Reader
from harness.observe.rights import CLEANUP_RIGHTS, SERVER_RIGHTS, rights_probes
from harness.observe.view import ClusterView
from harness.target import Target

STOP_S = 1.0
"""How long `stop` waits for all threads together. A watch notices only when its connection ends; what it says later is dropped."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 30.0
"""Pauses before a watcher that failed is begun anew."""
NO_CLUSTER = "the target has no cluster (`kube: none`)"
CLUSTER_WATCHERS = (
    "nodes",
    "pods",
    "jobs",
    "services",
    "events",
    "kubernetes_api",
    LOGS,
    SERVER_RIGHTS,
    CLEANUP_RIGHTS,
)

Task = tuple[str, Callable[[], None]]


class Watchers:
    """The running watchers."""

    def __init__(self, notebook: Notebook, stop: threading.Event, tasks: list[Task]) -> None:
        self._notebook = notebook
        self._stop = stop
        self._threads = [
            threading.Thread(target=self._guarded, args=task, name=f"watch-{task[0]}", daemon=True)
            for task in tasks
        ]
        for thread in self._threads:
            thread.start()

    def health(self) -> dict[str, Health]:
        """Return whether each watcher can see, and if not, why not."""
        return self._notebook.health()

    def stop(self) -> None:
        """Stop all watchers within `STOP_S` seconds and close their record; harmless when called again."""
        self._stop.set()
        until = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._notebook.close()

    def _guarded(self, name: str, run: Callable[[], None]) -> None:
        """Run a watcher; one that fails says that it cannot see and is begun anew, each time after a longer pause."""
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                run()
            except Exception as error:
                why = f"the watcher failed: {type(error).__name__}: {error}"
                self._notebook.seeing(name, seeing=False, detail=why)
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, LAST_PAUSE_S)
            else:
                return


def start(target: Target, cluster: Cluster | None, writer: HistoryWriter, clock: Clock) -> Watchers:
    """Start watching; takes over `writer`, which `Watchers.stop` closes. Without a cluster its watchers say so."""
    notebook = Notebook(writer, clock)
    stop = threading.Event()
    tasks: list[Task] = []
    asked = probes(target, cluster, notebook)
    if cluster is not None and target.kubernetes != "none":
        reader = Reader(target.kubernetes, target.gpu_resource)
        view = ClusterView(reader, notebook)
        tasks += follow(cluster, reader, view, notebook, stop)
        tasks.append((LOGS, LogWatcher(cluster, view, notebook, stop).run))
        asked += rights_probes(cluster, target.kubernetes)
    else:
        for name in CLUSTER_WATCHERS:
            notebook.seeing(name, seeing=False, detail=NO_CLUSTER)

    def asking(probe: Probe) -> Callable[[], None]:
        return lambda: probe.run(notebook, stop)

    tasks += [(probe.name, asking(probe)) for probe in asked]
    tasks.append(("pulse", lambda: pulse(notebook, stop)))
    return Watchers(notebook, stop, tasks)
