"""Append a process's own events and samples to the run's history.

Every process of a run owns one `HistoryWriter`; nobody writes another's files. A line or a block is complete or absent: a
torn tail is cut by the reader. A full disk raises `RecordUnusable` once and keeps counting what was lost. Loss of the
live path never loses a record. Owners of samples call `flush()` at least once a second.
"""

import errno
import functools
import re
import threading
import zlib
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

import msgspec
import numpy as np

from harness.errors import RecordUnusable
from harness.history.events import AnyEvent, Event, Record
from harness.history.live import LiveSender, second_of
from harness.history.samples import Rows, SampleKind

BLOCK = Struct("<4sBxxxIII")  # magic, what, count, length of the payload in bytes, CRC-32 of it
MAGIC = b"FHB1"
TEXTS, ROWS = 1, 2
TEXT_CAP = 400
_CREDENTIALS = re.compile(
    r"""(\w+://(?:[^\s:/@]*:(?=[^\s@]+@)|(?=[^\s:/@]+@)))[^\s@]+@(?:[^\s@"'<>,;]*@)*"""  # to the last @: passwords have some
    r"""|(authorization\W{1,4}(?:(?:basic|bearer|digest|negotiate|token)\s+)?|\bbearer\s+(?=\S{8}))[^\s,;"']+"""
    r"""|((?:password|token|secret)\W{1,4})[^\s,;"']+""",
    re.IGNORECASE,
)


@functools.lru_cache(maxsize=512)  # the same refusal comes a thousand times
def redacted(text: str, cap: int = TEXT_CAP) -> str:
    """Return `text` without credentials, at most `cap` characters long."""

    def hidden(match: re.Match[str]) -> str:
        return f"{match[1]}***@" if match[1] else f"{match[2] or match[3]}***"

    clean = _CREDENTIALS.sub(hidden, text)
    return clean if len(clean) <= cap else clean[: cap - 1] + "…"


class HistoryWriter:
    """The one writer of `<folder>/<name>.events.jsonl` and `<folder>/<name>.<kind>.samples`; safe to call from threads."""

    def __init__(self, folder: Path, name: str, live: LiveSender | None = None) -> None:
        self.name = name
        self._folder = folder
        self._live = live
        self._lock = threading.Lock()
        self._seq = 0
        self._samples: dict[str, SampleFile] = {}
        self._encoder = msgspec.json.Encoder()
        self.lost = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._events: BinaryIO = (folder / f"{name}.events.jsonl").open("xb", buffering=0)
        except FileExistsError as error:
            raise RecordUnusable(
                f"{error.filename}: this record has a writer already; use a new --out folder"
            ) from error
        except OSError as error:
            raise RecordUnusable(f"cannot write the history in {folder}: {error}") from error

    def event(self, event: Event) -> str:
        """Append `event` at once and return its identity, `writer:seq`."""
        with self._lock:
            self._seq += 1
            record = Record(writer=self.name, seq=self._seq, event=_typed(event))
            line = self._encoder.encode(record) + b"\n"
            self._write(self._events, line)
        if self._live is not None:
            self._live.send(line)
        return f"{self.name}:{record.seq}"

    def samples(self, kind: SampleKind) -> "SampleFile":
        """Return the (one) file of this writer for samples of `kind`."""
        with self._lock:
            if kind.name not in self._samples:
                self._samples[kind.name] = SampleFile(self, kind)
            return self._samples[kind.name]

    def gather(self) -> None:
        """Pack what was added since the last time, so that a flush of many rows holds nobody up for long."""
        for file in tuple(self._samples.values()):
            file.gather()

    def flush(self) -> None:
        """Write the samples gathered since the last flush as one block per kind, and send their second on the live path."""
        for file in tuple(self._samples.values()):
            file.flush()

    def close(self) -> None:
        """Flush and close; the writer takes nothing more."""
        self.flush()
        with self._lock:
            for file in self._samples.values():
                file.close()
            self._events.close()

    def _write(self, file: BinaryIO, data: bytes) -> None:
        """Append `data`, or raise once and from then on only count what is lost: a run must be able to end in order."""
        try:
            _append(file, data)
        except OSError as error:
            self.lost += 1
            if self.lost == 1:
                raise RecordUnusable(
                    f"cannot write the history ({file.name}): {error}; free space, then run again"
                ) from error

    def _open(self, kind: SampleKind) -> BinaryIO:
        header = {
            "schema": 1,
            "writer": self.name,
            "kind": kind.name,
            "dtype": [[name, kind.dtype[name].str] for name in kind.dtype.names or ()],
            "text": list(kind.text),
        }
        file = (self._folder / f"{self.name}.{kind.name}.samples").open("xb", buffering=0)
        self._write(file, msgspec.json.encode(header) + b"\n")
        return file


class SampleFile:
    """Rows of one kind. `add` costs well under a microsecond: it only keeps the tuple."""

    def __init__(self, writer: HistoryWriter, kind: SampleKind) -> None:
        self._writer = writer
        self._kind = kind
        self._file = writer._open(kind)
        self._rows: list[tuple[int, ...]] = []
        self._packed: list[Rows] = []
        self._texts: dict[str, int] = {}
        self._all_texts: list[str] = []
        self._texts_written = 0
        self.add = self._rows.append
        """Append one row: a tuple in the order of the kind's columns."""

    def text(self, text: str) -> int:
        """Return the number that stands for `text` in this file's rows."""
        number = self._texts.get(text)
        if number is None:
            number = self._texts[text] = len(self._all_texts)
            self._all_texts.append(redacted(text))
        return number

    def gather(self) -> None:
        """Pack the rows added since the last time: a few hundred take some tenths of a millisecond."""
        with self._writer._lock:
            self._pack()

    def _pack(self) -> None:
        if self._rows:
            self._packed.append(np.array(self._rows, dtype=self._kind.dtype))
            self._rows.clear()

    def flush(self) -> None:
        """Write what was added as one block; nothing when nothing was added."""
        with self._writer._lock:
            self._pack()
            if not self._packed:
                return
            rows = self._packed[0] if len(self._packed) == 1 else np.concatenate(self._packed)
            self._packed.clear()
            fresh = self._all_texts[self._texts_written :]
            if fresh:
                self._block(TEXTS, len(fresh), msgspec.json.encode(fresh))
                self._texts_written += len(fresh)
            self._block(ROWS, len(rows), rows.tobytes())
        if self._writer._live is not None:
            second = second_of(self._writer.name, self._kind, rows, self._all_texts)
            self._writer._live.send(msgspec.json.encode(second))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _block(self, what: int, count: int, payload: bytes) -> None:
        header = BLOCK.pack(MAGIC, what, count, len(payload), zlib.crc32(payload))
        self._writer._write(self._file, header + payload)


def _append(file: BinaryIO, data: bytes) -> None:
    written = file.write(data)
    if written != len(data):  # a full disk takes a part: cut it, so that the next record starts clean
        file.truncate(file.tell() - written)
        raise OSError(errno.ENOSPC, "no space left on device")


def _typed(event: Event) -> AnyEvent:
    value: Any = event
    for name in event.__struct_fields__:
        text = getattr(value, name)
        if type(text) is str and (
            len(text) > TEXT_CAP or "://" in text or "=" in text or ":" in text or "earer " in text
        ):
            clean = redacted(text)
            if clean != text:
                value = msgspec.structs.replace(value, **{name: clean})
    typed: AnyEvent = value
    return typed
