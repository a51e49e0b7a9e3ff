"""The documents a new MongoDB of the sandbox starts with: storage roots and recordings.

Called once by the MongoDB pod. Shapes follow what was found in the field: `base_paths` names by `guid` the
collection of the recordings; 40.1 s segments start about every 39 s, sessions end in short fragments, the newest
recording is still running (no end_time), some are soft-deleted, and many folders are not recognised. `recordings`
exists and is empty. Nothing here queries.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

Document = dict[str, Any]

SEGMENT_S = 40.1
STEP_S = 39.0
SESSION_SEGMENTS = 40
FRAGMENTS_S = (35.0, 20.0, 10.0, 5.0)
HISTORY_S = 4 * 3600.0
_NAMES = uuid.UUID("5b2f4a3c-0f52-4d6e-9d43-6d1c8f0a7e11")

FIXED_SESSIONS: tuple[tuple[float, float | None], ...] = (
    (1765119500.945, 1765119505.944),
    (1765119503.005, 1765119543.150),
    (1765119540.019, None),
    (1765098022.008, 1765098062.088),
    (1765098061.007, 1765098101.088),
)
"""Recordings at fixed instants (7 December 2025), for windows that must be found on every day."""


def first_documents(storage_path: str, now_epoch_s: float) -> dict[str, list[Document]]:
    """Return collection name to documents, recordings ending at `now_epoch_s`."""
    guid = str(uuid.uuid5(_NAMES, storage_path))
    spans = [*FIXED_SESSIONS, *recent(now_epoch_s)]
    return {
        "base_paths": [{"base_path": storage_path, "guid": guid, "is_archive": False}],
        guid: [_recording(index, span) for index, span in enumerate(spans)],
        f"{guid}-unrecognized_recordings": [
            {
                "folder_name": f"unrecognized_{index:04}",
                "file_count": index % 7,
                "update_time": _date(now_epoch_s - 600.0 * index),
            }
            for index in range(40)
        ],
        "recordings": [],
    }


def recent(now_epoch_s: float) -> list[tuple[float, float | None]]:
    """Return the recordings of the last hours, newest running: (start, end or None) in epoch seconds."""
    spans: list[tuple[float, float | None]] = []
    start_s = now_epoch_s - HISTORY_S
    index = 0
    while start_s + SEGMENT_S < now_epoch_s:
        session, segment = divmod(index, SESSION_SEGMENTS)
        length_s = SEGMENT_S
        if segment == SESSION_SEGMENTS - 1:
            length_s = FRAGMENTS_S[session % len(FRAGMENTS_S)]
        spans.append((start_s, start_s + length_s))
        start_s += STEP_S if length_s == SEGMENT_S else length_s + 20.0
        index += 1
    spans.append((start_s, None))
    return spans


def _recording(index: int, span: tuple[float, float | None]) -> Document:
    start_s, end_s = span
    return {
        "uuid": str(uuid.uuid5(_NAMES, f"{index}/{start_s}")),
        "start_time": _date(start_s),
        "end_time": None if end_s is None else _date(end_s),
        # Every 50th of the recent ones was deleted softly; the fixed ones never.
        "deleted": index > len(FIXED_SESSIONS) and index % 50 == 0,
    }


def _date(epoch_s: float) -> datetime:
    return datetime.fromtimestamp(epoch_s, UTC)
