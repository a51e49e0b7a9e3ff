"""The undo journal: whatever is left of it after a crash anywhere brings the declared state back."""

import dataclasses
import functools
import tempfile
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_world import TARGET, MemoryWorld, site_of, small_cluster

from harness.chaos.faults import fault_named
from harness.chaos.journal import Entry, Header, Journal, boot_id, parse
from harness.chaos.play import Play
from harness.chaos.replay import refuse_if_broken, replay
from harness.chaos.world import Site, freeze, thaw
from harness.clock import SystemClock
from harness.errors import InjectionFailed, RecordUnusable, StillBroken, Unreachable
from harness.history.events import FaultStep
from harness.history.writer import HistoryWriter

STORY = (
    ("drain-worker", {"nodes": "worker-1"}),
    ("cordon-worker", {"nodes": "worker-2"}),
    ("slow-network", {"nodes": "all"}),
    ("kill-mongo", {"repeat": False}),
    ("worker-not-ready", {"nodes": "worker-2"}),
    ("focus-server-outage", {}),
    ("mongo-stall", {}),
    ("revoke-kubernetes-access", {}),
    ("saturate-gpu", {"leave": 1}),
    ("fill-windows", {"windows": "2"}),
)
"""Played from the last to the first, so that each finds something left to take."""
HEADER = Header(
    run_id="test",
    writer="chaos-1",
    target=freeze(TARGET),
    clock_start_ns=0,
    boot=boot_id(),
    wall="",
)


def say_nothing(_entry: Entry, _step: FaultStep, _detail: str) -> None:
    """Record nothing."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.chaos.replay.APART_S", 0.0)
    monkeypatch.setattr("harness.chaos.replay.PAUSE_S", 0.0)


def play(journal: Journal, world: MemoryWorld) -> None:
    """Begin each fault of the story as a run does."""
    site = site_of(world)
    with tempfile.TemporaryDirectory() as folder:
        history = HistoryWriter(Path(folder), "chaos-1")
        playing = Play(site, HEADER, journal, history, SystemClock.start(), "test")
        heard = world.before_write

        def hear(what: str) -> None:
            heard(what)
            if what.startswith("delete pods/mongodb"):
                world.mongodb_returns = False  # for as long as the effect has to be seen

        world.before_write = hear
        for kind, asked in reversed(STORY):
            fault = fault_named(kind)
            playing.begin(fault, msgspec.convert(asked, fault.arguments), 60)
        world.before_write = heard
        world.mongodb_returns = True
        world._control()
        history.close()


def undo(journal: Journal, world: MemoryWorld) -> bool:
    endings = replay([journal], lambda _: site_of(world), "guard", say_nothing, budget_s=20.0, claim=True)
    return all(ending.verified for ending in endings)


@functools.cache
def crashes() -> tuple[dict[str, object], bytes, tuple[tuple[int, str], ...]]:
    """Play the story once; return the state declared before, the journal's bytes, and every (length, world) on the way."""
    world = small_cluster()
    before = world.declared()
    moments: list[tuple[int, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal.create(Path(folder) / "j.jsonl", HEADER)
        world.before_write = lambda _what: moments.append((journal.path.stat().st_size, world.snapshot()))
        play(journal, world)
        moments.append((journal.path.stat().st_size, world.snapshot()))
        undo(journal, world)
        moments.append((journal.path.stat().st_size, world.snapshot()))
        data = journal.path.read_bytes()
        assert world.declared() == before
    return before, data, tuple(moments)


def but_for_timers(state: dict[str, object]) -> dict[str, object]:
    """A timer armed for an injection that nobody saw end stays: its command may be on its way. What it does is the undo once more."""
    return {what: value for what, value in state.items() if not what.startswith("timer ")}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_prefix_of_the_journal_heals(tmp_path: Path, data: st.DataObject) -> None:
    """A crash leaves a world, and the journal as long as it was then, or with a part of the next line torn off."""
    before, journal_bytes, moments = crashes()
    number = data.draw(st.integers(0, len(moments) - 1), label="moment of the crash")
    length, snapshot = moments[number]
    next_length = next((longer for longer, _ in moments[number:] if longer > length), length)
    is_last_world_of_this_length = number + 1 == len(moments) or moments[number + 1][0] > length
    torn = data.draw(st.integers(0, max(0, next_length - length - 1)), label="torn bytes of the next line")
    path = tmp_path / "torn.jsonl"
    path.write_bytes(journal_bytes[: length + (torn if is_last_world_of_this_length else 0)])
    world = MemoryWorld.restore(snapshot)
    world._control()
    assert undo(Journal(path), world)
    assert but_for_timers(world.declared()) == but_for_timers(before)
    assert undo(Journal(path), world), "replaying again changes nothing"
    assert but_for_timers(world.declared()) == but_for_timers(before)


@given(cut=st.integers(0, 10**6))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_torn_journal_reads_as_its_complete_lines_and_takes_new_ones(tmp_path: Path, cut: int) -> None:
    _, journal_bytes, _ = crashes()
    path = tmp_path / "torn.jsonl"
    path.write_bytes(journal_bytes[: cut % (len(journal_bytes) + 1)])
    journal = Journal(path)
    complete = journal.read()
    journal.claim("guard")
    assert journal.read().entries == complete.entries
    assert journal.read().claims[-1].token == journal.token


def test_a_claim_stops_the_injector_and_nobody_else(tmp_path: Path) -> None:
    injector = Journal.create(tmp_path / "j.jsonl", HEADER)
    guard = Journal(injector.path)
    injector.refuse_if_claimed()
    guard.claim("guard")
    guard.refuse_if_claimed()
    with pytest.raises(InjectionFailed, match="guard undoes this run already"):
        injector.refuse_if_claimed()


def test_a_journal_is_never_written_over(tmp_path: Path) -> None:
    Journal.create(tmp_path / "j.jsonl", HEADER)
    with pytest.raises(RecordUnusable, match="nothing is injected"):
        Journal.create(tmp_path / "j.jsonl", HEADER)


def test_one_failing_undo_does_not_keep_the_others_and_is_said_with_its_remedy(tmp_path: Path) -> None:
    world = small_cluster()
    journal = Journal.create(tmp_path / "j.jsonl", HEADER)
    play(journal, world)

    def refuse(what: str) -> None:
        if what == "patch nodes/worker-2":
            raise Unreachable("PATCH nodes/worker-2: no answer")

    world.before_write = refuse
    endings = replay([journal], lambda _: site_of(world), "operator", say_nothing, budget_s=1.0)
    verified = {ending.entry.fault: ending.verified for ending in endings}
    assert verified == {kind: kind != "cordon-worker" for kind, _ in STORY}
    with pytest.raises(StillBroken, match=r"no answer; by hand: kubectl uncordon worker-2"):
        refuse_if_broken(endings)
    world.before_write = lambda _what: None
    assert undo(journal, world)
    assert not journal.read().open_entries


def test_a_full_disk_does_not_keep_a_fault_in(tmp_path: Path) -> None:
    world = small_cluster()
    journal = Journal.create(tmp_path / "j.jsonl", HEADER)
    before = world.declared()
    play(journal, world)
    with patch.object(Journal, "append", side_effect=RecordUnusable("no space left on device")):
        endings = replay([journal], lambda _: site_of(world), "chaos", say_nothing, budget_s=1.0)
    assert all(ending.verified for ending in endings)
    assert world.declared() == before


def test_verified_means_two_equal_readings_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.chaos.replay.APART_S", 0.2)
    monkeypatch.setattr("harness.chaos.replay.PAUSE_S", 0.01)
    world = small_cluster()
    journal = Journal.create(tmp_path / "j.jsonl", HEADER)
    play(journal, world)
    seen = iter((0, 3, 0))  # mongodb is back, falls again, and comes back

    fault = fault_named("kill-mongo")
    real = type(fault).reading

    def flapping(self: object, site: Site, case: object) -> object:
        reading = real(self, site, case)  # type: ignore[arg-type]
        return dataclasses.replace(reading, seen=f"{next(seen, 0)} ready")

    with patch.object(type(fault), "reading", flapping):
        assert undo(journal, world)
    assert next(seen, None) is None


def test_the_frozen_target_comes_back_without_credentials() -> None:
    target = TARGET.model_copy(update={"mongodb_uri": "mongodb://user:secret@host/db"})
    frozen = freeze(target)
    assert b"secret" not in bytes(frozen)
    thawed = thaw(frozen)
    assert thawed.kubernetes == target.kubernetes
    assert thawed.limits == target.limits


def test_lines_of_a_newer_harness_are_left_out_not_misread() -> None:
    data = msgspec.json.encode(HEADER) + b'\n{"line":"something_new"}\n'
    assert parse(data).header == HEADER
    assert parse(data).entries == ()
