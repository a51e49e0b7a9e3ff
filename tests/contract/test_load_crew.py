"""Locust's own distribution: several workers, each with an engine, one run of them all."""

import re
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.errors import Exit
from harness.focus.arrivals import Arrivals, Stretch, instants_ns
from harness.history.events import (
    ArrivalsPlanned,
    CanarySeen,
    Outcome,
    ProcessEnded,
    ProcessStarted,
    RunStarted,
    WindowAccepted,
    WindowClosed,
    WorkerLost,
)
from harness.history.reader import read_history
from harness.history.run import read_run
from harness.judge.judge import judge
from tests.contract.test_load import LOCUST, _eventually, _says, child, engines, fake, of, run, the_run

__all__ = ["fake"]
OWN = """
from harness.load.users import Fed
from locust import HttpUser, constant, task


class Asker(Fed, HttpUser):
    wait_time = constant(0.2)

    @task
    def ask(self):
        self.client.get("/channels", params=self.feed.next(), name="channels")
"""


def crew(reports: Path, url: str, *more: str) -> list[str]:
    command = [*LOCUST, "--headless", "--host", url, "--only-summary", "--processes", "2"]
    return [*command, "--reports", str(reports), *more]


def both_say(reports: Path, words: str, times: int = 1) -> None:
    for number in (1, 2):
        _says(the_run(reports) / "history", words, times, f"engine-{number}")


def workers(master: int) -> list[psutil.Process]:
    found = [one for one in psutil.Process(master).children() if "locust" in one.cmdline()]
    return [one for one in found if engines(one.pid)]


def test_two_workers_play_one_run_and_end_in_order(fake: Any, tmp_path: Path) -> None:
    server = fake()
    with child(crew(tmp_path, server.url, "-u", "4", "-r", "50", "--hold", "1s", "LiveViewer")) as locust:
        _eventually(lambda: both_say(tmp_path, '"outcome":"streaming"', 3))
        _eventually(lambda: both_say(tmp_path, '"canary_seen"', 2))
        assert len(engines(locust.pid)) == 2
        locust.send_signal(signal.SIGTERM)
        out, _ = locust.communicate(timeout=40)
        assert locust.returncode == 0, out
    assert re.search(r"POST /configure\s+\d+", out), out
    folder = the_run(tmp_path)
    info = read_run(folder)
    assert (info.exit_code, info.exit_reason) == (0, "stopped (SIGTERM)")
    history = read_history(folder / "history")
    assert not history.damage
    assert len(of(history, RunStarted)) == 1
    windows = [event.window for event in of(history, WindowAccepted)]
    assert len(set(windows)) == len(windows)
    ended = {event.process: event.exit_code for event in of(history, ProcessEnded)}
    assert ended == dict.fromkeys(("load-1", "load-2", "engine-1", "engine-2"), 0)
    assert {record.writer for record in history.events if isinstance(record.event, CanarySeen)} == {
        "engine-1",
        "engine-2",
    }
    closed = [event.outcome for event in of(history, WindowClosed)]
    assert len(closed) == len(windows)
    assert server.count()["left"] <= closed.count(Outcome.CANCELLED)
    assert not judge(info, history).incomplete


def test_arrivals_are_shared_out_so_that_together_they_are_the_plan(fake: Any, tmp_path: Path) -> None:
    server = fake(answer="503 ")
    command = crew(tmp_path, server.url, "-u", "1", "-t", "12s", "--rate", "8", "--load-seed", "5")
    code, out = run(command)
    assert code == 0, out
    folder = the_run(tmp_path)
    history = read_history(folder / "history")
    whole = Arrivals(stretches=(Stretch(3, 12, 8, 8),), seed=5)
    plans = of(history, ArrivalsPlanned)
    assert sum(plan.planned for plan in plans) == len(instants_ns(whole))
    assert abs(plans[0].planned - plans[1].planned) <= 1
    arrivals = history.samples["arrivals"]
    sent = arrivals.rows[arrivals.rows["sent_ns"] > 0]
    assert set(sent["intended_ns"]) <= set(instants_ns(whole))
    assert len(set(sent["intended_ns"])) == len(sent) > len(instants_ns(whole)) / 2
    found = judge(read_run(folder), history)
    assert found.arrivals is not None
    assert found.arrivals.unaccounted == 0
    assert found.arrivals.planned == len(instants_ns(whole))
    assert server.count()["posts"] == len(sent)


def test_unique_rows_are_unique_over_all_workers(fake: Any, tmp_path: Path) -> None:
    server = fake()
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(31)))
    command = crew(
        tmp_path / "reports", server.url, "-u", "4", "--feed", str(tmp_path / "rows.jsonl"), "Asker"
    )
    command[command.index("-f") + 1] += f",{tmp_path / 'mine.py'}"

    def used_up() -> None:
        for number in (1, 2):
            _says(the_run(tmp_path / "reports") / "history", "is used up", 1, f"load-{number}")

    with child(command) as locust:
        _eventually(used_up)
        locust.send_signal(signal.SIGTERM)
        out, _ = locust.communicate(timeout=40)
        assert locust.returncode == 0, out
    folder = the_run(tmp_path / "reports")
    history = read_history(folder / "history")
    assert sorted(history.samples["feed"].rows["row"]) == list(range(1, 32))
    found = judge(read_run(folder), history).own
    assert found is not None
    assert found.feed is not None
    assert (found.count, found.failed, found.feed.rows) == (31, 0, 31)


def test_a_worker_that_is_killed_is_noted_and_the_run_is_unjudged(fake: Any, tmp_path: Path) -> None:
    server = fake()
    command = crew(tmp_path, server.url, "-u", "4", "-r", "50", "-t", "25s", "--hold", "60s", "LiveViewer")
    with child(command) as locust:
        _eventually(lambda: both_say(tmp_path, '"first_frame"', 2))
        workers(locust.pid)[0].kill()
        out, _ = locust.communicate(timeout=60)
        assert locust.returncode == int(Exit.UNJUDGED), out
    info, told = read_run(the_run(tmp_path)), read_history(the_run(tmp_path) / "history")
    (lost,) = of(told, WorkerLost)
    assert lost.process in {"load-1", "load-2"}
    assert lost.pid in {event.pid for event in of(told, ProcessStarted) if event.process == lost.process}
    assert info.exit_code == int(Exit.UNJUDGED)
    found = judge(info, told)
    assert found.verdict.status == "unjudged", found.verdict
    assert any("processes" in reason for reason in found.verdict.reasons), found.verdict.reasons
    assert server.count()["left"] == 0, "the engine of the one that was killed has closed its windows"


def test_workers_end_with_a_master_that_is_killed(fake: Any, tmp_path: Path) -> None:
    server = fake()
    with child(crew(tmp_path, server.url, "-u", "2", "-r", "50", "--hold", "60s", "LiveViewer")) as locust:
        _eventually(lambda: both_say(tmp_path, '"first_frame"'))
        left = psutil.Process(locust.pid).children(recursive=True)
        locust.kill()
        assert not psutil.wait_procs(left, timeout=25)[1]
    assert server.count()["left"] == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--creates-in-flight", "1"], "2 workers cannot share creates in flight 1"),
        (["--rate", "99"], "max_rate_per_s"),
    ],
)
def test_what_cannot_be_shared_is_refused(fake: Any, tmp_path: Path, more: list[str], words: str) -> None:
    server = fake()
    code, out = run(crew(tmp_path / "reports", server.url, "-u", "2", "-t", "9s", *more))
    assert (code, words in out) == (2, True), out
    assert server.count()["posts"] == 0
