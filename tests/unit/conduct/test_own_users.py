"""A campaign with people's own users: what `harness check` refuses, with the place, and what the load process is told."""

from pathlib import Path

import pytest

from harness.clock import SystemClock
from harness.conduct.assignment import load_plan
from harness.conduct.folder import RunFolder
from harness.conduct.orders import check_campaign
from harness.errors import FileProblems
from harness.load.feed import FeedPlan
from harness.load.plan import OwnPlan, Step
from harness.target import load_target

ROOT = Path(__file__).parents[3]
HEAD = "schema: 1\nname: mine\nduration: 30s\nload:\n  hold: {min: 1s, max: 2s}\n"
STAGES = "  stages:\n    - {at: 0s, open_windows: 2, own_users: 3}\n    - {at: 9s, open_windows: 5}\n"
USERS = "from locust import HttpUser, LoadTestShape, task\n\n\nclass Asker(HttpUser):\n    @task\n    def ask(self):\n        pass\n\n\nclass Up(LoadTestShape):\n    def tick(self):\n        return 1, 1\n"


def written(folder: Path, load: str, users: str = USERS, rows: str = "{}\n") -> Path:
    (folder / "mine.py").write_text(users)
    (folder / "rows.jsonl").write_text(rows)
    file = folder / "campaign.yaml"
    file.write_text(HEAD + load)
    return file


def test_own_users_are_told_to_the_load_with_whole_paths(tmp_path: Path) -> None:
    file = written(tmp_path, f"{STAGES}  locustfile: mine.py\n  feed: rows.jsonl\n")
    planned, _ = check_campaign(file)
    target = tmp_path / "target.yaml"
    target.write_text("schema: 1\nname: t\nkube: none\nurl: http://x\nmax_windows: 3\n")
    orders = load_plan(
        planned, load_target(target), RunFolder("r", tmp_path, tmp_path / "s"), SystemClock.start(), 0, file
    )
    assert orders.own == OwnPlan(file=str(tmp_path / "mine.py"))
    assert orders.feed == FeedPlan(file=str(tmp_path / "rows.jsonl"))
    assert orders.stages == (Step(0, 2, 3), Step(9, 5, 3)), "as many as before unless said"


def test_more_can_be_said_than_the_name(tmp_path: Path) -> None:
    load = "  locustfile: {file: mine.py, users: [Asker], shape: Up, tags: [read]}\n  feed: {file: rows.jsonl, order: random}\n"
    planned, _ = check_campaign(written(tmp_path, load))
    own = planned.campaign.load.locustfile
    assert own is not None
    assert (own.users, own.shape, own.tags) == (("Asker",), "Up", ("read",))


@pytest.mark.parametrize(
    ("load", "line", "words"),
    [
        (f"{STAGES}  locustfile: nowhere.py\n", "campaign.yaml:9", "no such file"),
        (f"{STAGES}  locustfile:\n    file: mine.py\n    users: [Asker, Aske]\n", "campaign.yaml:11", "no user class 'Aske'; it has Asker"),
        ("  locustfile: {file: mine.py, shape: Down}\n", "campaign.yaml:6", "no shape 'Down'; it has Up"),
        (STAGES, "campaign.yaml:4", "there is none: give `locustfile`"),
        ("  stages: [{at: 0s, open_windows: 1}]\n  locustfile: mine.py\n", "campaign.yaml:4", "nobody says how many"),
        (f"{STAGES}  locustfile: {{file: mine.py, shape: Up}}\n", "campaign.yaml:4", "the locustfile's shape decides"),
        ("  stages: [{at: 0s, open_windows: 1}]\n  feed: rows.jsonl\n", "campaign.yaml:4", "a feed is for users of a locustfile"),
        (f"{STAGES}  locustfile: mine.py\n  feed: none.jsonl\n", "campaign.yaml:10", "cannot be read"),
        (f"{STAGES}  locustfile: mine.py\n  feed: {{file: rows.jsonl, order: best}}\n", "campaign.yaml:10", "'unique', 'round_robin' or 'random'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, load: str, line: str, words: str) -> None:
    with pytest.raises(FileProblems) as error:
        check_campaign(written(tmp_path, load))
    assert words in str(error.value)
    assert line in str(error.value)


@pytest.mark.parametrize(
    ("users", "place"),
    [
        ("import locust\n\nlocust.nothing()\n", "mine.py:3: cannot be imported: AttributeError"),
        ("class A:\n  x = = 1\n", "mine.py:2: not Python"),
        ("from harness.load.users import LiveViewer\nimport os\nos._exit(4)\n", "ended the process (exit code 4)"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_locustfile_is_said_with_its_line(
    tmp_path: Path, users: str, place: str
) -> None:
    with pytest.raises(FileProblems, match=r"mine\.py") as error:
        check_campaign(written(tmp_path, f"{STAGES}  locustfile: mine.py\n", users))
    assert place in str(error.value)


def test_every_broken_row_of_the_feed_is_named(tmp_path: Path) -> None:
    load = f"{STAGES}  locustfile: mine.py\n  feed: rows.jsonl\n"
    with pytest.raises(FileProblems) as error:
        check_campaign(written(tmp_path, load, rows='{"a": 1}\nx\n[]\n'))
    assert [problem.line for problem in error.value.problems] == [2, 3]


def test_the_example_is_a_campaign() -> None:
    planned, _ = check_campaign(ROOT / "examples" / "own_load.yaml")
    assert planned.campaign.load.locustfile is not None
