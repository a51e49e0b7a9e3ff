"""Make a play for a lone experiment: its own run folder, clock, journal, lock and guard.

Called by the first action under plain `chaos run`, where nobody has prepared anything. Which target is meant stands in
`HARNESS_TARGET` (default: the running sandbox); a kubeconfig alone is not consent. Off the sandbox the reverter has to answer, or
`HARNESS_GUARD_ONLY` to be set. Ends with the process.
"""

import atexit
import os
import platform
import signal
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from harness import __version__
from harness.chaos.alive import Alive
from harness.chaos.deployment import require_reverter
from harness.chaos.faults import Fault
from harness.chaos.journal import Journal, new_header
from harness.chaos.play import Play
from harness.chaos.preflight import preflight_faults
from harness.chaos.registry import register
from harness.chaos.signals import hear
from harness.chaos.ward import Guard, undo_folder
from harness.chaos.world import Site, freeze
from harness.clock import SystemClock
from harness.cluster import Lease, connect, operator
from harness.errors import Exit, HarnessError
from harness.history.events import RunEnded, RunStarted
from harness.history.run import RunInfo, write_run
from harness.history.writer import HistoryWriter
from harness.target import find_target, load_target

WRITER = "chaos-1"
GUARD_ONLY = "HARNESS_GUARD_ONLY"
"""Set to anything: play off the sandbox without a reverter; the record says so."""


def play_alone() -> Play:
    """Prepare everything and return the play; raises with nothing injected."""
    target = load_target(find_target(None))
    cluster = connect(target)
    cluster.be_brisk()
    site = Site(cluster, target)
    clock = SystemClock.start()
    now = datetime.now(UTC)
    run_id = f"chaos-{now:%Y%m%d-%H%M%S}-{os.getpid()}"
    lease = Lease.acquire(cluster, run_id)
    keep = partial(lease.renew, may_have_run_out=True)  # until the first fault nothing hangs on it
    try:
        run = Path("reports") / run_id
        history = HistoryWriter(run / "history", WRITER)
        header = new_header(run_id, WRITER, freeze(target), clock.start_ns)
        journal = Journal.create(undo_folder(run) / f"{WRITER}.jsonl", header)
        register(journal)
        alive = Alive(undo_folder(run), WRITER)
        cluster.be_brisk(alive.show)
        guard = Guard.start(run, target, clock, ward=WRITER, progress=keep)
        alive.beat()
    except BaseException:
        lease.release()
        raise

    guard_only = bool(os.environ.get(GUARD_ONLY)) and not target.is_sandbox

    def before_first(fault: Fault[Any, Any]) -> None:
        preflight_faults(target, cluster, [fault.kind])
        if not guard_only:
            require_reverter(target, cluster, keep)
        keep()
        alive.beat()

    play = Play(
        site=site,
        header=header,
        journal=journal,
        history=history,
        clock=clock,
        experiment="alone",
        lease=lease,
        alive=alive,
        trouble=lambda: guard.trouble,
        before_first=before_first,
    )
    hear((signal.SIGTERM, signal.SIGINT), play.stop_now)
    info = RunInfo(
        run_id=run_id,
        harness_version=__version__,
        campaign="",
        plan_hash="",
        seed=0,
        target=target.name,
        target_url=target.url,
        target_identity=site.kubernetes.identity,
        max_windows=target.window_limit,
        max_windows_text=str(target.max_windows),
        operator=operator(),
        guard_only=guard_only,
        host=platform.node(),
        python=platform.python_version(),
        wall_start=now.isoformat(timespec="milliseconds"),
    )
    write_run(run, info)
    history.event(RunStarted(at_ns=clock.now(), run_id=run_id, campaign="", target=target.name))
    print(f"focus-harness: record in {run}, guard {guard.pid}", file=sys.stderr)  # noqa: T201  (chaos run's terminal)

    def end() -> None:
        if play.open_entries:
            for ending in play.undo():
                print(f"focus-harness: {ending}", file=sys.stderr)  # noqa: T201
        history.event(RunEnded(at_ns=clock.now(), reason="stopped" if play.stop.is_set() else "planned"))
        play.finish()
        if guard.release() != Exit.OK:
            print("focus-harness: something may still be broken: harness undo", file=sys.stderr)  # noqa: T201
        try:
            lease.release()
        except HarnessError as error:
            print(f"focus-harness: the lock was not given back: {error}", file=sys.stderr)  # noqa: T201
        cluster.close()

    atexit.register(end)
    return play
