"""The folder of a run: where its record lies, made once, never reused.

reports/<run id>/run.json  history/  verdict.json  report.html  undo/  logs/
reports/latest -> <run id>
"""

import os
import secrets
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import InputError, RecordUnusable


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
    try:
        sockets = Path(tempfile.mkdtemp(prefix="harness-"))
    except OSError as error:
        raise RecordUnusable(f"cannot make a folder for the run's socket: {error}; free space") from error
    return RunFolder(run_id, path, sockets / "live.sock")


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
