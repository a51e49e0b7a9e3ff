"""`harness capacity` on a sandbox whose limit it is not told: the edge, the requirement, the record judged again."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import Exit
from harness.history.reader import read_history
from tests.campaigns.conftest import ROOT, Rehearsal

pytestmark = pytest.mark.timeout(300)
TARGET = ROOT / "targets" / "sandbox.yaml"
QUICK = ("--confidence", "85%", "--budget", "150s")
LIMIT = 4


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """A sandbox with room for four windows, so that probes are short."""
    name = f"capacity-{os.getpid()}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HARNESS_")}
    state = str(tmp_path_factory.mktemp("state"))
    environment |= {"XDG_STATE_HOME": state, "HARNESS_SANDBOX": name, "NO_COLOR": "1"}
    here = Rehearsal(name, environment)
    settings = ("--bound-to", str(os.getpid()), "--set", f"max_windows={LIMIT}")
    up = here.run("sandbox", "up", "--name", name, *settings)
    assert up.returncode == 0, up.stdout + up.stderr
    yield here
    down = here.run("sandbox", "down", "--name", name, "--purge")
    assert down.returncode == 0, down.stdout + down.stderr


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The sandbox as a target that does not say what its limit is."""
    text = TARGET.read_text().replace("max_windows: ${MAX_WINDOWS}\n", "max_windows: unknown\n")
    assert "unknown" in text
    file = tmp_path_factory.mktemp("target") / "blind.yaml"
    file.write_text(text)
    return str(file)


def test_the_windows_that_fit_are_found_exactly(small: Rehearsal, blind: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = small.run(
        "capacity",
        "--target",
        blind,
        "--require",
        f"windows == {LIMIT}",
        *QUICK,
        "--out",
        str(out),
        timeout_s=260,
    )
    assert done.returncode == Exit.OK, done.stdout + done.stderr
    findings = json.loads((out / "findings.json").read_text())
    (search,) = findings["capacity"]["searches"]
    assert (search["value"], search["above"], search["converged"]) == (LIMIT, LIMIT + 1, True)
    assert "What the target sustains" in (out / "report.html").read_text()
    assert f"sustains {LIMIT} windows open at once (not {LIMIT + 1})" in " ".join(done.stdout.split())
    writers = {record.writer for record in read_history(out / "history").events}
    assert {"load-1", "engine-1", "load-2", "engine-2"} <= writers, "each probe is a load of its own"
    again = small.run("judge", str(out))
    assert again.returncode == Exit.OK
    assert json.loads((out / "findings.json").read_text())["capacity"] == findings["capacity"]


def test_a_requirement_that_does_not_hold_fails_and_the_time_that_is_over_leaves_it_unjudged(
    small: Rehearsal, blind: str, tmp_path: Path
) -> None:
    failed = small.run(
        "capacity",
        "--target",
        blind,
        "--require",
        "creates >= 9",
        *QUICK,
        "--out",
        str(tmp_path / "a"),
        timeout_s=260,
    )
    assert failed.returncode == Exit.FAILED, failed.stdout + failed.stderr
    unjudged = small.run(
        "capacity",
        "--target",
        blind,
        "--require",
        "windows >= 2",
        "--budget",
        "12s",
        "--out",
        str(tmp_path / "b"),
    )
    assert unjudged.returncode == Exit.UNJUDGED, unjudged.stdout + unjudged.stderr
