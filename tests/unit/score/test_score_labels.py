"""What the truth about a failure is: by its request, by the slots that others held, by the faults that were in."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.history.events import FaultChanged, FaultStep, Outcome, PodSeen, WindowAccepted, WindowClosed
from harness.history.samples import ATTEMPTS
from harness.judge.blame import Failures
from tests.score.labels import Label, Truth, edges_ns, labels_of, request_number, run_start_ns, truth_of

S = 1_000_000_000
START_NS = 500 * S


class Played:
    """A record with creates 1, 2, ... that were sent at a second each and done a tenth later; nothing else."""

    def __init__(self, creates: int, max_windows: int | None = 3) -> None:
        self.creates = np.zeros(creates, dtype=ATTEMPTS.dtype)
        self.creates["request_id"] = np.arange(1, creates + 1)
        self.creates["sent_ns"] = np.arange(1, creates + 1) * S
        self.creates["done_ns"] = self.creates["sent_ns"] + S // 10
        self.run = self
        self.max_windows = max_windows
        self.end_ns = 100 * S
        self.changes: list[Any] = []
        self.windows: list[Window] = []

    def of(self, kind: type) -> list[Any]:
        return self.changes if kind is FaultChanged else [one for one in self.windows if one.kind is kind]


class Window:
    """A window's beginning or end, by what the labels ask of it."""

    def __init__(self, kind: type, at_s: float) -> None:
        self.kind, self.at_ns, self.window, self.job_id = kind, round(at_s * S), 0, "1-1"
        self.outcome = Outcome.STREAM_BROKEN
        self.role, self.phase = "stream", "Pending"


class Change:
    def __init__(self, step: FaultStep, at_s: float) -> None:
        self.step, self.at_ns, self.entry, self.experiment = step, round(at_s * S), "e", "mongo-outage"


def written(folder: Path, *facts: dict[str, Any]) -> Path:
    (folder / "truth").mkdir()
    lines = [json.dumps({"seq": n, "process": "p", **fact}) for n, fact in enumerate(facts)]
    (folder / "truth" / "p.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def at(second: float) -> int:
    return START_NS + round(second * S)


def refusal(request: int, second: float, *causes: str, held: int = 0) -> dict[str, Any]:
    return {
        "at_ns": at(second), "kind": "refusal", "primary": causes[0], "causes": causes,
        "request_id": f"{request:032x}", "held": held,
    }  # fmt: skip


def failures(*rows: tuple[float, float, Outcome, int, bool]) -> Failures:
    texts = tuple(dict.fromkeys(str(row[2]) for row in rows))
    return Failures(
        window=np.arange(len(rows)),
        sent_ns=np.array([round(row[0] * S) for row in rows]),
        at_ns=np.array([round(row[1] * S) for row in rows]),
        outcome=np.array([texts.index(row[2]) for row in rows]),
        request_id=np.array([row[3] for row in rows], dtype=np.uint64),
        is_window=np.array([row[4] for row in rows]),
        texts=texts,
    )


def test_a_refusal_has_the_cause_the_server_wrote_first_and_all_it_found(tmp_path: Path) -> None:
    facts = [refusal(1, 1.05, "max_windows", "mongodb_unavailable", held=3)]
    truth = truth_of(written(tmp_path, *facts), Played(2))  # type: ignore[arg-type]
    assert truth.by_request == {
        1: Label("max_windows", frozenset({"max_windows", "mongodb_unavailable"})),
    }


def test_what_was_away_when_the_server_refused_for_something_else_held_too(tmp_path: Path) -> None:
    facts = [
        {"at_ns": at(0.5), "kind": "dependency", "of": "broker_unavailable", "answers": False},
        {"at_ns": at(0.6), "kind": "shares", "registered_free": 2, "available_free": 0},
        refusal(1, 1.05, "waiting_for_fibre"),
        {"at_ns": at(1.5), "kind": "dependency", "of": "broker_unavailable", "answers": True},
        refusal(2, 2.05, "waiting_for_fibre"),
    ]
    truth = truth_of(written(tmp_path, *facts), Played(2))  # type: ignore[arg-type]
    assert truth.by_request[1].held == {"waiting_for_fibre", "broker_unavailable", "worker_unavailable"}
    assert truth.by_request[2].held == {"waiting_for_fibre", "worker_unavailable"}


def test_a_refusal_for_no_reason_has_no_other(tmp_path: Path) -> None:
    facts = [
        {"at_ns": at(0.5), "kind": "shares", "registered_free": 0, "available_free": 0},
        refusal(1, 1.05, "unexplained"),
    ]
    truth = truth_of(written(tmp_path, *facts), Played(1))  # type: ignore[arg-type]
    assert truth.by_request[1] == Label("unexplained", frozenset({"unexplained"}))


@pytest.mark.parametrize(("asked_by", "foreign"), [(99, True), (1, False)])
def test_at_the_limit_the_windows_of_others_held_only_if_there_were_any(
    tmp_path: Path, asked_by: int, foreign: bool
) -> None:
    facts = [
        {
            "at_ns": at(1.05),
            "kind": "slot_granted",
            "slot": 1,
            "job_id": "1-1",
            "request_id": f"{asked_by:x}",
        },
        refusal(2, 2.05, "max_windows", held=3),
        {"at_ns": at(2.5), "kind": "slot_released", "slot": 1, "job_id": "1-1"},
        refusal(3, 3.05, "max_windows", held=3),
    ]
    truth = truth_of(written(tmp_path, *facts), Played(3))  # type: ignore[arg-type]
    assert ("foreign_load" in truth.by_request[2].held) is foreign
    assert "foreign_load" not in truth.by_request[3].held


def test_what_a_fault_had_made_true_held_even_if_the_server_did_not_look(tmp_path: Path) -> None:
    played = Played(30)
    played.changes = [Change(FaultStep.EFFECTIVE, 5), Change(FaultStep.UNDONE, 20)]
    facts = [refusal(second, second + 0.05, "max_windows") for second in (4, 10, 13, 16)]
    truth = truth_of(written(tmp_path, *facts), played)  # type: ignore[arg-type]
    also = {second for second, label in truth.by_request.items() if "mongodb_unavailable" in label.held}
    assert also == {10, 13}  # the undo is recorded when all is ready: what is shortly before it may be over


def test_the_runs_start_lies_where_every_request_fits(tmp_path: Path) -> None:
    facts = [{"at_ns": at(1.02), "request_id": "1"}, {"at_ns": at(2.08), "request_id": "2"}]
    assert abs(run_start_ns(facts, Played(2)) - START_NS) <= S // 20  # type: ignore[arg-type]


def test_what_is_no_number_names_no_request() -> None:
    assert request_number("nothing") == 0
    assert request_number(f"{(7 << 64) + 5:032x}") == 5


TRUTH = Truth(
    by_request={1: Label("gpu_exhausted", frozenset({"gpu_exhausted"}))},
    tricks=((30 * S, 40 * S, "path"),),
    faults=(("worker-crash", 10 * S, 20 * S), ("mongo-outage", 50 * S, 60 * S)),
)


def test_each_failure_gets_the_truth_that_is_nearest_to_it() -> None:
    told = labels_of(
        failures(
            (1, 1.1, Outcome.UNAVAILABLE_503, 1, False),
            (2, 2.1, Outcome.VALIDATION_422, 2, False),
            (31, 31.1, Outcome.CONNECT_FAILED, 3, False),
            (45, 45.1, Outcome.SERVER_5XX, 4, False),
            (12, 16, Outcome.STREAM_BROKEN, 5, True),
            (52, 55, Outcome.STREAM_BROKEN, 6, True),
            (52, 55, Outcome.FOREIGN_STREAM, 7, True),
        ),
        TRUTH,
    )
    assert [label.primary if label else None for label in told] == [
        "gpu_exhausted",
        "invalid_request",
        "path",
        None,
        "worker_unavailable",
        None,  # MongoDB does nothing to a window that is open
        "foreign_load",
    ]
    assert told[4] is not None
    assert "stream_pod_lost" in told[4].held  # one truth, seen from the node and from the pod


def test_what_was_said_while_the_way_was_broken_did_not_arrive() -> None:
    truth = Truth({1: Label("gpu_exhausted", frozenset({"gpu_exhausted"}))}, ((0, 5 * S, "path"),), ())
    for outcome, primary in ((Outcome.UNKNOWN, "path"), (Outcome.UNAVAILABLE_503, "gpu_exhausted")):
        [label] = labels_of(failures((1, 1.1, outcome, 1, False)), truth)
        assert label is not None
        assert label.primary == primary


def test_a_window_that_never_started_may_have_suffered_since_it_was_accepted() -> None:
    rows = failures((19, 45, Outcome.PENDING_NO_START, 1, True), (19, 45, Outcome.STREAM_BROKEN, 2, True))
    waited, broken = labels_of(rows, Truth({}, (), (("worker-crash", 10 * S, 20 * S),)))
    assert waited is not None
    assert broken is None


@pytest.mark.parametrize(
    ("outcome", "truth"),
    [(Outcome.PENDING_NO_START, None), (Outcome.STREAM_BROKEN_BEFORE_DATA, "feed_unavailable")],
)
def test_what_stops_frames_keeps_no_port_from_opening(outcome: Outcome, truth: str | None) -> None:
    [label] = labels_of(
        failures((12, 30, outcome, 1, True)), Truth({}, (), (("starve-feed", 10 * S, 20 * S),))
    )
    assert (label.primary if label else None) == truth


@pytest.mark.parametrize(
    ("cleaned_s", "reason", "idle"), [(15, "idle", True), (25, "idle", False), (15, "gone", False)]
)
def test_cleanup_says_which_windows_it_took_for_idle(
    tmp_path: Path, cleaned_s: float, reason: str, idle: bool
) -> None:
    played = Played(1)
    played.windows = [Window(WindowAccepted, 10), Window(WindowClosed, 20)]
    told = {"at_ns": at(cleaned_s), "kind": "window_cleaned", "job_id": "1-1", "reason": reason}
    truth = truth_of(written(tmp_path, refusal(1, 1.05, "max_windows"), told), played)  # type: ignore[arg-type]
    [label] = labels_of(failures((10, 20, Outcome.STREAM_BROKEN, 7, True)), truth)
    assert label == (Label("idle_cleanup", frozenset({"idle_cleanup"})) if idle else None)


@pytest.mark.parametrize(("made_s", "slow"), [(12, False), (16, True), (None, True)])
def test_a_job_that_takes_half_of_the_wait_to_make_its_pod_keeps_its_window_waiting(
    tmp_path: Path, made_s: float | None, slow: bool
) -> None:
    played = Played(1)
    closed = Window(WindowClosed, 20)
    closed.outcome = Outcome.PENDING_NO_START
    played.windows = [Window(WindowAccepted, 10), closed]
    if made_s is not None:
        played.windows.append(Window(PodSeen, made_s))
    truth = truth_of(written(tmp_path, refusal(1, 1.05, "max_windows")), played)  # type: ignore[arg-type]
    assert truth.slow == ({0: 10 * S} if slow else {})


def test_an_edge_is_where_something_came_or_went() -> None:
    assert (edges_ns(TRUTH) // S).tolist() == [10, 20, 30, 40, 50, 60]
