"""The guard process: undoes open faults when the process it watches over dies or hangs, or when `max_hold` passes.

Started by `harness.chaos.ward.Guard`, as `python -m harness.chaos.guard`, in a session of its own. It reads the run's journals and
the signs of life beside them, never a campaign; it injects nothing. It ends when its ward releases it, or, after the ward's death, when it has tried to
undo everything. SIGINT and SIGHUP do not concern it; SIGTERM makes it undo at once.
"""

import argparse
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import msgspec

from harness.chaos.alive import Alive, sign_of
from harness.chaos.faults import faults_outside
from harness.chaos.journal import Entry, Journal, Progress
from harness.chaos.registry import forget_if_closed
from harness.chaos.replay import Ending, replay
from harness.chaos.ward import GUARD, RELEASE, TARGET_FILE, undo_folder
from harness.chaos.world import Site, thaw
from harness.clock import SystemClock
from harness.cluster import connect, is_dead_here
from harness.errors import Exit, HarnessError, RecordUnusable
from harness.history.events import FaultChanged, FaultStep, Note
from harness.history.live import LiveSender
from harness.history.writer import HistoryWriter

LOOK_S = 0.25
TRY_AGAIN_S = 20.0


class GuardProcess:
    """Watches one ward."""

    def __init__(self, run: Path, clock: SystemClock, ward: str, live: LiveSender | None) -> None:
        self._folder = undo_folder(run)
        self._clock = clock
        self._ward = ward
        self._alive = Alive(self._folder, GUARD)
        self._history = HistoryWriter(run / "history", _writer(run / "history"), live)
        self._told = False
        self._tried: dict[Path, float] = {}
        """When the journals of processes in trouble were tried."""
        target = thaw(msgspec.Raw((self._folder / TARGET_FILE).read_bytes()))
        faults_outside(target.faults)  # a guard that could not undo them must not arm
        cluster = connect(target)
        cluster.be_brisk(self._alive.beat)
        self._site = Site(cluster, target, progress=self._alive.beat)

    def watch(self, ward: int) -> Exit:
        """Watch until the ward releases the guard or is gone; return OK, or BROKEN if something is left."""
        os.set_blocking(ward, False)
        hung = False
        while True:
            self._alive.beat()
            readable, _, _ = select.select([ward], [], [], LOOK_S)
            said = os.read(ward, 4096) if readable else None
            if said == b"":
                return self._last("its ward died")
            if said and RELEASE in said:
                return self._last("")
            if self._told:
                return self._last("it was told to end (SIGTERM)")
            sign = sign_of(self._folder, self._ward) if self._ward else None
            trouble = sign.trouble if sign is not None else ""
            if trouble and not hung:
                self._undo(f"its ward is in trouble: {trouble}", None)
            hung = bool(trouble)
            self._undo_orphans()
            self._undo_expired()

    def told(self, _signal: int, _frame: FrameType | None) -> None:
        """Handle SIGTERM."""
        self._told = True

    def _last(self, why: str) -> Exit:
        endings = self._undo(why or "its ward ended without undoing", None)
        self._history.close()
        self._alive.close()
        return Exit.OK if all(ending.verified for ending in endings) else Exit.BROKEN

    def _undo_orphans(self) -> None:
        """Undo what a chaos process left when it died or hangs, while the guard's ward (the conductor) lives on."""
        orphans: dict[str, Journal] = {}
        for journal in self._journals():
            contents = journal.read()
            if contents.header is None or not contents.open_entries:
                continue
            if time.monotonic() < self._tried.get(journal.path, 0.0) + TRY_AGAIN_S:
                continue
            sign = sign_of(self._folder, contents.header.writer)
            trouble = sign.trouble if sign is not None else ""
            if not trouble and is_dead_here(contents.header.injector):
                trouble = f"{contents.header.writer} died"
            if trouble:
                orphans[trouble] = journal
        if orphans:
            self._undo("; ".join(orphans), None, list(orphans.values()))
            for journal in orphans.values():
                self._tried[journal.path] = time.monotonic()

    def _undo_expired(self) -> None:
        now_ns = time.monotonic_ns()

        def expired(progress: Progress) -> bool:
            return progress.entry.expires_ns <= now_ns and "undone" not in progress.steps

        for journal in self._journals():
            if any(expired(progress) for progress in journal.read().open_entries):
                self._undo("max_hold has passed", expired)
                return

    def _undo(
        self, why: str, only: Callable[[Progress], bool] | None, among: list[Journal] | None = None
    ) -> list[Ending]:
        journals = [journal for journal in among or self._journals() if journal.read().open_entries]
        if not journals:
            return []
        start = time.monotonic()
        self._note("warning", f"guard undoes: {why}")
        endings = replay(
            journals,
            lambda _: self._site,
            "guard",
            self._tell,
            only=only,
            claim=True,
            progress=self._alive.beat,
        )
        for ending in endings:
            self._note("info" if ending.verified else "error", str(ending))
        self._note("info", f"guard: {len(endings)} entries in {time.monotonic() - start:.2f} s")
        for journal in journals:
            forget_if_closed(journal)
        return endings

    def _journals(self) -> list[Journal]:
        return [Journal(path) for path in sorted(self._folder.glob("*.jsonl"))]

    def _tell(self, entry: Entry, step: FaultStep, detail: str) -> None:
        self._history.event(
            FaultChanged(
                at_ns=self._clock.now(),
                entry=entry.id,
                fault=entry.fault,
                experiment=entry.experiment,
                step=step,
                target=entry.what,
                detail=detail,
                by="guard",
            )
        )

    def _note(self, level: str, text: str) -> None:
        print(f"{seconds_text(self._clock)} {level}: {text}", flush=True)  # noqa: T201  (its log file)
        try:
            self._history.event(Note(at_ns=self._clock.now(), level=level, text=text))
        except RecordUnusable:
            pass  # a full disk must not stop an undo; the log has it


def _writer(history: Path) -> str:
    """Return a writer's name that no earlier guard of this run has used: a guard that died is replaced."""
    number = 1
    while (history / f"guard{'' if number == 1 else f'-{number}'}.events.jsonl").exists():
        number += 1
    return "guard" if number == 1 else f"guard-{number}"


def seconds_text(clock: SystemClock) -> str:
    """Return the present instant for a log line."""
    return f"{clock.now() / 1e9:9.3f}"


def main(arguments: list[str]) -> int:
    """Run the guard; return its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    parser = argparse.ArgumentParser(prog="python -m harness.chaos.guard")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--ward-fd", type=int, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--start-ns", type=int, required=True)
    parser.add_argument("--ward", default="", help="the name of its ward's sign of life")
    parser.add_argument("--live", type=Path)
    given = parser.parse_args(arguments)
    live = LiveSender(given.live) if given.live else None
    parent = os.getppid()
    try:
        guard = GuardProcess(given.run, SystemClock(given.start_ns), given.ward, live)
    except HarnessError as error:
        os.write(given.ready_fd, f"{error}\n".encode())
        return error.code
    signal.signal(signal.SIGTERM, guard.told)
    try:
        os.write(given.ready_fd, b"armed\n")
        os.close(given.ready_fd)
    except OSError:
        pass  # the ward is gone already: the pipe says so next
    code = guard.watch(given.ward_fd)
    if given.live and os.getppid() != parent:
        remove_socket_folder(given.live.parent)
    return code


def remove_socket_folder(folder: Path) -> None:
    """Remove what a conductor that was killed has left in the temporary directory: its socket, and orders that may hold credentials."""
    try:
        ours = folder.stat().st_uid == os.getuid() and not folder.is_symlink()
    except OSError:
        return
    if ours and folder.name.startswith("harness-") and folder.parent == Path(tempfile.gettempdir()):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
