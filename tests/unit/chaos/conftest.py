"""Plays that are closed at the end, quick readings, and a state folder of each test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_world import TARGET, MemoryWorld
from plays import MakePlay, new_play

from harness.chaos.play import Play
from harness.target import Target


@pytest.fixture
def make_play() -> Iterator[MakePlay]:
    """Return a function that makes a play."""
    plays: list[Play] = []

    def make(folder: Path, world: MemoryWorld, target: Target = TARGET) -> Play:
        plays.append(new_play(folder, world, target))
        return plays[-1]

    yield make
    for play in plays:
        play.history.close()


@pytest.fixture(autouse=True)
def quick_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two readings lie close together, and keep the registry of journals out of the way."""
    monkeypatch.setattr("harness.chaos.replay.APART_S", 0.05)
    monkeypatch.setattr("harness.chaos.replay.PAUSE_S", 0.02)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
