"""Stop conditions, whole: a run that must not go on is ended with its fault undone, and one that must not begin injects nothing."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.clock import seconds
from harness.errors import Exit
from harness.history.events import (
    ConditionState,
    FaultChanged,
    FaultStep,
    ProcessStarted,
    StopConditionChanged,
)
from harness.history.reader import History, read_history
from tests.campaigns.conftest import Rehearsal
from tests.campaigns.test_campaign import cordoned

pytestmark = pytest.mark.timeout(180)

CAMPAIGN = """\
schema: 1
name: guarded
warm_up: 1s
duration: 80s
drain: 20s
load:
  stages: [{at: 0s, open_windows: 6}]
  hold: {min: 2s, max: 3s}
  after_refusal: 300ms
  storm: true
timeline:
  - {experiment: cordon-worker, at: AT, hold: 60s, with: {nodes: all}}
gates:
  - {name: many windows were streamed, measure: windows, op: ">=", limit: 1000}
stop_when:
"""


def campaign(folder: Path, condition: str, at: str = "8s") -> str:
    file = folder / "guarded.yaml"
    file.write_text(CAMPAIGN.replace("AT", at) + f"  - {condition}\n")
    return str(file)


def changes(history: History, kind: type[StopConditionChanged] | type[FaultChanged]) -> list[object]:
    return [record.event for record in history.events if isinstance(record.event, kind)]


class Page(ThreadingHTTPServer):
    """A health page whose answer a test changes."""

    status = 200


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Page)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[Page]:
    with Page(("127.0.0.1", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_condition_that_holds_during_a_fault_ends_the_run_with_10_and_the_fault_is_undone(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    condition = '{name: too many refusals, measure: ratio_503, op: ">", limit: 0.9, for: 3s, min_samples: 5}'
    done = rehearsal.run("run", campaign(tmp_path, condition), "--out", str(out))
    assert done.returncode == Exit.FAILED, done.stdout + done.stderr
    assert cordoned(rehearsal) == []
    history = read_history(out / "history")
    told = [
        event for event in changes(history, StopConditionChanged) if isinstance(event, StopConditionChanged)
    ]
    assert [event.state for event in told if not event.ended][:2] == [
        ConditionState.CLEAR,
        ConditionState.HOLDS,
    ]
    held = next(event for event in told if event.state is ConditionState.HOLDS)
    ended = next(event for event in told if event.ended)
    assert held.value is not None
    assert held.value > 0.9
    assert 3.0 <= seconds(ended.at_ns - held.at_ns) < 4.5
    steps = {e.step: e.at_ns for e in changes(history, FaultChanged) if isinstance(e, FaultChanged)}
    assert FaultStep.VERIFIED in steps
    undone_s = seconds(steps[FaultStep.UNDONE] - ended.at_ns)
    assert undone_s < 5.0, f"the fault was in for {undone_s:.2f} s after the condition had ended the run"
    verdict = json.loads((out / "verdict.json").read_text())
    assert (verdict["verdict"], verdict["exit_code"]) == ("failed", 10)
    assert verdict["reason"].startswith("stop condition 'too many refusals' held for 3 s: ratio_503 over 3 s")
    assert "gate not reached, the run was cut short: many windows" in str(verdict["reasons"])
    assert not json.loads((out / "findings.json").read_text())["incomplete"]
    assert verdict["reason"].split(":")[0] in " ".join(done.stdout.split())
    assert "Stop conditions" in (out / "report.html").read_text()
    again = rehearsal.run("judge", str(out))
    assert again.returncode == Exit.FAILED
    assert json.loads((out / "verdict.json").read_text()) == verdict


def test_a_condition_that_holds_before_the_first_injection_is_a_no_go(
    rehearsal: Rehearsal, tmp_path: Path, page: Page
) -> None:
    page.status = 503
    out = tmp_path / "run"
    condition = f'{{name: health page, http: "http://127.0.0.1:{page.server_port}/health", for: 60s}}'
    done = rehearsal.run("run", campaign(tmp_path, condition), "--out", str(out))
    assert done.returncode == Exit.FAILED, done.stdout + done.stderr
    assert "no-go: stop condition 'health page' holds before the first" in " ".join(done.stdout.split())
    history = read_history(out / "history")
    assert not changes(history, FaultChanged)
    assert not [
        r for r in history.events if isinstance(r.event, ProcessStarted) and "chaos" in r.event.process
    ]


def test_a_page_that_fails_while_the_chaos_process_waits_is_a_no_go_too(
    rehearsal: Rehearsal, tmp_path: Path, page: Page
) -> None:
    out = tmp_path / "run"
    condition = f'{{name: health page, http: "http://127.0.0.1:{page.server_port}/health", for: 60s}}'
    running = rehearsal.start("run", campaign(tmp_path, condition), "--out", str(out))
    started = threading.Event()
    for _ in range(600):
        conductor = out / "history" / "conductor.events.jsonl"
        if conductor.exists() and '"process":"chaos-1"' in conductor.read_text():
            break
        started.wait(0.05)
    page.status = 500
    told, complained = running.communicate(timeout=90)
    assert running.returncode == Exit.FAILED, told + complained
    history = read_history(out / "history")
    assert not changes(history, FaultChanged)
    assert not json.loads((out / "findings.json").read_text())["incomplete"]


def test_who_cannot_be_asked_before_the_first_injection_is_a_no_go_with_7(
    rehearsal: Rehearsal, tmp_path: Path, page: Page
) -> None:
    out = tmp_path / "run"
    page.shutdown()
    page.server_close()
    condition = (
        f'{{name: cpu, promql: "x", url: "http://127.0.0.1:{page.server_port}", op: ">", limit: 5, for: 60s}}'
    )
    done = rehearsal.run("run", campaign(tmp_path, condition), "--out", str(out))
    assert done.returncode == Exit.UNJUDGED, done.stdout + done.stderr
    assert "stop condition 'cpu' is not known before the first injection" in " ".join(done.stdout.split())
    assert not changes(read_history(out / "history"), FaultChanged)
