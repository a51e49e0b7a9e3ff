"""People's own users as they start them: a locustfile that knows nothing of the harness, beside ours, from a plan and with Locust alone."""

import re
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.clock import SystemClock, nanoseconds
from harness.conduct.assignment import load_plan
from harness.conduct.folder import RunFolder
from harness.conduct.orders import check_campaign
from harness.history.events import FeedOpened, Note, Outcome, WindowAccepted, WindowClosed
from harness.history.reader import History, read_history
from harness.history.run import RunInfo, read_run
from harness.judge.judge import judge
from harness.load.feed import FeedPlan
from harness.load.plan import OwnPlan, Step, write_plan
from harness.target import load_target
from tests.contract.test_load import (
    LOCUST,
    ROOT,
    _eventually,
    _says,
    child,
    fake,
    of,
    plan_file,
    run,
    the_run,
)

__all__ = ["fake"]

PLAIN_FILE = '''
"""An ordinary locustfile, as its author has it."""
from locust import FastHttpUser, HttpUser, LoadTestShape, User, constant, events, tag, task
import pathlib, time

HERE = pathlib.Path(__file__).parent


def say(text):
    with (HERE / "said.txt").open("a") as file:
        file.write(text + "\\n")


@events.init_command_line_parser.add_listener
def options(parser):
    parser.add_argument("--flavour", default="vanilla")


@events.init.add_listener
def init(environment, runner, web_ui, **_):
    say(f"init {environment.parsed_options.flavour} {environment.host.startswith('http')}")


@events.test_start.add_listener
def start(environment, **_):
    say("start " + " ".join(sorted(user.__name__ for user in environment.user_classes)))


@events.test_stop.add_listener
def stop(environment, **_):
    say(f"stop {environment.stats.total.num_requests > 0}")


@events.request.add_listener
def request(name, **_):
    say(f"request {name}")


class Asker(HttpUser):
    wait_time = constant(0.1)
    fixed_count = 2

    @tag("read")
    @task
    def channels(self):
        self.client.get("/channels")

    @tag("read")
    @task
    def nowhere(self):
        with self.client.get("/nowhere", catch_response=True, name="gone") as answer:
            if answer.status_code == 404:
                answer.failure(KeyError("not there"))

    @tag("write")
    @task
    def never(self):
        say("a task that its tags leave out was played")


class Fast(FastHttpUser):
    wait_time = constant(0.1)

    @tag("read")
    @task
    def ack(self):
        self.client.get("/ack")
        self.client.get("/missing")


class Plain(User):
    wait_time = constant(0.2)

    @tag("read")
    @task
    def work(self):
        self.environment.events.request.fire(
            request_type="WORK", name="think", response_time=250.0, response_length=7,
            exception=None, context={}, start_time=time.time() - 0.25,
        )


class Idle(User):
    weight = 0

    @task
    def nothing(self):
        say("a user of weight 0 played")


class OneThenTwo(LoadTestShape):
    def tick(self):
        return (4 if self.get_run_time() < 2 else 6, 10)
'''


CHANNELS = "/focus-server/channels"
"""HttpUser names a request by its whole path, FastHttpUser by what was asked for."""


def requests_of(history: History) -> dict[tuple[str, str], list[str]]:
    """Return the errors (empty for none) of all requests, by type and name."""
    found: dict[tuple[str, str], list[str]] = {}
    samples = history.samples["requests"]
    for row in samples.rows:
        request = (samples.texts[row["type"]], samples.texts[row["name"]])
        found.setdefault(request, []).append(samples.texts[row["error"]])
    return found


def played(file: Path, until: Any) -> str:
    """Play a plan until `until` holds, end it as the conductor does, and return what it printed."""
    with child([sys.executable, "-m", "harness.load", "--plan", str(file)]) as load:
        _eventually(until)
        load.send_signal(signal.SIGTERM)
        out, _ = load.communicate(timeout=25)
        assert load.returncode == 0, out
        return out


def test_an_unchanged_locustfile_plays_beside_live_viewers_and_its_requests_are_in_the_record(
    fake: Any, tmp_path: Path
) -> None:
    server = fake()
    (tmp_path / "mine.py").write_text(PLAIN_FILE)
    own = OwnPlan(file=str(tmp_path / "mine.py"), tags=("read",))
    file = plan_file(tmp_path, server.url, stages=(Step(0, 3, 4), Step(6, 2, 6)), hold_s=(0.5, 1.0), own=own)

    def enough() -> None:
        _says(tmp_path / "history", '"outcome":"streaming"', 5)
        said = (tmp_path / "said.txt").read_text()
        for name in (CHANNELS, "gone", "/ack", "/missing", "think"):
            assert said.count(f"request {name}\n") >= 3, said

    played(file, enough)
    said = (tmp_path / "said.txt").read_text().splitlines()
    assert said[:2] == ["init vanilla True", "start Asker Fast Plain"]
    assert said[-1] == "stop True"
    assert not [line for line in said if line.startswith("a ")]
    history = read_history(tmp_path / "history")
    assert not history.damage
    found = requests_of(history)
    assert set(found) == {
        ("GET", CHANNELS), ("GET", "gone"), ("GET", "/ack"), ("GET", "/missing"), ("WORK", "think"),
    }, "and no row of ours"  # fmt: skip
    heard = [line.removeprefix("request ") for line in said if line.startswith("request ")]
    assert {name: len(errors) for (_, name), errors in found.items()} == {
        name: heard.count(name) for name in set(heard)
    }, "each request once"
    assert set(found["GET", CHANNELS]) == set(found["GET", "/ack"]) == {""}
    assert set(found["GET", "gone"]) == {"KeyError 404"}
    assert set(found["GET", "/missing"]) == {"LocustBadStatusCode 404"}
    rows = history.samples["requests"].rows
    thought = rows[rows["type"] == history.samples["requests"].number("WORK")]
    assert set(thought["took_ns"]) == {250_000_000}
    assert set(thought["bytes"]) == {7}
    assert (rows["sent_ns"] > 0).all(), "on the run's clock"
    accepted = of(history, WindowAccepted)
    assert {event.persona for event in accepted} == {"live_viewer"}
    attempts = history.samples["attempts"]
    assert {attempts.texts[n] for n in attempts.rows["operation"]} == {"configure"}


def test_a_shape_of_the_file_decides_and_only_named_classes_play(fake: Any, tmp_path: Path) -> None:
    server = fake()
    (tmp_path / "mine.py").write_text(PLAIN_FILE)
    own = OwnPlan(file=str(tmp_path / "mine.py"), users=("Plain",), shape="OneThenTwo")
    file = plan_file(tmp_path, server.url, stages=(), own=own)

    def shaped() -> None:
        assert (tmp_path / "said.txt").read_text().count("request think") > 100

    played(file, shaped)
    history = read_history(tmp_path / "history")
    assert set(requests_of(history)) == {("WORK", "think")}
    assert not of(history, WindowAccepted)
    rows = history.samples["requests"].rows
    over_s = (rows["sent_ns"] + rows["took_ns"] - (rows["sent_ns"] + rows["took_ns"]).min()) / 1e9
    first, later = ((over_s > 0.3) & (over_s < 1.5)).sum() / 1.2, ((over_s > 3) & (over_s < 4.2)).sum() / 1.2
    assert 10 < first < 25 < later < 40, "four users, then six, each five times a second"


VIEWER_FILE = """
from harness.load.users import Fed, LiveViewer, Style, Viewer
from locust import User, constant, task


class Glancer(Viewer):
    persona = "glancer"
    style = Style(view_type="1", channels=1)

    def hold_s(self):
        return 0.3


class Nameless(Viewer):
    style = Style(reading="slow", pause_s=0.2)

    def hold_s(self):
        return 0.3


class Taker(Fed, User):
    wait_time = constant(0.05)

    @task
    def take(self):
        row = self.feed.next()
        self.environment.events.request.fire(
            request_type="TAKE", name=row["name"], response_time=1, response_length=0, exception=None, context={}
        )
"""


def test_own_viewers_are_in_the_record_by_their_names_and_unique_rows_are_used_once(
    fake: Any, tmp_path: Path
) -> None:
    server = fake()
    (tmp_path / "mine.py").write_text(VIEWER_FILE)
    rows = "".join(f'{{"name": "row {n}"}}\n\n' for n in range(1, 8))
    (tmp_path / "rows.jsonl").write_text(rows)
    own = OwnPlan(file=str(tmp_path / "mine.py"))
    feed = FeedPlan(file=str(tmp_path / "rows.jsonl"))
    file = plan_file(tmp_path, server.url, stages=(Step(0, 0, 4),), own=own, feed=feed, hold_s=(60.0, 60.0))

    def enough() -> None:
        _says(tmp_path / "history", '"outcome":"streaming"', 6)
        _says(tmp_path / "history", "is used up", 1, "load-1")

    played(file, enough)
    history = read_history(tmp_path / "history")
    accepted = {event.window: event for event in of(history, WindowAccepted)}
    assert {event.persona for event in accepted.values()} == {"glancer", "Nameless"}
    assert {event.own_pace for event in accepted.values() if event.persona == "Nameless"} == {True}
    assert {event.own_pace for event in accepted.values() if event.persona == "glancer"} == {False}
    ended = {event.outcome for event in of(history, WindowClosed)}
    assert ended <= {Outcome.STREAMING, Outcome.CANCELLED}
    (opened,) = of(history, FeedOpened)
    assert (opened.file, opened.order, opened.rows) == ("rows.jsonl", "unique", 7)
    taken = history.samples["feed"]
    assert sorted(taken.rows["row"]) == [1, 3, 5, 7, 9, 11, 13], "lines of the file, each once"
    assert {taken.texts[n] for n in taken.rows["user"]} == {"Taker"}
    assert {name for _, name in requests_of(history)} == {f"row {n}" for n in range(1, 8)}
    found = judge(RunInfo(run_id="x", harness_version="", campaign="x", plan_hash="", seed=0, target="", target_url="", wall_start=""), history)  # fmt: skip
    assert found.own is not None
    assert found.own.feed is not None
    assert (found.own.count, found.own.feed.different, found.own.feed.users) == (7, 7, {"Taker": 7})


def test_locust_alone_plays_a_file_of_ones_own_beside_ours(fake: Any, tmp_path: Path) -> None:
    server = fake()
    (tmp_path / "mine.py").write_text(PLAIN_FILE.replace("class OneThenTwo(LoadTestShape)", "class Other"))
    command = [*LOCUST[:-1], f"{LOCUST[-1]},{tmp_path / 'mine.py'}", "--headless", "--host", server.url]
    command += [
        "-u",
        "8",
        "-r",
        "50",
        "--only-summary",
        "--reports",
        str(tmp_path / "reports"),
        "--hold",
        "1s",
    ]
    with child(command) as locust:
        _eventually(lambda: _says(the_run(tmp_path / "reports") / "history", '"outcome":"streaming"', 3))
        _eventually(lambda: (tmp_path / "said.txt").read_text().count("request /ack") > 5 or 1 / 0)
        locust.send_signal(signal.SIGTERM)
        out, _ = locust.communicate(timeout=20)
        assert locust.returncode == 0, out
    assert re.search(r"POST /configure\s+\d+", out), out
    folder = the_run(tmp_path / "reports")
    assert read_run(folder).exit_code == 0
    history = read_history(folder / "history")
    names = set(requests_of(history))
    assert {("GET", CHANNELS), ("GET", "/ack"), ("WORK", "think")} <= names
    assert not [name for _, name in names if "configure" in name or "frame" in name], (
        "ours stand there already"
    )
    assert of(history, WindowAccepted)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (\n", r"mine\.py:\d: not Python"),
        ("\nimport nowhere_at_all\n", r"mine\.py:2: cannot be imported: ModuleNotFoundError"),
        ("x = 1\n", r"mine\.py:1: has no user class"),
        ("import sys\nsys.exit(3)\n", r"mine\.py:2: cannot be imported: SystemExit"),
    ],
)
def test_a_locustfile_that_cannot_be_played_ends_the_load_with_2(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "mine.py").write_text(text)
    file = plan_file(tmp_path, "http://127.0.0.1:9", own=OwnPlan(file=str(tmp_path / "mine.py")))
    code, out = run([sys.executable, "-m", "harness.load", "--plan", str(file)])
    assert code == 2, out
    assert re.search(words, out), out
    assert not (tmp_path / "history").exists()


def test_what_goes_wrong_in_own_users_is_noted(fake: Any, tmp_path: Path) -> None:
    server = fake()
    (tmp_path / "mine.py").write_text(
        "from harness.load.users import Fed\nfrom locust import User, constant, events, task\n"
        "@events.quitting.add_listener\ndef end(environment, **_): environment.process_exit_code = 1\n"
        "class Bad(User):\n    wait_time = constant(0.1)\n    @task\n    def go(self): raise ValueError('oh')\n"
    )
    file = plan_file(
        tmp_path, server.url, stages=(Step(0, 1, 1),), own=OwnPlan(file=str(tmp_path / "mine.py"))
    )
    played(file, lambda: _says(tmp_path / "history", '"first_frame"'))
    notes = [note.text for note in of(read_history(tmp_path / "history"), Note)]
    assert any(re.search(r"own users raised \d+ times: Bad: ValueError: oh", text) for text in notes), notes
    assert any("set exit code 1" in text for text in notes), notes


def test_the_example_campaign_plays_as_the_conductor_has_it_played(fake: Any, tmp_path: Path) -> None:
    server = fake()
    campaign = ROOT / "examples" / "own_load.yaml"
    target = tmp_path / "target.yaml"
    target.write_text(f"schema: 1\nname: t\nkube: none\nurl: {server.url}\nmax_windows: unknown\n")
    planned, _ = check_campaign(campaign)
    folder, clock = RunFolder("r", tmp_path, tmp_path / "live.sock"), SystemClock.start()
    orders = load_plan(planned, load_target(target), folder, clock, nanoseconds(2), campaign)
    write_plan(msgspec.structs.replace(orders, hold_s=(0.5, 1.0)), tmp_path / "plan.json")

    def enough() -> None:
        _says(tmp_path / "history", '"persona":"glancer"')
        history = read_history(tmp_path / "history")
        assert {"/channels", "/live_metadata"} == {name for _, name in requests_of(history)}
        assert {"live_viewer", "glancer"} == {event.persona for event in of(history, WindowAccepted)}

    played(tmp_path / "plan.json", enough)
    history = read_history(tmp_path / "history")
    assert {error for errors in requests_of(history).values() for error in errors} == {""}
    taken = history.samples["feed"]
    assert {taken.texts[n] for n in taken.rows["user"]} == {"Searcher"}
    assert list(taken.rows["row"][:7]) == [1, 2, 3, 4, 5, 6, 7][: len(taken.rows)]
