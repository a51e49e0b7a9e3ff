"""The folder of a run: where its record lies, made once, never reused.

reports/<run id>/run.json  history/  verdict.json  report.html  undo/  logs/
reports/latest -> <run id>
"""

import os
import secrets
import shutil
import stat
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.cluster import holder_of_this_process, is_dead_here
from harness.errors import InputError, RecordUnusable

SOCKETS = "harness-"
"""How the folders of runs' sockets in the temporary directory are called."""
HOLDER = "holder"
"""The file in it that says whose it is."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The places inside one run's folder."""

    run_id: str
    path: Path
    live_socket: Path
    """A short path: Unix socket names are limited to about 100 bytes, run folders are not."""

    @property
    def history(self) -> Path:
        """Events and samples."""
        return self.path / "history"

    @property
    def logs(self) -> Path:
        """What the processes of the run printed."""
        return self.path / "logs"

    @property
    def verdict(self) -> Path:
        """The verdict for CI."""
        return self.path / "verdict.json"


def new_run_id(name: str) -> str:
    """Return an id that no other run has; they sort by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{name}-{secrets.token_hex(2)}"


def make_run_folder(reports: Path, run_id: str, out: Path | None = None) -> RunFolder:
    """Make the folder of a new run under `reports` (or exactly `out`), and point `reports/latest` at it."""
    path = (out or reports / run_id).resolve()
    if out is not None and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"--out {out}: is not an empty folder; name a new one")
    try:
        (path / "history").mkdir(parents=True)
        (path / "logs").mkdir()
    except FileExistsError as error:
        raise InputError(f"--out {out}: holds a run already; name a new folder") from error
    except OSError as error:
        raise RecordUnusable(f"cannot make the run's folder {path}: {error}") from error
    if out is None:
        _point_latest(reports, run_id)
    sweep_socket_folders()
    try:
        sockets = Path(tempfile.mkdtemp(prefix=SOCKETS))
        (sockets / HOLDER).write_text(holder_of_this_process(), encoding="utf-8")
    except OSError as error:
        raise RecordUnusable(f"cannot make a folder for the run's socket: {error}; free space") from error
    return RunFolder(run_id, path, sockets / "live.sock")


def sweep_socket_folders() -> list[Path]:
    """Remove what conductors that were killed have left in the temporary directory (sockets, and orders that may hold credentials).

    Only folders of this user whose holder was a process of this machine and is gone; returns them.
    """
    gone = []
    for folder in Path(tempfile.gettempdir()).glob(f"{SOCKETS}*"):
        try:
            told = folder.lstat()
            if stat.S_ISDIR(told.st_mode) and told.st_uid == os.getuid() and _is_dead(folder):
                shutil.rmtree(folder)
                gone.append(folder)
        except OSError:
            continue  # another one sweeps too
    return gone


def _is_dead(folder: Path) -> bool:
    holder = folder / HOLDER
    return stat.S_ISREG(holder.lstat().st_mode) and is_dead_here(holder.read_text(encoding="utf-8"))


def find_run(name: str, reports: Path) -> Path:
    """Return the folder of a run given by path, by id, or as `latest`."""
    for path in (Path(name), reports / name):
        if (path / "run.json").is_file():
            return path.resolve()
    known = sorted((file.parent.name for file in reports.glob("*/run.json")), reverse=True)[:5]
    raise InputError(f"no run {name!r}; the newest under {reports}: {', '.join(known) or 'none'}")


def shown(path: Path) -> str:
    """Return `path` as a person here would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _point_latest(reports: Path, run_id: str) -> None:
    fresh = reports / f".latest-{os.getpid()}"
    fresh.unlink(missing_ok=True)
    try:
        fresh.symlink_to(run_id)
        fresh.replace(reports / "latest")
    except OSError:  # a real folder of that name, or no links here: a convenience, never a reason to end
        fresh.unlink(missing_ok=True)
