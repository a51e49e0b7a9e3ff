"""Historic windows: which are accepted, how long they are, and what a new MongoDB starts with."""

import pytest

from harness.sandbox.pods.focus_server.store import accepted, recorded_rows
from harness.sandbox.pods.recordings import FIXED_SESSIONS, first_documents, recent

AT = 1765119480.0
A, B = (AT + 20.945, AT + 25.944), (AT + 23.005, AT + 63.150)
C = (AT + 60.019, -1.0)
SPANS = [A, B, C]
DAY_LATER = AT + 86400


@pytest.mark.parametrize(("start", "rule", "expected"), [
    (AT + 23, "strict", True),
    (AT + 20, "strict", False),
    (AT + 20, "overlap", True),
])  # fmt: skip
def test_windows_are_accepted_as_in_the_recorded_runs(start: float, rule: str, expected: bool) -> None:
    assert accepted(SPANS, start, rule, 60.0, DAY_LATER) is expected


def test_a_recording_that_just_ended_is_not_indexed_yet() -> None:
    just_ended = [(1000.0, 1040.0)]
    assert not accepted(just_ended, 1039.0, "strict", 60.0, 1045.0)
    assert accepted(just_ended, 1039.0, "strict", 60.0, 1101.0)


def test_a_running_recording_alone_is_nothing() -> None:
    assert not accepted([C], AT + 70, "overlap", 0.0, DAY_LATER)


def test_the_recorded_run_s_window_has_eighty_rows() -> None:
    assert recorded_rows(SPANS, AT + 23, AT + 23 + 7200, 0.5) == 80


def test_overlapping_recordings_count_once() -> None:
    assert recorded_rows([(0, 10), (5, 15), (14, 20)], 0, 100, 1.0) == 20
    assert recorded_rows([(0, 10)], 2, 6, 1.0) == 4
    assert recorded_rows([], 2, 6, 1.0) == 0


def test_a_new_mongodb_has_what_was_found_in_the_field() -> None:
    documents = first_documents("/prisma/root/recordings/segy", 1.8e9)
    base = documents["base_paths"][0]
    recordings = documents[base["guid"]]
    assert base["base_path"] == "/prisma/root/recordings/segy"
    assert documents["recordings"] == []
    assert documents[f"{base['guid']}-unrecognized_recordings"]
    assert sum(doc["end_time"] is None for doc in recordings) == 2
    assert any(doc["deleted"] for doc in recordings)
    assert not any(doc["deleted"] for doc in recordings[: len(FIXED_SESSIONS)])
    assert len({doc["uuid"] for doc in recordings}) == len(recordings)


def test_recent_recordings_overlap_within_a_session_and_the_newest_runs() -> None:
    spans = recent(1.8e9)
    assert spans[-1][1] is None
    assert spans[1][0] < spans[0][1]
    assert {round(end - start, 1) for start, end in spans[:-1] if end} >= {40.1, 35.0, 20.0}
