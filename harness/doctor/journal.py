"""The doctor's journal: an append-only file in a folder of its own under reports/, a line on disk before each thing is done.

Written by `mend`. Each line says what was intended, done, refused or seen afterwards, with object, uid and time.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import RecordUnusable

FILE = "doctor.jsonl"


def new_run_id() -> str:
    """Return an id for a folder under reports/ that sorts by time."""
    return f"doctor-{datetime.now(UTC):%Y%m%dT%H%M%S}{os.getpid() % 10000:04d}Z"


class Journal:
    """Appends lines; each is on disk when `write` returns. Raises RecordUnusable if it cannot be."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._seq = 0
        try:
            folder.mkdir(parents=True)
            self._file = self.path.open("x", encoding="utf-8")
            there = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(there)
            finally:
                os.close(there)
        except OSError as error:
            raise RecordUnusable(
                f"cannot make the doctor's journal {self.path}: {error}; nothing was done"
            ) from error

    def write(self, event: str, **fields: Any) -> None:
        """Append one line and wait until it is on disk."""
        line = {"schema": 1, "seq": self._seq, "at": datetime.now(UTC).isoformat(), "event": event, **fields}
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RecordUnusable(f"cannot write the doctor's journal {self.path}: {error}") from error
        self._seq += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()
