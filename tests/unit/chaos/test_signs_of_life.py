"""Signs of life: who is gone or makes no progress is dead to the others, and who ended properly is not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.chaos.alive import FOLDER, HANG_S, Alive, sign_of


def test_a_process_that_makes_progress_is_in_no_trouble(tmp_path: Path) -> None:
    alive = Alive(tmp_path, "chaos-1")
    assert 0 <= alive.beat() < HANG_S
    sign = sign_of(tmp_path, "chaos-1")
    assert sign is not None
    assert sign.trouble == ""
    assert sign.holder.split("/")[1] == str(os.getpid())
    alive.close()


def test_a_process_that_stands_still_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = Alive(tmp_path, "chaos-1")
    alive.beat()
    sign = sign_of(tmp_path, "chaos-1")
    assert sign is not None
    now = time.monotonic_ns()
    monkeypatch.setattr("harness.chaos.alive.time.monotonic_ns", lambda: now + int((HANG_S + 1) * 1e9))
    assert sign.trouble.startswith("chaos-1 made no progress for 5")
    alive.beat()
    again = sign_of(tmp_path, "chaos-1")
    assert again is not None
    assert again.trouble == ""
    alive.close()


def test_a_beat_tells_how_long_the_last_one_is_ago_sleep_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter((100.0, 101.0, 3700.0))
    monkeypatch.setattr("harness.chaos.alive.boot_seconds", lambda: next(now))
    alive = Alive(tmp_path, "chaos-1")
    assert alive.beat() == 1.0
    assert alive.beat() == 3599.0
    alive.close()


def test_a_killed_process_leaves_a_sign_that_says_so_and_an_ended_one_leaves_none(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from harness.chaos.alive import Alive\n"
    code += f"alive = Alive(Path({str(tmp_path)!r}), sys.argv[1]); alive.beat()\n"
    code += "alive.close() if sys.argv[1] == 'ended' else __import__('os').kill(__import__('os').getpid(), 9)"
    for name in ("killed", "ended"):
        subprocess.run([sys.executable, "-c", code, name], check=name == "ended", timeout=30)
    killed = sign_of(tmp_path, "killed")
    assert killed is not None
    assert killed.trouble == "killed died"
    assert sign_of(tmp_path, "ended") is None


@pytest.mark.parametrize("text", ["", "123", "abc\nholder\n"])
def test_a_sign_that_is_being_written_for_the_first_time_is_no_sign(tmp_path: Path, text: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "guard").write_text(text)
    assert sign_of(tmp_path, "guard") is None
    assert sign_of(tmp_path, "nobody") is None
