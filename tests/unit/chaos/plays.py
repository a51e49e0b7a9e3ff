"""What the tests of faults share: a play in a world in memory, and what each fault is asked for there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from memory_world import TARGET, MemoryWorld, site_of, small_cluster

from harness.chaos.copies import write_copy
from harness.chaos.faults import Case, Fault, fault_named
from harness.chaos.journal import Journal, new_header
from harness.chaos.play import Held, Play
from harness.chaos.replay import Ending
from harness.chaos.world import freeze
from harness.clock import SystemClock
from harness.history.events import FaultChanged, FaultStep
from harness.history.reader import read_history
from harness.history.writer import HistoryWriter
from harness.target import Target

MakePlay = Callable[..., Play]
GIVEN: dict[str, dict[str, object]] = {
    "cordon-worker": {"nodes": "all"},
    "drain-worker": {"nodes": "all"},
    "worker-not-ready": {"nodes": "all"},
    "worker-crash": {"nodes": "all"},
    "kill-mongo": {"repeat": False},
    "kill-focus-server": {"repeat": False},
    "api-server-slow": {"delay": "80ms"},
    "fill-windows": {"windows": "6"},
}


def a_world(kind: str) -> MemoryWorld:
    """Return a world with a few windows; where nodes are cordoned, somebody has cordoned one before."""
    return small_cluster(
        cordoned=("worker-2",) if kind in {"cordon-worker", "drain-worker"} else (), windows=3
    )


def new_play(folder: Path, world: MemoryWorld, target: Target = TARGET) -> Play:
    """Return a play that writes into `folder`."""
    clock = SystemClock.start()
    header = new_header("test", "chaos-1", freeze(target), clock.start_ns)
    journal = Journal.create(folder / "undo" / "chaos-1.jsonl", header)
    history = HistoryWriter(folder / "history", "chaos-1")
    return Play(site_of(world, target), header, journal, history, clock, "test")


KILLED = {"kill-mongo": "delete pods/mongodb", "kill-focus-server": "delete pods/focus"}
"""They kill once here; successors stay away until `undo`, so that the effect can be seen."""


def opened(play: Play, kind: str, **given: object) -> tuple[Fault[Any, Any], Case[Any, Any]]:
    """Return a fault and its case as they are right before the injection: its entry stands in the cluster."""
    fault, asked = fault_named(kind), arguments(kind, **given)
    entry, case = play._entry(fault, asked, fault.look(play.site, asked), 60)
    return fault, replace(case, owner_uid=write_copy(play.site, play.header, entry, "mend"))


def begin(play: Play, world: MemoryWorld, kind: str) -> Held:
    """Begin a fault as it is usually asked for here."""

    def hear(what: str) -> None:
        if what.startswith(KILLED[kind]):
            world.mongodb_returns = False

    if kind in KILLED:
        world.before_write = hear
    return play.begin(fault_named(kind), arguments(kind), 30)


def undo(play: Play, world: MemoryWorld) -> list[Ending]:
    """Let successors come, and undo what is in."""
    world.mongodb_returns = True
    world._control()
    return play.undo()


def arguments(kind: str, **given: object) -> Any:
    """Return a fault's arguments: what it is usually asked for here, and what is given."""
    return msgspec.convert({**GIVEN.get(kind, {}), **given}, fault_named(kind).arguments)


def steps(folder: Path) -> list[FaultStep]:
    """Return the instants that a play has recorded."""
    records = read_history(folder / "history").events
    return [r.event.step for r in records if isinstance(r.event, FaultChanged)]
