"""`harness undo`: find every fault that is still open, here or on a target, and walk each one's way back.

Called by the command line. It reads journals (of a run, or every registered one) and, for a target, the entries written in its
cluster and marks without an entry. It claims what it undoes, so a run that is still alive injects nothing more.
"""

import sys
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

from harness.chaos.copies import copies, ensure_namespace, remove_copy
from harness.chaos.journal import Entry, Journal, Opened, boot_id
from harness.chaos.registry import forget, forget_if_closed, register, registered, registry_folder
from harness.chaos.replay import Ending, replay
from harness.chaos.sweep import sweep
from harness.chaos.ward import undo_folder
from harness.chaos.world import Site, thaw
from harness.clock import Instant, SystemClock
from harness.cluster import Cluster, connect, live_run
from harness.errors import Exit, HarnessError, InputError, RecordUnusable
from harness.history.events import FaultChanged, FaultStep
from harness.history.writer import HistoryWriter
from harness.target import Target, find_target, load_target

Say = Callable[[str], None]
BROKEN = "STILL BROKEN"


def undo_command(run: Path | None = None, target: str | None = None, *, sweep: bool = False) -> Exit:
    """Undo what is open in `run`, on `target`, or in every journal known here; print each ending.

    With `sweep` no journal and no entry is read: what carries a fault's mark on the target (the default one if none is named)
    and does not belong to a run that is alive is taken back by what the mark says. Returns OK when nothing is left, BROKEN
    with the way to mend it otherwise.
    """
    undo = Undo(lambda text: print(text, flush=True))  # noqa: T201  (the command's output)
    try:
        if sweep:
            return undo.sweep(load_target(find_target(target)))
        return _undo(undo, run, target)
    finally:
        undo.close()


def _undo(undo: "Undo", run: Path | None, target: str | None) -> Exit:
    journals = _journals(run)
    swept: list[str] = []
    if target is not None:
        wanted = load_target(find_target(target))
        journals = [journal for journal in journals if _is_of(journal, wanted)]
        swept = undo.adopt(wanted, journals)
    endings = undo.walk(journals)
    if not endings and not swept:
        undo.say("nothing to undo")
    broken = any(BROKEN in line for line in swept) or not all(ending.verified for ending in endings)
    return Exit.BROKEN if broken else Exit.OK


@dataclass(slots=True)
class Undo:
    """One call of the command: connections and history files, opened as they are needed."""

    say: Say
    _sites: dict[Path, Site] = field(default_factory=dict)
    _clusters: list[Cluster] = field(default_factory=list)
    _histories: dict[str, HistoryWriter | None] = field(default_factory=dict)
    _of_entry: dict[str, Journal] = field(default_factory=dict)

    def walk(self, journals: list[Journal]) -> list[Ending]:
        """Replay the journals and say how each entry ended."""
        open_journals: list[Journal] = []
        for journal in journals:
            contents = journal.read()
            if contents.open_entries and self._cluster_is_there(journal):
                open_journals.append(journal)
                self._of_entry |= {progress.entry.id: journal for progress in contents.open_entries}
        endings = replay(open_journals, self._site, "operator", self._tell, claim=True)
        for ending in endings:
            self.say(("" if ending.verified else f"{BROKEN}: ") + str(ending))
        for journal in journals:
            forget_if_closed(journal)
            if journal in open_journals and journal.read().open_entries:
                self.say(f"if that cluster is gone for good, so is the fault; then: rm {journal.path}")
        return endings

    def adopt(self, target: Target, journals: list[Journal]) -> list[str]:
        """Make journals of entries that are only in the cluster, clear marks that no entry explains; say what was cleared."""
        cluster = connect(target)
        self._clusters.append(cluster)
        site = Site(cluster, target)
        ensure_namespace(site)
        known = {
            progress.entry.id: progress.is_open for journal in journals for progress in journal.read().entries
        }
        entries = copies(site)
        for header, entry in entries:
            if known.get(entry.id) is False:
                remove_copy(site, entry.id)
            elif entry.id not in known:
                path = registry_folder().parent / "adopted" / f"{entry.id}-{time.time_ns()}.jsonl"
                journal = Journal.create(path, header)
                journal.append(Opened(entry=entry))
                register(journal)
                journals.append(journal)
                self._sites[journal.path] = site
                known[entry.id] = True
        explained = {entry_id for entry_id, is_open in known.items() if is_open}
        return self._sweep(site, explained)

    def sweep(self, target: Target) -> Exit:
        """Take back what marks say; see `undo_command`."""
        cluster = connect(target)
        self._clusters.append(cluster)
        site = Site(cluster, target)
        lines = self._sweep(site, frozenset(), live_run(cluster))
        for header, entry in copies(site):  # entries whose fault left no mark, or has none left now
            if header.run_id != live_run(cluster):
                self.say(
                    f"{entry.fault} on {entry.what}: its entry stands; end it with: harness undo --target {target.name}"
                )
        if not lines:
            self.say("nothing to sweep")
        return Exit.BROKEN if any(BROKEN in line for line in lines) else Exit.OK

    def _sweep(self, site: Site, explained: AbstractSet[str], live: str = "") -> list[str]:
        lines = []
        for mark, done in sweep(site, explained, live):
            lines.append(f"{mark}: {done}")
            self.say(lines[-1])
        return lines

    def close(self) -> None:
        """Close connections and history files."""
        for cluster in self._clusters:
            cluster.close()
        for history in self._histories.values():
            if history is not None:
                history.close()

    def _cluster_is_there(self, journal: Journal) -> bool:
        """Say False, and close the journal, if it is of a sandbox that no longer exists."""
        header = journal.read().header
        assert header is not None
        kubernetes = thaw(header.target).kubernetes
        is_sandbox = thaw(header.target).is_sandbox
        if is_sandbox and kubernetes != "none" and not Path(kubernetes.kubeconfig or "").is_file():
            self.say(f"{journal.path}: the sandbox it belongs to is gone; nothing to undo")
            forget(journal)
            return False
        return True

    def _site(self, journal: Journal) -> Site:
        if journal.path not in self._sites:
            header = journal.read().header
            if header is None:
                raise InputError(f"{journal.path} has no header")
            target = thaw(header.target)
            cluster = connect(target)
            self._clusters.append(cluster)
            self._sites[journal.path] = Site(cluster, target)
        return self._sites[journal.path]

    def _tell(self, entry: Entry, step: FaultStep, detail: str) -> None:
        journal = self._of_entry[entry.id]
        header = journal.read().header
        if header is None or header.boot != boot_id():
            return  # its clock means nothing any more
        history = self._history(journal.path.parent.parent / "history")
        if history is not None:
            history.event(
                FaultChanged(
                    at_ns=Instant(SystemClock(header.clock_start_ns).now()),
                    entry=entry.id,
                    fault=entry.fault,
                    experiment=entry.experiment,
                    step=step,
                    target=entry.what,
                    detail=detail,
                    by="operator",
                )
            )

    def _history(self, folder: Path) -> HistoryWriter | None:
        key = str(folder)
        if key not in self._histories:
            self._histories[key] = None
            if folder.is_dir():
                try:
                    self._histories[key] = HistoryWriter(folder, f"operator-{time.time_ns()}")
                except RecordUnusable as error:
                    print(f"harness: {error}", file=sys.stderr)  # noqa: T201
        return self._histories[key]


def _journals(run: Path | None) -> list[Journal]:
    if run is None:
        return registered()
    found = [Journal(path) for path in sorted(undo_folder(run).glob("*.jsonl"))]
    if not found and not run.is_dir():
        raise InputError(f"{run}: no such run folder")
    return found


def _is_of(journal: Journal, target: Target) -> bool:
    header = journal.read().header
    if header is None or target.kubernetes == "none":
        return False
    try:
        kubernetes = thaw(header.target).kubernetes
    except (HarnessError, ValueError):
        return False
    return kubernetes != "none" and kubernetes.identity == target.kubernetes.identity
