"""Where `harness undo` finds every journal: one small file each under $XDG_STATE_HOME/focus-harness/journals.

Written (and synced) before a journal takes its first entry, removed when nothing in it is open. It holds paths, nothing else.
"""

import hashlib
import os
from pathlib import Path

from harness.chaos.journal import Journal, sync_folder
from harness.errors import RecordUnusable


def registry_folder() -> Path:
    """Return the folder, made if it is missing."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    folder = Path(state) / "focus-harness" / "journals"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def register(journal: Journal) -> None:
    """Make the journal known; raises RecordUnusable if that cannot be written."""
    try:
        file = _file_of(journal.path)
        with file.open("w", encoding="utf-8") as out:
            out.write(str(journal.path.absolute()) + "\n")
            out.flush()
            os.fsync(out.fileno())
        sync_folder(file.parent)
    except OSError as error:
        raise RecordUnusable(f"cannot register the undo journal {journal.path}: {error}") from error


def forget(journal: Journal) -> None:
    """Take the journal out of the registry; the journal itself stays with its run."""
    _file_of(journal.path).unlink(missing_ok=True)


def forget_if_closed(journal: Journal) -> None:
    """Take the journal out of the registry if nothing in it is open."""
    if not journal.read().open_entries:
        forget(journal)


def registered() -> list[Journal]:
    """Return every known journal that still exists; entries of deleted run folders are dropped."""
    journals: list[Journal] = []
    for file in sorted(registry_folder().glob("*.path")):
        path = Path(file.read_text(encoding="utf-8").strip())
        if path.is_file():
            journals.append(Journal(path))
        else:
            file.unlink(missing_ok=True)
    return journals


def _file_of(path: Path) -> Path:
    digest = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]
    return registry_folder() / f"{digest}.path"
