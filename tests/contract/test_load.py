"""The load as its users start it: Locust in a child process, its engine, and a Focus Server that keeps count.

Load code never runs inside the test process: importing Locust would patch it.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest

from harness.campaign.model import Persona
from harness.focus.arrivals import Arrivals, Stretch, instants_ns
from harness.focus.endpoint import Endpoint, Timeouts
from harness.focus.seam import Budget, Payload
from harness.history.events import (
    ArrivalsPlanned,
    LoadState,
    Note,
    Outcome,
    ProcessEnded,
    RunEnded,
    ScenarioSuspended,
    WindowAccepted,
    WindowClosed,
)
from harness.history.reader import History, read_history
from harness.history.run import read_run
from harness.load.plan import PERSONAS, LoadPlan, Step, write_plan

ROOT = Path(__file__).parents[2]
FAKE = ROOT / "tests" / "unit" / "load" / "fake_focus.py"
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith(("HARNESS_", "LOCUST_"))},
    "PYTHONPATH": str(ROOT),
}
LOCUST = [sys.executable, "-m", "locust", "-f", str(ROOT / "locustfile.py")]
OPENING = {"POST /configure", "window ready", "first frame"}


class Fake:
    """A scripted Focus Server in a process of its own; `count()` ends it and says what it saw."""

    def __init__(self, **script: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(FAKE), json.dumps(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=ENVIRONMENT,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url.startswith("http://")

    def count(self) -> dict[str, int]:
        out, _ = self._process.communicate("", timeout=10)
        counted: dict[str, int] = json.loads(out)
        return counted

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def fake() -> Iterator[Any]:
    made: list[Fake] = []

    def make(**script: Any) -> Fake:
        made.append(Fake(**script))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def _hears_ctrl_c() -> None:
    """Whatever started the tests (a background job ignores SIGINT, and so do its children)."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def child(command: list[str], **more: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**ENVIRONMENT, **more},
        preexec_fn=_hears_ctrl_c,  # noqa: PLW1509  (no thread of ours is in it)
    )
    try:
        yield process
    finally:
        # A test that failed: whoever else holds the pipe goes too, or it would be read for ever.
        if process.poll() is None:
            left = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            for one in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        process.communicate(timeout=20)


def run(command: list[str], **more: str) -> tuple[int, str]:
    with child(command, **more) as process:
        out, _ = process.communicate(timeout=60)
        return process.returncode, out


def the_run(reports: Path) -> Path:
    (folder,) = reports.iterdir()
    return folder


def of(history: History, kind: type[Any]) -> list[Any]:
    return [record.event for record in history.events if isinstance(record.event, kind)]


def engines(parent: int) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(parent).children(recursive=True)
        if "harness.engine" in process.cmdline()
    ]


def plan_file(folder: Path, url: str, **more: Any) -> Path:
    file = folder / "plan.json"
    write_plan(
        LoadPlan(
            **{
                "endpoint": Endpoint(url=url, timeouts=Timeouts(connect_s=2, read_s=5, ready_s=5)),
                "payload": Payload(duration_s=2, height=40, channels=9),
                "stages": (Step(0, 3),),
                "hold_s": (60.0, 60.0),
                "history": str(folder / "history"),
                "clock_start_ns": time.monotonic_ns(),
                **more,
            }
        ),
        file,
    )
    return file


def test_locust_alone_headless_plays_live_and_historic_windows_and_leaves_nothing(
    fake: Any, tmp_path: Path
) -> None:
    server = fake(limit=3, recordings=[[1000.4, 1040.6], [1039, -1]])
    command = [*LOCUST, "--headless", "--host", server.url, "-u", "5", "-r", "50", "-t", "60s"]
    command += ["--hold", "300ms..600ms", "--after-refusal", "100ms", "--reports", str(tmp_path)]
    with child([*command, "--only-summary", "--creates-in-flight", "2"]) as locust:
        _eventually(lambda: _says(the_run(tmp_path) / "history", '"outcome":"streaming"', 3))
        _eventually(lambda: _says(the_run(tmp_path) / "history", '"outcome":"complete"', 3))
        locust.send_signal(signal.SIGTERM)
        out, _ = locust.communicate(timeout=20)
        assert locust.returncode == 0, out
    for row in ("POST /configure", "window ready", "first frame", "stream", "POST /recordings_in_time_range"):
        assert re.search(rf"{row}\s+\d+", out), out
    folder = the_run(tmp_path)
    assert read_run(folder).exit_code == 0
    history = read_history(folder / "history")
    assert not history.damage
    assert of(history, RunEnded)
    ended = {event.outcome for event in of(history, WindowClosed)}
    assert {Outcome.STREAMING, Outcome.COMPLETE} <= ended
    assert ended <= {Outcome.STREAMING, Outcome.COMPLETE, Outcome.CANCELLED}
    attempts = history.samples["attempts"]
    outcomes = {attempts.texts[number] for number in attempts.rows["outcome"]}
    assert outcomes == {"accepted", "unavailable_503", "ok"}
    counted = server.count()
    # What is left can only be a job whose window was closed before its stream was asked for.
    assert counted["left"] <= sum(event.outcome is Outcome.CANCELLED for event in of(history, WindowClosed))
    assert counted["peak"] <= 2
    configured = attempts.rows["operation"] == attempts.number("configure")
    assert counted["posts"] == configured.sum()
    assert max(event.wanted for event in of(history, LoadState)) == 5


def fates(history: History) -> dict[str, int]:
    arrivals = history.samples["arrivals"]
    told: dict[str, int] = {}
    for row in arrivals.rows:
        name = arrivals.texts[row["fate"]]
        told[name] = told.get(name, 0) + int(row["count"])
    return told


def test_locust_alone_plays_open_arrivals_and_shows_both_latencies(fake: Any, tmp_path: Path) -> None:
    """A server that needs 0.5 s for each gets ten a second all the same, from the one user that plays the plan."""
    server = fake(latency_s=0.5, answer="503 ")
    command = [*LOCUST, "--headless", "--host", server.url, "-u", "1", "-t", "6s", "--only-summary"]
    code, out = run([*command, "--rate", "10", "--arrival-process", "constant", "--reports", str(tmp_path)])
    assert code == 0, out
    assert re.search(r"POST /configure\s+\d+", out), out
    assert "POST /configure, as planned" in out
    history = read_history(the_run(tmp_path) / "history")
    (plan,) = of(history, ArrivalsPlanned)
    told = fates(history)
    assert sum(told.values()) == plan.planned == 30
    assert told["sent"] >= 20
    arrivals = history.samples["arrivals"].rows
    sent = arrivals[arrivals["sent_ns"] > 0]
    assert set(sent["intended_ns"][1:] - sent["intended_ns"][:-1]) == {100_000_000}
    assert server.count()["posts"] == told["sent"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rate", "0"], "no stretch has a rate above 0"),
        (["--rate", "-3"], "no number of arrivals per second"),
        (["--rate", "99"], "max_rate_per_s"),
        (["--rate", "1", "-t", "2s"], "let the load last longer"),
        (["PlannedArrivals"], "give --rate"),
    ],
)
def test_a_rate_that_makes_no_sense_is_refused_with_2(
    fake: Any, tmp_path: Path, options: list[str], words: str
) -> None:
    server = fake()
    command = [*LOCUST, "--headless", "--host", server.url, "-u", "1", "--reports", str(tmp_path)]
    code, out = run([*command, *options])
    assert (code, words in out) == (2, True), out
    assert server.count()["posts"] == 0


def test_a_plan_plays_arrivals_beside_users_and_what_is_left_at_its_end_is_not_offered(
    fake: Any, tmp_path: Path
) -> None:
    server = fake()
    arrivals = Arrivals(stretches=(Stretch(2, 600, 5, 5),), seed=4)
    file = plan_file(
        tmp_path, server.url, stages=(Step(0, 2),), arrivals=arrivals, hold_s=(0.3, 0.3), end_s=None
    )
    with child([sys.executable, "-m", "harness.load", "--plan", str(file)]) as load:
        _eventually(lambda: _says(tmp_path / "history", '"outcome":"streaming"', 8))
        _eventually(lambda: "sent" in fates(read_history(tmp_path / "history")))
        load.send_signal(signal.SIGTERM)
        out, _ = load.communicate(timeout=20)
        assert load.returncode == 0, out
    history = read_history(tmp_path / "history")
    told = fates(history)
    assert sum(told.values()) == len(instants_ns(arrivals))
    assert set(told) == {"sent", "ended"}
    attempts = history.samples["attempts"].rows
    planned = attempts["intended_ns"] != attempts["sent_ns"]
    assert planned.sum() == told["sent"]
    assert (~planned).sum() > 0, "the two users' windows"
    assert len(set(attempts["window"])) == len(attempts), "no window of one is one of the other"


def test_arrivals_behind_a_gate_begin_when_it_says_so_and_end_when_it_is_closed(
    fake: Any, tmp_path: Path
) -> None:
    """However long a load takes to start: its arrivals come at their distances from the second that is written into the gate."""
    server = fake()
    gate, began_ns = tmp_path / "gate", time.monotonic_ns()
    file = plan_file(
        tmp_path,
        server.url,
        stages=(),
        arrivals=Arrivals(process="constant", stretches=(Stretch(0, 1, 5, 5), Stretch(30, 31, 5, 5))),
        arrivals_gate=str(gate),
        clock_start_ns=began_ns,
        hold_s=(0.3, 0.3),
    )
    with child([sys.executable, "-m", "harness.load", "--plan", str(file)]) as load:
        _eventually((tmp_path / "gate.ready").exists)
        time.sleep(0.5)
        begin_s = (time.monotonic_ns() - began_ns) / 1e9 + 0.3
        gate.write_text(repr(begin_s))
        _eventually(lambda: _says(tmp_path / "history", '"outcome":"streaming"', 5))
        (tmp_path / "gate.closed").touch()
        _eventually(lambda: fates(read_history(tmp_path / "history")) == {"sent": 5, "ended": 5})
        load.send_signal(signal.SIGTERM)
        out, _ = load.communicate(timeout=20)
        assert load.returncode == 0, out
    rows = read_history(tmp_path / "history").samples["arrivals"].rows
    sent = (rows["intended_ns"][rows["sent_ns"] > 0] / 1e9 - begin_s).tolist()
    assert sent == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])


def test_an_engine_opens_as_many_connections_as_the_system_lets_it(fake: Any, tmp_path: Path) -> None:
    """A shell's usual soft limit on open files is no limit on windows."""
    server = fake()
    file = plan_file(tmp_path, server.url, stages=(Step(0, 30),), hold_s=(60, 60), creates_in_flight=12)
    limited = "import resource, runpy, sys; _, most = resource.getrlimit(resource.RLIMIT_NOFILE); resource.setrlimit(resource.RLIMIT_NOFILE, (24, most)); sys.argv[0] = 'load'; runpy.run_module('harness.load', run_name='__main__')"
    with child([sys.executable, "-c", limited, "--plan", str(file)]) as load:
        _eventually(lambda: _says(tmp_path / "history", '"kind":"first_frame"', 30))
        load.send_signal(signal.SIGTERM)
        out, _ = load.communicate(timeout=20)
        assert load.returncode == 0, out


NAMES = "from harness.load.users import PERSONAS; print(*PERSONAS)"


def test_campaigns_plans_and_users_know_the_same_personas() -> None:
    code, out = run([sys.executable, "-c", NAMES])
    assert code == 0, out
    assert tuple(out.split()) == PERSONAS == get_args(Persona)


def test_every_persona_plays_its_part(fake: Any, tmp_path: Path) -> None:
    """One user of each kind: what each asks for and how its windows end."""
    server = fake(recordings=[[1000.4, 1040.6]])
    file = plan_file(
        tmp_path,
        server.url,
        stages=(Step(0, len(PERSONAS)),),
        personas=dict.fromkeys(PERSONAS, 1.0),
        hold_s=(1.0, 1.5),
        after_refusal_s=0.2,
    )
    with child([sys.executable, "-m", "harness.load", "--plan", str(file)]) as load:
        _eventually(lambda: _says(tmp_path / "history", '"outcome":"abandoned"', 1))
        _eventually(lambda: _says(tmp_path / "history", '"outcome":"complete"', 1))
        _eventually(lambda: _says(tmp_path / "history", '"outcome":"streaming"', 8))
        load.send_signal(signal.SIGTERM)
        out, _ = load.communicate(timeout=20)
        assert load.returncode == 0, out
    history = read_history(tmp_path / "history")
    persona = {event.window: event.persona for event in of(history, WindowAccepted)}
    ends: dict[str, set[str]] = {}
    for closed in of(history, WindowClosed):
        if closed.outcome is not Outcome.CANCELLED:
            ends.setdefault(persona[closed.window], set()).add(closed.outcome.value)
    assert ends.pop("abandoner") == {"abandoned"}
    assert "complete" in ends.pop("historic_analyst")
    assert set(ends) == {"live_viewer", "single_channel", "churner", "slow_reader", "zombie"}
    assert set().union(*ends.values()) == {"streaming"}
    attempts = history.samples["attempts"]
    told = {(attempts.texts[row["operation"]], attempts.texts[row["outcome"]]) for row in attempts.rows}
    assert ("configure_invalid", "ok") in told
    assert ("configure", "parse_500") in told, "the waterfall watcher"
    assert {("live_metadata", "ok"), ("channels", "ok")} <= told
    assert ("configure_invalid", "failed") not in told
    asked = [operation for operation, _ in told]
    assert asked.count("recordings_in_time_range") == 1
    probes = attempts.rows["operation"] == attempts.number("recordings_in_time_range")
    assert probes.sum() == 1, "one probe, however many recordings are played"


def test_an_invalid_create_that_is_accepted_is_reported(fake: Any, tmp_path: Path) -> None:
    server = fake(lenient=True)
    command = [*LOCUST, "--headless", "--host", server.url, "-u", "1", "-t", "6s", "--only-summary"]
    code, out = run([*command, "--after-refusal", "100ms", "--reports", str(tmp_path), "InvalidClient"])
    assert code == 0, out
    assert "POST /configure, invalid" in out
    history = read_history(the_run(tmp_path) / "history")
    notes = [note.text for note in of(history, Note)]
    assert any("an invalid create was accepted" in text for text in notes)


def test_the_web_page_starts_and_stops_the_load_as_often_as_asked(fake: Any, tmp_path: Path) -> None:
    server = fake()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page = f"http://127.0.0.1:{port}"
    command = [*LOCUST, "--host", server.url, "--web-host", "127.0.0.1", "--web-port", str(port)]
    with child([*command, "--reports", str(tmp_path), "LiveViewer"]) as locust:
        for number in (1, 2):
            _eventually(lambda: _post(f"{page}/swarm", user_count=2, spawn_rate=10))
            _eventually(lambda: _has_rows(page, OPENING))
            assert len(engines(locust.pid)) == 1
            _post(f"{page}/stop")
            _eventually(lambda: _none(engines(locust.pid)))
            _eventually(lambda: _has_rows(page, {*OPENING, "stream"}))
            assert len(list(tmp_path.iterdir())) == number
        locust.send_signal(signal.SIGINT)
        assert locust.wait(timeout=20) == 0
    for folder in tmp_path.iterdir():
        history = read_history(folder / "history")
        assert len(of(history, WindowAccepted)) == len(of(history, WindowClosed)) == 2
        assert read_run(folder).exit_code == 0
    assert server.count()["left"] == 0


def test_a_plan_is_followed_and_sigterm_drains_within_ten_seconds(fake: Any, tmp_path: Path) -> None:
    server = fake()
    file = plan_file(tmp_path, server.url, stages=(Step(0, 3), Step(7, 1)), clock_start_ns=0)
    with child([sys.executable, "-m", "harness.load", "--plan", str(file)]) as load:
        _eventually(lambda: _says(tmp_path / "history", '"wanted":1}'))
        asked = time.monotonic()
        load.send_signal(signal.SIGTERM)
        out, _ = load.communicate(timeout=30)
        assert time.monotonic() - asked < 10
        assert load.returncode == 0, out
    history = read_history(tmp_path / "history")
    states = of(history, LoadState)
    assert {state.wanted for state in states} == {3, 1}
    assert {state.streams_open for state in states} >= {3, 1}
    assert {event.outcome for event in of(history, WindowClosed)} == {Outcome.STREAMING}
    assert {event.process for event in of(history, ProcessEnded)} == {"load-1", "engine-1"}
    assert server.count()["left"] == 0


def test_when_the_load_is_killed_the_engine_closes_its_windows_and_ends(fake: Any, tmp_path: Path) -> None:
    server = fake()
    file = plan_file(tmp_path, server.url)
    with child([sys.executable, "-m", "harness.load", "--plan", str(file)]) as load:
        _eventually(lambda: _open(tmp_path / "history", 3))
        (engine,) = engines(load.pid)
        load.kill()
        assert not psutil.wait_procs([engine], timeout=10)[1]
    history = read_history(tmp_path / "history")
    assert not history.damage
    assert [event.outcome for event in of(history, WindowClosed)] == [Outcome.STREAMING] * 3
    assert server.count()["left"] == 0


def test_when_the_engine_dies_its_canary_ends_and_the_load_says_so_and_fails(
    fake: Any, tmp_path: Path
) -> None:
    server = fake()
    file = plan_file(tmp_path, server.url)
    with child([sys.executable, "-m", "harness.load", "--plan", str(file)]) as load:
        _eventually(lambda: _open(tmp_path / "history", 3))
        (engine,) = engines(load.pid)
        canaries = [one for one in engine.children() if "harness.engine.canary" in one.cmdline()]
        assert len(canaries) == 1
        engine.kill()
        assert not psutil.wait_procs(canaries, timeout=10)[1]
        out, _ = load.communicate(timeout=20)
        assert load.returncode == 70, out
    notes = [event.text for event in of(read_history(tmp_path / "history"), Note) if event.level == "error"]
    assert any("engine" in text for text in notes), notes


def test_the_budget_ends_the_load_with_a_clear_message(fake: Any, tmp_path: Path) -> None:
    server = fake()
    file = plan_file(tmp_path, server.url, budget=Budget(max_jobs=4), hold_s=(0.1, 0.1), end_s=60.0)
    code, out = run(
        [*LOCUST, "--headless", "--only-summary", "--reports", str(tmp_path / "reports")],
        HARNESS_PLAN=str(file),
    )
    assert code == 0, out
    assert "max_jobs: 4 jobs were made" in out
    assert "max_jobs" in read_run(the_run(tmp_path / "reports")).exit_reason
    assert server.count()["posts"] == 4


def test_a_row_of_refusals_is_answered_with_patience(fake: Any, tmp_path: Path) -> None:
    server = fake(answer="503 ")
    more = {"suspend_after": 6, "suspend_s": 1.0, "after_refusal_s": 0.05}
    file = plan_file(tmp_path, server.url, **more)
    with child([sys.executable, "-m", "harness.load", "--plan", str(file)]) as load:
        _eventually(lambda: _says(tmp_path / "history", '"scenario_suspended"', 3, "load-1"))
        load.send_signal(signal.SIGTERM)
        out, _ = load.communicate(timeout=20)
        assert load.returncode == 0, out
    suspended = of(read_history(tmp_path / "history"), ScenarioSuspended)
    assert suspended[0].refusals == 6
    assert suspended[0].outcome is Outcome.UNAVAILABLE_503
    counts = [event.refusals for event in suspended]
    assert counts == sorted(set(counts))
    assert 6 < server.count()["posts"] < 20  # without patience: about 250


@pytest.mark.parametrize(
    ("arguments", "more", "code", "words"),
    [
        (["--host", "http://127.0.0.1:9", "--hold", "5"], {}, 2, "--hold"),
        ([], {"HARNESS_TARGET": "no-such-target"}, 2, "known targets"),
        (["--host", "http://127.0.0.1:9", "--feed", "no-such.jsonl"], {}, 2, "cannot be read"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    arguments: list[str], more: dict[str, str], code: int, words: str, tmp_path: Path
) -> None:
    ended, out = run([*LOCUST, "--headless", "--reports", str(tmp_path / "reports"), *arguments], **more)
    assert ended == code, out
    assert words in out
    assert not (tmp_path / "reports").exists()


def test_a_record_that_cannot_be_written_is_not_swallowed(fake: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [*LOCUST, "--headless", "--host", fake().url, "-u", "1", "--only-summary"]
    code, out = run([*command, "--reports", str(tmp_path / "file" / "reports")])
    assert code == 6, out
    assert "cannot make the run's folder" in out


def test_the_locustfile_imports_no_grpc_and_exports_users_and_shape() -> None:
    classes = ["".join(word.title() for word in name.split("_")) for name in PERSONAS]
    exported = sorted([*classes, "CampaignShape", "PlannedArrivals"])
    look = "import sys, locust, locustfile as f; print(*f.__all__, 'grpc' in sys.modules, f.CampaignShape.abstract)"
    code, out = run([sys.executable, "-c", look])
    assert (code, out.strip()) == (0, f"{' '.join(exported)} False True")


def _eventually(check: Any, within_s: float = 45.0) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            check()
        except (AssertionError, OSError, ValueError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _post(url: str, **form: int) -> None:
    urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), timeout=20).close()


def _rows(page: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{page}/stats/requests", timeout=10) as answer:
        stats = json.load(answer)["stats"]
    return {row["name"]: row["num_requests"] for row in stats}


def _has_rows(page: str, names: set[str]) -> None:
    assert set(_rows(page)) - {"Aggregated"} == names  # the page is up to two seconds behind


def _none(found: list[Any]) -> None:
    assert not found


def _open(history: Path, windows: int) -> None:
    _says(history, '"first_frame"', windows)


def _says(history: Path, words: str, times: int = 1, writer: str = "engine-1") -> None:
    assert (history / f"{writer}.events.jsonl").read_text().count(words) >= times
