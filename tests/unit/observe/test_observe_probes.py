"""Probes against small real servers: up, down, slow, never seen, and a process that stood still."""

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.clock import SECOND_NS, ManualClock, SystemClock
from harness.history.events import AnyEvent, DependencySeen, LogLineSeen, WatcherState
from harness.history.reader import read_history
from harness.history.writer import HistoryWriter
from harness.observe import Watchers, start
from harness.observe.logs import LINES_PER_S, LineBudget
from harness.observe.notebook import REPEAT_NS, Notebook
from harness.observe.probes import CannotSee, FocusProbe, MongoProbe, NoAnswer, Probe
from harness.target.model import Target

HEALTHY = {"prr": 2000.0, "sw_version": "11.17"}
WAITING = {"prr": 0.0, "sw_version": "waiting for fiber"}


class Site(http.server.BaseHTTPRequestHandler):
    """A Focus Server of a few lines; `answers` says what each path gives."""

    answers: dict[str, tuple[int, Any]] = {}  # noqa: RUF012
    headers_seen: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        status, body = self.answers[self.path]
        self.headers_seen.append(self.headers.get("X-Site", ""))
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@contextmanager
def site() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/focus-server"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def target(url: str, **more: Any) -> Target:
    return Target.model_validate(
        {"schema": 1, "name": "t", "url": url, "kube": "none", "max_windows": "unknown", **more}
    )


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[tuple[Notebook, Callable[[], list[AnyEvent]], ManualClock]]:
    clock = ManualClock()
    notebook = Notebook(HistoryWriter(tmp_path, "watchers"), clock)
    yield notebook, lambda: [record.event for record in read_history(tmp_path).events], clock
    notebook.close()


def test_focus_server_is_up_while_it_answers_and_the_fibre_is_asked_for_too(notes: Any) -> None:
    notebook, events, _ = notes
    with site() as url:
        probe = FocusProbe(target(url, headers={"X-Site": "a"}), notebook)
        Site.answers = {"/focus-server/ack": (200, {}), "/focus-server/live_metadata": (200, HEALTHY)}
        probe.ask()
        Site.answers["/focus-server/live_metadata"] = (200, WAITING)
        probe.ask()
        probe.ask()
        Site.answers["/focus-server/ack"] = (503, {})
        with pytest.raises(NoAnswer, match="503"):
            probe.ask()
    assert "a" in Site.headers_seen
    fibre = [event.up for event in events() if isinstance(event, DependencySeen)]
    assert fibre == [True, False]


def test_a_dependency_is_written_on_change_every_ten_seconds_and_every_second_while_it_is_down(
    notes: Any,
) -> None:
    notebook, events, clock = notes
    for up in (True, True, False, False, False, True):
        notebook.dependency("mongodb", up=up, at_ns=clock.now())
        clock.advance(SECOND_NS)
    clock.advance(REPEAT_NS)
    notebook.dependency("mongodb", up=True, at_ns=clock.now())
    written = [(event.up, event.at_ns // SECOND_NS) for event in events()]
    assert written == [(True, 0), (False, 2), (False, 3), (False, 4), (True, 5), (True, 16)]


def test_a_probe_asks_on_its_beat_and_leaves_out_missed_ones(notes: Any) -> None:
    notebook, _, clock = notes
    asked: list[int] = []

    class Beat(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            clock.advance(round((timeout or 0) * SECOND_NS))
            return self.is_set()

    stop = Beat()

    def ask() -> None:
        asked.append(clock.now() // (SECOND_NS // 10))
        if len(asked) == 2:
            clock.advance(2 * SECOND_NS + SECOND_NS // 2)  # this answer takes 2.5 s
        if len(asked) == 5:
            stop.set()

    Probe("x", ask).run(notebook, stop)
    assert asked == [0, 10, 40, 50, 60]


def test_what_never_answered_from_here_is_unseen_and_not_down(notes: Any) -> None:
    notebook, events, _ = notes
    answers = iter([False, False, True, False])
    stop = threading.Event()

    def ask() -> None:
        answer = next(answers)
        if not answer:
            raise NoAnswer("refused")

    probe = Probe("mongodb", ask, must_have_answered=True)
    answered = False
    for _ in range(4):
        answered = probe._once(notebook, answered)
    stop.set()
    kinds = [
        (type(event).__name__, event.seeing if isinstance(event, WatcherState) else event.up)
        for event in events()
    ]
    assert kinds == [
        ("WatcherState", False),
        ("WatcherState", True),
        ("DependencySeen", True),
        ("DependencySeen", False),
    ]


def test_mongodb_out_of_reach_is_noticed_within_about_a_second() -> None:
    probe = MongoProbe(f"mongodb://127.0.0.1:{free_port()}/?directConnection=true")
    began = SystemClock.start()
    with pytest.raises(Exception, match="refused"):
        probe.ask()
    probe.close()
    assert began.now() < 3 * SECOND_NS


def test_a_process_that_stood_still_says_that_nobody_looked(notes: Any) -> None:
    notebook, events, clock = notes
    notebook.seeing("pods", seeing=True)
    notebook.seeing("logs", seeing=False, detail="forbidden")
    clock.advance(20 * SECOND_NS)
    notebook.blinked(12 * SECOND_NS)
    clock.advance(SECOND_NS)
    notebook.caught_up()
    states = [(event.watcher, event.seeing, event.at_ns // SECOND_NS) for event in events()]
    assert states == [("pods", True, 0), ("logs", False, 0), ("pods", False, 12), ("pods", True, 21)]


def test_a_question_that_outlasts_its_own_timeouts_tells_of_us_and_not_of_the_dependency(notes: Any) -> None:
    notebook, events, clock = notes

    def ask() -> None:
        clock.advance(7 * SECOND_NS)  # the process stood still meanwhile
        raise TimeoutError("timed out")

    probe = Probe("mongodb", ask)
    probe._once(notebook, True)
    [state] = events()
    assert isinstance(state, WatcherState)
    assert not state.seeing


def test_what_cannot_be_asked_is_unseen_and_what_is_denied_is_down(notes: Any) -> None:
    notebook, events, _ = notes
    answers = iter([CannotSee("403"), NoAnswer("focus-server may not create jobs")])

    def ask() -> None:
        raise next(answers)

    probe = Probe("server_rights", ask)
    for _ in range(2):
        probe._once(notebook, True)
    kinds = [
        (type(event).__name__, event.seeing if isinstance(event, WatcherState) else event.up)
        for event in events()
    ]
    assert kinds == [("WatcherState", False), ("WatcherState", True), ("DependencySeen", False)]


def test_a_dependency_that_has_become_slow_is_written_again(notes: Any) -> None:
    notebook, events, clock = notes
    for latency_ms in (5, 6, 400, 420, 5):
        clock.advance(SECOND_NS)
        notebook.dependency("mongodb", up=True, at_ns=clock.now(), latency_ns=latency_ms * 1_000_000)
    assert [event.latency_ns // 1_000_000 for event in events()] == [5, 400, 5]


def test_a_watcher_that_fails_says_so_and_is_begun_anew(tmp_path: Path) -> None:
    notebook = Notebook(HistoryWriter(tmp_path, "watchers"), SystemClock.start())
    stop, seen = threading.Event(), threading.Event()
    tries = iter([KeyError("metadata"), None])

    def run() -> None:
        if (error := next(tries)) is not None:
            raise error
        notebook.seeing("pods", seeing=True)
        seen.set()

    watchers = Watchers(notebook, stop, [("pods", run)])
    assert seen.wait(5)
    watchers.stop()
    states = [record.event for record in read_history(tmp_path).events]
    assert [state.seeing for state in states if isinstance(state, WatcherState)] == [False, True]
    assert "KeyError: 'metadata'" in getattr(states[0], "detail", "")


def test_lines_beyond_the_budget_are_counted_not_kept() -> None:
    clock = ManualClock()
    budget = LineBudget(clock.now)
    kept = [budget.take()[0] for _ in range(LINES_PER_S + 7)]
    assert sum(kept) == LINES_PER_S
    clock.advance(SECOND_NS)
    assert budget.take() == (True, 7)
    assert budget.take() == (True, 0)


def test_without_a_cluster_its_watchers_say_that_they_cannot_see(tmp_path: Path) -> None:
    with site() as url:
        Site.answers = {"/focus-server/ack": (200, {}), "/focus-server/live_metadata": (200, HEALTHY)}
        clock = SystemClock.start()
        watchers = start(target(url), None, HistoryWriter(tmp_path, "watchers"), clock)
        while "fibre" not in watchers.health() and clock.now() < 5 * SECOND_NS:
            threading.Event().wait(0.01)
        health = watchers.health()
        watchers.stop()
        watchers.stop()
    assert not health["pods"].seeing
    assert "kube: none" in health["pods"].detail
    assert health["focus_server"].seeing
    seen = [record.event for record in read_history(tmp_path).events]
    assert any(
        isinstance(event, DependencySeen) and event.dependency == "fibre" and event.up for event in seen
    )


def test_a_full_disk_makes_the_watchers_blind_and_does_not_end_them() -> None:
    writer = HistoryWriter(Path("/dev/shm") / f"observe-{free_port()}", "watchers")
    try:
        writer._events.close()
        writer._events = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
        notebook = Notebook(writer, ManualClock())
        notebook.seeing("pods", seeing=True)
        notebook.append(LogLineSeen(at_ns=1, pod="f", text="x"))
        assert not notebook.health()["pods"].seeing
        assert "space" in notebook.health()["pods"].detail
        notebook.close()
    finally:
        for file in writer._folder.iterdir():
            file.unlink()
        writer._folder.rmdir()
