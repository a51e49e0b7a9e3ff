"""Phases follow the faults' own events: what clients see while a fault is still going away is not recovery."""

from pathlib import Path

from harness.campaign import Campaign, plan
from harness.clock import SECOND_NS, ManualClock
from harness.conduct.phases import FaultBoard, Phases
from harness.history.events import FaultChanged, FaultStep, Phase, PhaseChanged
from harness.history.reader import read_history
from harness.history.writer import HistoryWriter

CAMPAIGN = Campaign.model_validate(
    {
        "schema": 1,
        "name": "two-faults",
        "warm_up": "2s",
        "duration": "40s",
        "recover": "5s",
        "load": {"stages": [{"at": 0, "open_windows": 1}], "hold": {"min": "1s", "max": "1s"}},
        "timeline": [
            {"experiment": "quake", "at": "5s", "hold": "5s"},
            {"experiment": "flood", "at": "20s", "hold": "5s"},
        ],
    }
)


WRITERS = {"quake": "chaos-1", "flood": "chaos-2"}


def fault(experiment: str, step: FaultStep) -> FaultChanged:
    return FaultChanged(at_ns=0, entry=f"{experiment}-1", fault=experiment, experiment=experiment, step=step)


def played(folder: Path, heard: dict[int, FaultChanged]) -> list[tuple[int, str, str]]:
    """Tick once a second for 45 s from instant 100 s on; return (second, phase, step) of every change."""
    clock, board = ManualClock(100 * SECOND_NS), FaultBoard()
    writer = HistoryWriter(folder, "conductor")
    phases = Phases(plan(CAMPAIGN), board, writer, clock)
    for second in range(45):
        if second in heard:
            board.absorb(heard[second], WRITERS[heard[second].experiment])
        phases.tick(100 * SECOND_NS)
        clock.advance(SECOND_NS)
    phases.drain()
    writer.close()
    events = [record.event for record in read_history(folder).events]
    return [(e.at_ns // SECOND_NS - 100, str(e.phase), e.step) for e in events if isinstance(e, PhaseChanged)]


def test_a_fault_that_comes_and_goes_as_planned(tmp_path: Path) -> None:
    heard = {
        6: fault("quake", FaultStep.INJECTED),
        11: fault("quake", FaultStep.VERIFIED),
        20: fault("flood", FaultStep.INJECTED),
        26: fault("flood", FaultStep.VERIFIED),
    }
    assert played(tmp_path, heard) == [
        (0, "warm-up", ""),
        (2, "baseline", ""),
        (5, "inject", "quake"),
        (6, "hold", "quake"),
        (10, "undo", "quake"),
        (11, "recover", "quake"),
        (16, "baseline", ""),
        (20, "hold", "flood"),
        (25, "undo", "flood"),
        (26, "recover", "flood"),
        (31, "baseline", ""),
        (45, "drain", ""),
    ]


def test_undoing_that_takes_long_is_not_called_recovery(tmp_path: Path) -> None:
    heard = {6: fault("quake", FaultStep.INJECTED), 17: fault("quake", FaultStep.VERIFIED)}
    changes = played(tmp_path, heard)
    assert (10, "undo", "quake") in changes
    assert (17, "recover", "quake") in changes


def test_drain_is_the_last_phase(tmp_path: Path) -> None:
    clock = ManualClock()
    writer = HistoryWriter(tmp_path, "conductor")
    phases = Phases(plan(CAMPAIGN), FaultBoard(), writer, clock)
    phases.drain()
    phases.tick(0)
    writer.close()
    (only,) = read_history(tmp_path).events
    assert isinstance(only.event, PhaseChanged)
    assert only.event.phase is Phase.DRAIN


def test_one_experiment_twice_on_the_timeline_has_two_lives(tmp_path: Path) -> None:
    twice = CAMPAIGN.model_dump(by_alias=True)
    twice["timeline"] = [
        {**step.model_dump(by_alias=True), "experiment": "quake"} for step in CAMPAIGN.timeline
    ]
    spans = ("warm_up", "duration", "recover", "drain")
    twice |= {key: f"{twice[key]}s" for key in spans}
    twice["leaks"] = {"later": "0s"}
    for step in twice["timeline"]:
        step |= {"at": f"{step['at']}s", "hold": f"{step['hold']}s"}
    twice["load"] = {"stages": [{"at": 0, "open_windows": 1}], "hold": {"min": "1s", "max": "1s"}}
    clock, board = ManualClock(), FaultBoard()
    writer = HistoryWriter(tmp_path, "conductor")
    phases = Phases(plan(Campaign.model_validate(twice)), board, writer, clock)
    heard = {6: ("a", FaultStep.INJECTED, "chaos-1"), 11: ("a", FaultStep.VERIFIED, "chaos-1"),
             22: ("b", FaultStep.INJECTED, "chaos-2"), 27: ("b", FaultStep.VERIFIED, "guard")}  # fmt: skip
    board.absorb(
        FaultChanged(at_ns=0, entry="b", fault="q", experiment="quake", step=FaultStep.OPENED), "chaos-2"
    )
    for second in range(35):
        if second in heard:
            entry, step, by = heard[second]
            board.absorb(FaultChanged(at_ns=0, entry=entry, fault="q", experiment="quake", step=step), by)
        phases.tick(0)
        clock.advance(SECOND_NS)
    writer.close()
    changes = [r.event for r in read_history(tmp_path).events if isinstance(r.event, PhaseChanged)]
    second_life = [(e.at_ns // SECOND_NS, str(e.phase)) for e in changes if e.at_ns >= 20 * SECOND_NS]
    assert second_life == [(20, "inject"), (22, "hold"), (25, "undo"), (27, "recover"), (32, "baseline")]
