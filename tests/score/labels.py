"""What each failure of a kept run was really for: the sandbox's truth log, and what was injected, joined with the client's record.

Read by the scorer alone. A create is told by its request id. A window that was accepted and not served is told by what was really
wrong while it suffered: the faults that were in, as their documentation says what they do to a window.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.history.events import (
    FaultChanged,
    FaultStep,
    Outcome,
    PodSeen,
    WindowAccepted,
    WindowClosed,
)
from harness.judge.blame import Failures
from harness.judge.record import RunRecord
from harness.sandbox.truth import read

S = 1_000_000_000
AFTER_NS = 12 * S
"""A window may suffer from a fault for this long after it was undone."""
BEFORE_NS = S // 2
SLOW_NS = 3 * S
"""A pod that has run for this long without opening its port keeps its client waiting, whatever else happens."""
HOLD_ENDS_NS = 6 * S
"""A fault's undo is recorded when the workload is ready again: it holds for certain until this long before."""

TO_WINDOWS: dict[str, tuple[str, ...]] = {
    "cordon-worker": ("worker_unavailable",),
    "drain-worker": ("stream_pod_lost", "worker_unavailable"),
    "worker-not-ready": ("worker_unavailable", "stream_pod_lost", "pod_start_failed"),
    "worker-crash": ("worker_unavailable", "stream_pod_lost", "pod_start_failed"),
    "saturate-gpu": ("gpu_exhausted",),
    "exhaust-pod-ips": ("pod_network_exhausted",),
    "revoke-kubernetes-access": (),
    "api-server-slow": ("kubernetes_unreachable",),
    "api-server-down": ("kubernetes_unreachable",),
    "kill-streams": ("stream_pod_lost",),
    "drop-network": ("path", "idle_cleanup"),
    "rabbitmq-outage": ("broker_unavailable", "idle_cleanup"),
    "starve-feed": ("feed_unavailable", "idle_cleanup"),
    "waiting-for-fibre": ("feed_unavailable", "idle_cleanup"),
}
"""What a fault does to a window that was accepted; others do nothing to one."""

OF_STREAMS = ("feed_unavailable", "broker_unavailable", "idle_cleanup")
"""What can only be wrong with a stream that could be reached."""

WHILE_IN: dict[str, str] = {
    "mongo-outage": "mongodb_unavailable",
    "focus-restart-without-mongo": "mongodb_unavailable",
    "kill-mongo": "mongodb_unavailable",
    "rabbitmq-outage": "broker_unavailable",
}
"""What surely holds from a fault's effect until its undo begins, whether or not the server came to look at it."""

BY_OUTCOME: dict[str, str] = {
    Outcome.VALIDATION_422: "invalid_request",
    Outcome.PARSE_500: "invalid_request",
    Outcome.OTHER_STATUS: "invalid_request",
    Outcome.NO_RECORDING_404: "no_recording",
    Outcome.FOREIGN_STREAM: "foreign_load",
}
"""What the server, or the stream itself, said plainly."""


NO_ANSWER = (Outcome.UNKNOWN, Outcome.READ_TIMEOUT, Outcome.CONNECT_FAILED, Outcome.CONNECT_TIMEOUT)
"""Nothing that the server may have said came to the client."""


@dataclass(frozen=True)
class Label:
    """The truth about one failure: the check that refused, and everything that held."""

    primary: str
    held: frozenset[str]


@dataclass(frozen=True)
class Truth:
    """What the sandbox knew, by request, and when what was in; instants are the run's."""

    by_request: dict[int, Label]
    tricks: tuple[tuple[int, int, str], ...]
    faults: tuple[tuple[str, int, int], ...]
    """Experiment, from the attempt to inject it until it was verified undone."""
    slow: dict[int, int] = field(default_factory=dict)
    """Windows whose pod was not made for half of the wait, or ran and had not opened its port; and since when that was so."""

    idle: frozenset[int] = frozenset()
    """Windows that cleanup took for idle while they were read, or waited for."""

    def faults_at(self, from_ns: int, to_ns: int, after_ns: int = 0) -> tuple[str, ...]:
        """Return the experiments whose faults were in at some instant between two, or were until shortly before."""
        return tuple(
            sorted({name for name, start, end in self.faults if start <= to_ns and from_ns <= end + after_ns})
        )


def truth_of(folder: Path, record: RunRecord) -> Truth:
    """Read the truth of a kept run."""
    facts = read(folder / "truth")
    start_ns = run_start_ns(facts, record)
    by_request: dict[int, Label] = {}
    state = _State(set(record.creates["request_id"].tolist()), record.run.max_windows)
    for fact in facts:
        state.take(fact)
        if fact["kind"] in ("refusal", "ingress_error", "server_error", "overload") and fact.get(
            "request_id"
        ):
            label = _label(fact)
            label = Label(label.primary, label.held | state.held(fact))
            number = request_number(fact["request_id"])
            if number in by_request:  # the ingress adds its word to what the server had said
                before = by_request[number]
                label = Label(before.primary, before.held | label.held)
            by_request[number] = label
    _add_faults(by_request, record)
    opened = {fact["job_id"]: fact["at_ns"] - start_ns for fact in facts if fact["kind"] == "ready"}
    cleaned = [fact for fact in facts if fact["kind"] == "window_cleaned" and fact["reason"] == "idle"]
    idle = _idle(record, ((fact["job_id"], fact["at_ns"] - start_ns) for fact in cleaned))
    return Truth(
        by_request, tuple(_tricks(folder, start_ns)), tuple(_faults(record)), _slow(record, opened), idle
    )


def _idle(record: RunRecord, cleaned: Iterable[tuple[str, int]]) -> frozenset[int]:
    """Return the windows whose objects cleanup removed for being idle before their client was done with them."""
    at_ns: dict[str, list[int]] = defaultdict(list)
    for job_id, instant in cleaned:
        at_ns[job_id].append(instant)
    accepted = {event.window: event for event in record.of(WindowAccepted)}
    closed = [event for event in record.of(WindowClosed) if event.window in accepted]
    return frozenset(
        event.window
        for event in closed
        if any(
            accepted[event.window].at_ns <= instant <= event.at_ns
            for instant in at_ns[accepted[event.window].job_id]
        )
    )


def _slow(record: RunRecord, opened_ns: dict[str, int]) -> dict[int, int]:
    """Return the windows whose client gave up although their pod ran, or whose Job took half of the wait or more to make one.

    A busy machine takes its time. The value is since when the window waited for nothing else.
    """
    accepted = {event.window: event for event in record.of(WindowAccepted)}
    given_up = {
        accepted[event.window].job_id: event
        for event in record.of(WindowClosed)
        if event.outcome is Outcome.PENDING_NO_START and event.window in accepted
    }
    slow: dict[int, int] = {}
    made: dict[int, int] = {}
    for pod in record.of(PodSeen):
        window = given_up.get(pod.job_id)
        if window is None or pod.role != "stream" or pod.at_ns < accepted[window.window].at_ns - S:
            continue
        made.setdefault(window.window, pod.at_ns)
        if (
            pod.phase == "Running"
            and window.window not in slow
            and pod.at_ns + SLOW_NS <= window.at_ns < opened_ns.get(pod.job_id, window.at_ns + 1)
        ):
            slow[window.window] = pod.at_ns
    for window in given_up.values():
        since_ns = accepted[window.window].at_ns
        if made.get(window.window, window.at_ns) >= (since_ns + window.at_ns) // 2:
            slow[window.window] = since_ns
    return slow


def _add_faults(by_request: dict[int, Label], record: RunRecord) -> None:
    """Add to the server's own refusals what faults that were in made true for certain."""
    effective: dict[str, int] = {}
    spans: list[tuple[str, int, int]] = []
    for change in record.of(FaultChanged):
        if change.step == FaultStep.EFFECTIVE:
            effective[change.entry] = change.at_ns
        elif change.step == FaultStep.UNDONE and change.entry in effective:
            spans.append((change.experiment, effective.pop(change.entry), change.at_ns - HOLD_ENDS_NS))
    rows = record.creates
    columns = (rows["request_id"].tolist(), rows["sent_ns"].tolist(), rows["done_ns"].tolist())
    for number, sent_ns, done_ns in zip(*columns, strict=True):
        label = by_request.get(number)
        if label is None or label.primary in ("unexplained", "focus_server_down", "server_overload"):
            continue
        held = {
            WHILE_IN[name]
            for name, start, end in spans
            if name in WHILE_IN and start <= sent_ns and done_ns <= end
        }
        if held:
            by_request[number] = Label(label.primary, label.held | held)


class _State:
    """What the sandbox knew to hold at each moment: a server that refuses for one reason does not look for the others."""

    def __init__(self, own_requests: set[int], limit: int | None) -> None:
        self._own_requests, self._limit = own_requests, limit
        self._foreign: set[int] = set()
        """Slots held by windows that the record's creates did not ask for."""
        self._dependencies: dict[str, bool] = {}
        self._registered = self._available = 1

    def take(self, fact: dict[str, Any]) -> None:
        """Take in a fact of the truth log."""
        if fact["kind"] == "dependency":
            self._dependencies[fact["of"]] = fact["answers"]
        elif fact["kind"] == "shares":
            self._registered, self._available = fact["registered_free"], fact["available_free"]
        elif fact["kind"] in ("slot_granted", "slot_released"):
            self._foreign.discard(fact["slot"])
            if (
                fact["kind"] == "slot_granted"
                and request_number(fact["request_id"]) not in self._own_requests
            ):
                self._foreign.add(fact["slot"])

    def held(self, fact: dict[str, Any]) -> frozenset[str]:
        """Return the causes that held when the server said no; the ingress and an overloaded site look at none of them."""
        if fact["kind"] != "refusal" or fact["primary"] == "unexplained":
            return frozenset()
        found = {cause for cause, answers in self._dependencies.items() if not answers}
        if self._registered <= 0:
            found.add("gpu_exhausted")
        elif self._available <= 0:
            found.add("worker_unavailable")
        if (
            "max_windows" in fact["causes"]
            and self._limit
            and fact["held"] - len(self._foreign) < self._limit
        ):
            found.add("foreign_load")
        return frozenset(found)


def run_start_ns(facts: Iterable[dict[str, Any]], record: RunRecord) -> int:
    """Return the reading of the host's clock at the run's start: what happened on a request's way lies between sent and done."""
    rows = record.creates
    sent = dict(zip(rows["request_id"].tolist(), rows["sent_ns"].tolist(), strict=True))
    done = dict(zip(rows["request_id"].tolist(), rows["done_ns"].tolist(), strict=True))
    told = [(fact["at_ns"], request_number(fact["request_id"])) for fact in facts if fact.get("request_id")]
    bounds = [(at_ns - done[number], at_ns - sent[number]) for at_ns, number in told if number in sent]
    if not bounds:  # nothing was refused for a cause: there is nothing to put beside the record
        return 0
    earliest, latest = max(low for low, _ in bounds), min(high for _, high in bounds)
    return (earliest + latest) // 2


def _label(fact: dict[str, Any]) -> Label:
    if fact["kind"] == "overload":
        return Label("server_overload", frozenset({"server_overload"}))
    causes = list(fact["causes"])
    return Label(causes[0], frozenset(causes))


def request_number(request_id: str) -> int:
    """Return the number by which samples name a request."""
    try:
        return int(request_id, 16) & 0xFFFF_FFFF_FFFF_FFFF
    except ValueError:
        return 0


def _tricks(folder: Path, start_ns: int) -> Iterable[tuple[int, int, str]]:
    file = folder / "tricks.jsonl"
    told = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for begun, ended in zip(told[::2], told[1::2], strict=False):
        yield begun["at_ns"] - start_ns, ended["at_ns"] - start_ns, begun["cause"]


def _faults(record: RunRecord) -> Iterable[tuple[str, int, int]]:
    begun: dict[str, tuple[str, int]] = {}
    for change in record.of(FaultChanged):
        if change.step == FaultStep.OPENED:
            begun[change.entry] = (change.experiment, change.at_ns)
        elif change.step == FaultStep.VERIFIED and change.entry in begun:
            name, from_ns = begun.pop(change.entry)
            yield name, from_ns, change.at_ns
    for name, from_ns in begun.values():
        yield name, from_ns, record.end_ns


def labels_of(failures: Failures, truth: Truth) -> list[Label | None]:
    """Return the truth about each failure; None where there is none to be had (it is not counted)."""
    return [_truth_about(failures, index, truth) for index in range(len(failures))]


def _truth_about(failures: Failures, index: int, truth: Truth) -> Label | None:
    outcome = failures.texts[int(failures.outcome[index])]
    from_ns, to_ns = int(failures.sent_ns[index]), int(failures.at_ns[index])
    tricks = [name for start, end, name in truth.tricks if start <= to_ns and from_ns <= end + S]
    if not failures.is_window[index]:
        label = truth.by_request.get(int(failures.request_id[index]))
        if label is not None and outcome in NO_ANSWER and tricks:  # whatever was said did not arrive
            return Label(tricks[0], label.held | frozenset(tricks))
        if label is not None:
            return label
        if outcome in BY_OUTCOME:
            return Label(BY_OUTCOME[outcome], frozenset({BY_OUTCOME[outcome]}))
        if tricks:
            return Label(tricks[0], frozenset(tricks))
        return None
    if outcome in BY_OUTCOME:
        return Label(BY_OUTCOME[outcome], frozenset({BY_OUTCOME[outcome]}))
    causes = [
        cause
        for fault in truth.faults_at(from_ns if _waited(outcome) else to_ns - BEFORE_NS, to_ns, AFTER_NS)
        for cause in TO_WINDOWS.get(fault, ())
    ]
    if outcome == Outcome.PENDING_NO_START:  # nothing that stops frames keeps a port from opening
        causes = [cause for cause in causes if cause not in OF_STREAMS]
    ran_ns = truth.slow.get(int(failures.window[index]))
    if ran_ns is not None:
        first = not truth.faults_at(from_ns, ran_ns + SLOW_NS)
        causes = ["pod_start_failed", *causes] if first else [*causes, "pod_start_failed"]
    if int(failures.window[index]) in truth.idle:
        causes.append("idle_cleanup")
    held = frozenset([*causes, *tricks])
    if not held:
        return None
    return Label((tricks or causes)[0], held)


def _waited(outcome: str) -> bool:
    return outcome in (Outcome.PENDING_NO_START, Outcome.STREAM_NO_FRAME)


def edges_ns(truth: Truth) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the instants at which something changed: a fault came or went."""
    ends = [edge for _, start, end in truth.faults for edge in (start, end)]
    ends += [edge for start, end, _ in truth.tricks for edge in (start, end)]
    return np.array(sorted(ends), dtype=np.int64)
