"""The suite finds what is wrong with a fault: one wrong fault per promise, on a control plane alone."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.chaos.faults import faults_outside
from harness.chaos.faults.cordon_worker import CordonWorker
from harness.chaos.journal import Journal
from harness.chaos.replay import replay
from harness.contract.bench import Bench, bench
from harness.contract.promises import INSTANTS, PROMISES, broken
from harness.contract.trial import Trial
from harness.errors import Exit
from harness.target.model import Hands
from tests.contract.wrong_faults import WRONG
from tests.lone_plane import LonePlane

HERE = "tests.contract.wrong_faults"
HANDS = Hands(network="true {node} {verb} {amount}", network_timer="true {node} {verb} {after_s}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("wrong")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        plane = LonePlane(folder, controllers=True)
        paths = tuple(sorted({f"{HERE}:{wrong.__name__}" for wrong, _ in WRONG}))
        target = plane.target.model_copy(update={"faults": paths, "hands": HANDS})
        with bench(target, folder / "contract", windows=0) as made:
            yield made
        plane.stop()


@pytest.fixture(autouse=True)
def mended(place: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take back by hand what a wrong fault has left; be quick."""
    monkeypatch.setattr("harness.contract.attempt.LATE_S", 1.0)
    monkeypatch.setattr("harness.contract.attempt.SETTLE_S", 0.5)
    monkeypatch.setitem(replay.__kwdefaults__, "budget_s", 3.0)
    yield
    gone = ("focus-harness/entry", "undone", "undone-twice")
    for node in place.cluster.nodes():
        taken = {
            "labels": dict.fromkeys(gone),
            "annotations": {"undone-before": None, "focus-harness/way-back": None},
        }
        place.cluster.patch(
            "nodes", node["metadata"]["name"], {"metadata": taken, "spec": {"unschedulable": None}}
        )
    place.cluster.delete("configmaps", "left-behind")
    for file in (place.run / "undo").glob("*.jsonl"):
        for progress in Journal(file).read().open_entries:
            Journal(file).moved(progress.entry.id, "verified", "test")
            place.cluster.delete("configmaps", f"undo-{progress.entry.id}", "focus-harness")


@pytest.mark.parametrize(
    ("wrong", "promise"), WRONG, ids=[f"{wrong.kind}-{promise}" for wrong, promise in WRONG]
)
def test_a_wrong_fault_is_found(place: Bench, wrong: type, promise: str) -> None:
    (fault,) = faults_outside([f"{HERE}:{wrong.__name__}"])
    said = broken(place.try_out(fault))
    assert promise in [text.split(": ")[1] for text in said], said


def test_every_promise_is_broken_by_some_wrong_fault_but_the_one_about_the_record() -> None:
    found = {promise for _, promise in WRONG}
    assert {promise.__name__ for promise in PROMISES} - found == {"its_instants_are_recorded"}


def test_a_record_that_lacks_an_instant_or_has_them_in_another_order_is_found() -> None:
    steps = {step.value: 1.0 for step in INSTANTS}
    trial = Trial(CordonWorker(), active=True, verified=True, steps=steps)
    assert broken(trial) == []
    for found in (dict(reversed(steps.items())), {**steps, "failed": 2.0}, dict(list(steps.items())[:-1])):
        assert "its_instants_are_recorded" in str(broken(replace(trial, steps=found)))
    assert "its_instants_are_recorded" in str(broken(replace(trial, ended=Exit.BROKEN)))
