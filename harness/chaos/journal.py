"""The undo journal: append-only data on disk, written and synced before anything is injected.

Injectors, guard and `harness undo` append; everybody reads. A line is complete or it does not count: a torn tail (a crash
while writing) is cut by the reader and closed off by the next writer. It holds data only, never code: what undoes an entry is
today's fault module. Whoever injects asks it first whether somebody else has claimed the journal.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Union

import msgspec

from harness.cluster import holder_of_this_process, operator
from harness.errors import InjectionFailed, RecordUnusable

SCHEMA = 1
LOCK_POLL_S = 0.05
TORN = b"~\n"
"""Ends a torn line so that it can never be read as a complete one, even if only its newline was missing."""


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="journal", tag_field="line"):
    """The first line: which run, which target (without credentials), whose clock."""

    schema: int = SCHEMA
    run_id: str
    writer: str
    target: msgspec.Raw
    clock_start_ns: int
    boot: str
    wall: str
    operator: str = ""
    injector: str = ""
    """The process that injects, as `host/pid/start`; if it is gone, what is open is nobody's."""


def new_header(run_id: str, writer: str, target: msgspec.Raw, clock_start_ns: int) -> Header:
    """Return the header of a journal that this process injects from."""
    return Header(
        run_id=run_id,
        writer=writer,
        target=target,
        clock_start_ns=clock_start_ns,
        boot=boot_id(),
        wall=datetime.now(UTC).isoformat(timespec="seconds"),
        operator=operator(),
        injector=holder_of_this_process(),
    )


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One fault's way back. `arguments` and `before` are the fault's own structs as JSON."""

    id: str
    fault: str
    experiment: str
    what: str
    """The victims in words, for messages."""
    arguments: msgspec.Raw
    before: msgspec.Raw
    opened_ns: int
    """Host's monotonic clock, as is `expires_ns`; both mean nothing after a reboot (then it has expired)."""
    expires_ns: int
    """`max_hold`: undone at this instant even if everybody hangs."""
    expires_wall: str = ""


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened", tag_field="line"):
    """The entry is on disk; from here on it must be undone."""

    entry: Entry


class Moved(msgspec.Struct, frozen=True, kw_only=True, tag="moved", tag_field="line"):
    """The entry reached `step`: injected, undone or verified."""

    entry: str
    step: str
    by: str
    at_ns: int


class Claim(msgspec.Struct, frozen=True, kw_only=True, tag="claim", tag_field="line"):
    """`by` (a process: see `token`) undoes what is here; the injector injects nothing more."""

    by: str
    token: str


Line = Union[Header, Opened, Moved, Claim]  # noqa: UP007  (msgspec builds its decoder from this union)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an entry came."""

    entry: Entry
    steps: frozenset[str] = frozenset()

    @property
    def is_open(self) -> bool:
        """True until the entry is verified."""
        return "verified" not in self.steps


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything complete in a journal file; `header` is None if not even that was written."""

    header: Header | None
    entries: tuple[Progress, ...]
    claims: tuple[Claim, ...] = field(default=())

    @property
    def open_entries(self) -> tuple[Progress, ...]:
        """The entries that are not verified, in the order they were opened."""
        return tuple(progress for progress in self.entries if progress.is_open)


_DECODER = msgspec.json.Decoder(Line)
_ENCODER = msgspec.json.Encoder()


class Journal:
    """One journal file. Its one injector holds the lock while it opens and injects; a replayer while it undoes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.token = f"{os.getpid()}.{os.urandom(4).hex()}"

    @classmethod
    def create(cls, path: Path, header: Header) -> "Journal":
        """Make a new journal; raise RecordUnusable if it cannot be written or exists."""
        journal = cls(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            sync_folder(path.parent)
        except OSError as error:
            raise RecordUnusable(
                f"cannot write the undo journal {path}: {error}; nothing is injected"
            ) from error
        journal.append(header)
        return journal

    def append(self, line: Line) -> None:
        """Append one line and sync it to disk; raise RecordUnusable if that fails (then it does not count)."""
        data = _ENCODER.encode(line) + b"\n"
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    data = TORN + data  # somebody died while writing: close that line off, for good
                if os.write(descriptor, data) != len(data):
                    raise OSError("no space left on device")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RecordUnusable(f"cannot write the undo journal {self.path}: {error}; free space") from error

    def moved(self, entry: str, step: str, by: str) -> None:
        """Note that `entry` reached `step`."""
        self.append(Moved(entry=entry, step=step, by=by, at_ns=time.monotonic_ns()))

    def claim(self, by: str) -> None:
        """Take the journal over: from here on nobody else injects anything that belongs to it."""
        self.append(Claim(by=by, token=self.token))

    def refuse_if_claimed(self) -> None:
        """Raise InjectionFailed if another process has claimed the journal."""
        for claim in self.read().claims:
            if claim.token != self.token:
                raise InjectionFailed(f"{claim.by} undoes this run already; nothing more is injected")

    def read(self) -> Contents:
        """Return what is complete in the file."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            data = b""
        except OSError as error:
            raise RecordUnusable(f"cannot read the undo journal {self.path}: {error}") from error
        return parse(data)

    @contextmanager
    def lock(self, timeout_s: float) -> Iterator[bool]:
        """Hold the journal's lock inside, or (False) go on without it after `timeout_s`.

        A stopped process may keep it for ever; what it sends later loses anyway (resourceVersion, owner, claim).
        """
        descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            yield _flock(descriptor, timeout_s)
        finally:
            os.close(descriptor)


def parse(data: bytes) -> Contents:
    """Return the complete lines of a journal's bytes, whatever follows them."""
    header: Header | None = None
    entries: dict[str, Progress] = {}
    claims: list[Claim] = []
    for raw in data.split(b"\n")[:-1]:  # what follows the last newline is torn, or nothing
        if not raw.strip():
            continue
        try:
            line = _DECODER.decode(raw)
        except msgspec.MsgspecError:
            continue  # a torn line that a later writer closed off
        match line:
            case Header():
                header = line
            case Opened():
                entries[line.entry.id] = Progress(line.entry)
            case Moved():
                known = entries.get(line.entry)
                if known is not None:
                    entries[line.entry] = Progress(known.entry, known.steps | {line.step})
            case Claim():
                claims.append(line)
    return Contents(header, tuple(entries.values()), tuple(claims))


def boot_id() -> str:
    """Return what tells this boot of the host from another; its monotonic clock is comparable only within it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def sync_folder(folder: Path) -> None:
    """Make a new file's name survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flock(descriptor: int, timeout_s: float) -> bool:
    until = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(LOCK_POLL_S)
        else:
            return True
