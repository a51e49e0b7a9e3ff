"""Read a run's history back: events in one order, samples as arrays, and what is missing from them.

Called by judge, report and tests. Reads files only; a torn tail (a process was killed while writing) is cut and reported
as damage, a block whose checksum is wrong ends its file and is reported too. Raises `RecordUnusable` only when there is no
history at all or its schema is newer than this harness.
"""

import zlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.errors import RecordUnusable
from harness.history.events import SCHEMA, Record
from harness.history.samples import KINDS, Rows, SampleKind
from harness.history.writer import BLOCK, MAGIC, TEXTS


@dataclass(frozen=True, slots=True)
class Damage:
    """Something of a file that could not be read: everything before it was."""

    file: str
    what: str
    bytes_cut: int


@dataclass(frozen=True, slots=True)
class Samples:
    """All samples of one kind, ordered by their first column; text columns point into `texts`."""

    kind: SampleKind
    rows: Rows
    texts: tuple[str, ...]

    def column(self, name: str) -> NDArray[np.int64]:
        """Return a column as numbers."""
        column: NDArray[np.int64] = self.rows[name]
        return column

    def number(self, text: str) -> int:
        """Return the number `text` has in the text columns, or -1 if it never occurs."""
        return self.texts.index(text) if text in self.texts else -1


@dataclass(frozen=True, slots=True)
class History:
    """Everything the run recorded."""

    events: tuple[Record, ...]
    samples: dict[str, Samples]
    damage: tuple[Damage, ...] = field(default=())


def read_history(folder: Path, writer: str = "*") -> History:
    """Read every events and samples file in `folder` (a run's `history/`), or one writer's."""
    damage: list[Damage] = []
    event_files = sorted(folder.glob(f"{writer}.events.jsonl"))
    if not event_files:
        raise RecordUnusable(f"{folder} holds no history (no *.events.jsonl); is it the folder of a run?")
    events = [record for file in event_files for record in _events(file, damage)]
    events.sort(key=lambda record: (record.event.at_ns, record.writer, record.seq))
    samples = {kind.name: _samples(folder, writer, kind, damage) for kind in KINDS.values()}
    return History(tuple(events), samples, tuple(damage))


def _events(file: Path, damage: list[Damage]) -> list[Record]:
    data = file.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        damage.append(Damage(file.name, "torn last line", len(data) - end))
    decoder = msgspec.json.Decoder(Record)
    records: list[Record] = []
    for number, line in enumerate(data[:end].splitlines(), start=1):
        try:
            record = decoder.decode(line)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            _refuse_newer(file, line)
            damage.append(Damage(file.name, f"line {number}: {error}", len(line)))
            continue
        expected = records[-1].seq + 1 if records else 1
        if record.seq != expected:
            damage.append(
                Damage(file.name, f"line {number}: sequence {record.seq} where {expected} was due", 0)
            )
        records.append(record)
    return records


def _refuse_newer(file: Path, line: bytes) -> None:
    try:
        schema = msgspec.json.decode(line).get("schema", SCHEMA)
    except (msgspec.DecodeError, AttributeError):
        return
    if schema != SCHEMA:
        raise RecordUnusable(
            f"{file}: schema {schema}, this harness reads schema {SCHEMA}; use the newer harness"
        )


def _samples(folder: Path, writer: str, kind: SampleKind, damage: list[Damage]) -> Samples:
    parts: list[Rows] = []
    numbers: dict[str, int] = {}
    for file in sorted(folder.glob(f"{writer}.{kind.name}.samples")):
        rows, texts = _blocks(file, kind, damage)
        if not len(rows):
            continue
        remap = np.array([numbers.setdefault(text, len(numbers)) for text in texts] or [0], dtype=np.uint32)
        for column in kind.text:
            rows[column] = remap[rows[column]]
        parts.append(rows)
    merged = np.concatenate(parts) if parts else np.empty(0, dtype=kind.dtype)
    order = np.argsort(merged[(kind.dtype.names or ("",))[0]], kind="stable")
    return Samples(kind, merged[order], tuple(numbers))


def _blocks(file: Path, kind: SampleKind, damage: list[Damage]) -> tuple[Rows, list[str]]:
    data = file.read_bytes()
    at = data.find(b"\n") + 1
    texts: list[str] = []
    parts: list[Rows] = []
    while at and at < len(data):
        header = data[at : at + BLOCK.size]
        if len(header) < BLOCK.size:
            break
        magic, what, _count, length, crc = BLOCK.unpack(header)
        payload = data[at + BLOCK.size : at + BLOCK.size + length]
        if magic != MAGIC or len(payload) < length or zlib.crc32(payload) != crc:
            break
        if what == TEXTS:
            texts.extend(msgspec.json.decode(payload, type=list[str]))
        else:
            parts.append(np.frombuffer(payload, dtype=kind.dtype))
        at += BLOCK.size + length
    if at < len(data):
        damage.append(Damage(file.name, "torn or damaged block", len(data) - at))
    return (np.concatenate(parts) if parts else np.empty(0, dtype=kind.dtype)), texts
