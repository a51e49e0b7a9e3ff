"""A target that faults are tried on, one after the other, with the lock, the journals and the guard of a run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from harness.chaos.declared import declared_state
from harness.chaos.faults import Fault
from harness.chaos.faults.alteration import serves
from harness.chaos.faults.kill_streams import stream_pods
from harness.chaos.journal import Journal, new_header
from harness.chaos.play import Play
from harness.chaos.registry import register
from harness.chaos.ward import Guard
from harness.chaos.windows import Refused
from harness.chaos.world import Site, freeze
from harness.clock import SystemClock
from harness.cluster import Cluster, Lease, Object, connect
from harness.contract.attempt import Attempt
from harness.contract.trial import Trial
from harness.contract.watched import Watched
from harness.errors import Stopped, Unreachable
from harness.history.events import FaultChanged
from harness.history.reader import read_history
from harness.history.writer import HistoryWriter
from harness.target import Target

WINDOW_S = 15.0
LOOK_S = 0.2
RENEW_S = 1.0


@dataclass
class Bench:
    """A target that faults are tried on, one after the other."""

    target: Target
    cluster: Cluster
    run: Path
    windows: int = 2
    """How many windows are opened first, so that there are streams to hit."""
    trouble: Callable[[], str] = lambda: ""
    """What is wrong with the guard."""
    clock: SystemClock = field(default_factory=SystemClock.start)

    def try_out(self, fault: Fault[Any, Any], given: dict[str, Any] | None = None) -> Trial:
        """Try a fault with its default arguments, or those `given`; what goes wrong is in the trial."""
        trial = Trial(fault)
        try:
            arguments = msgspec.convert(given or {}, fault.arguments)
            self._try(trial, arguments)
        except Exception as error:  # whatever a fault raises is a finding about it
            trial.error = trial.error or f"{type(error).__name__}: {error}"
        return trial

    def _try(self, trial: Trial, arguments: Any) -> None:
        site = Site(self.cluster, self.target)
        with self._play(trial) as (play, watched):
            trial.no_windows = self._open_windows(site, watched.before_asking)
            attempt = Attempt(trial, play, watched, site, declared_state(site))
            case = attempt.look(arguments)
            if case is None:
                return
            attempt.undo_idly(case)
            attempt.come_late(case)
            attempt.live(arguments)
            attempt.look_back()
        trial.steps = _steps(self.run, play)

    @contextmanager
    def _play(self, trial: Trial) -> Iterator[tuple[Play, Watched]]:
        """Prepare a play as a lone experiment's is, and take the target's lock for as long as it goes."""
        number = len(list((self.run / "undo").glob("contract-*.jsonl"))) + 1
        header = new_header(self.run.name, f"contract-{number}", freeze(self.target), self.clock.start_ns)
        watched = Watched(self.cluster, self.cluster.namespace)
        with Lease.acquire(self.cluster, self.run.name) as lease:
            journal = Journal.create(self.run / "undo" / f"{header.writer}.jsonl", header)
            register(journal)
            play = Play(
                site=Site(watched, self.target, watched.hand, watched.open_window),
                header=header,
                journal=journal,
                history=HistoryWriter(self.run / "history", header.writer),
                clock=self.clock,
                experiment="contract",
                lease=lease,
                trouble=self.trouble,
            )
            watched.before_asking = lambda: _keep(play, lease)
            try:
                yield play, watched
            finally:
                watched.before_write = lambda: None
                trial.ended = play.finish()

    def _open_windows(self, site: Site, keep: Callable[[], None]) -> str:
        """See that some windows run; return why there are fewer, if a server refuses: the fault is tried all the same."""
        if not self.target.url:
            return "the target names no url"
        missing = self.windows - len(_running(site))
        until = time.monotonic() + WINDOW_S
        why = ""
        while missing > 0 and time.monotonic() < until:
            keep()
            try:
                site.open_window(self.target)
                missing -= 1
            except Refused as refusal:
                why = str(refusal)  # a server that was just started is asked again
                time.sleep(LOOK_S)
        while len(_running(site)) < self.windows - missing and time.monotonic() < until:
            keep()
            time.sleep(LOOK_S)
        return why if missing > 0 else ""


@contextmanager
def bench(target: Target, run: Path, windows: int = 2) -> Iterator[Bench]:
    """Connect, arm a guard, and let faults be tried; raises with nothing tried."""
    cluster = connect(target)
    try:
        cluster.be_brisk()
        place = Bench(target, cluster, run, windows)
        guard = Guard.start(run, target, place.clock)
        place.trouble = lambda: guard.trouble
        try:
            yield place
        finally:
            guard.release()
    finally:
        cluster.close()


def _keep(play: Play, lease: Lease) -> None:
    """Renew the lock as the trial makes progress; a person who halts it ends it."""
    if lease.unrenewed_s < RENEW_S:
        return
    try:
        lease.renew()
    except Unreachable:
        lease.wait_for_api()  # away by a fault, as it should be
    except Stopped as error:
        play.stop_now(str(error))


def _running(site: Site) -> list[Object]:
    return [pod for pod in stream_pods(site) if serves(pod)]


def _steps(run: Path, play: Play) -> dict[str, float]:
    """Return what the record says of the fault that was played."""
    return {
        record.event.step.value: record.event.at_ns / 1e9
        for record in read_history(run / "history").events
        if isinstance(record.event, FaultChanged) and record.writer == play.header.writer
    }
