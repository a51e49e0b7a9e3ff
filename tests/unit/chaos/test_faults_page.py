"""docs/faults.md and the tuple of faults say the same; every fault has its action and its experiment."""

import inspect
from itertools import groupby
from pathlib import Path

import pytest
from memory_world import TARGET, MemoryWorld

from harness.chaos import actions
from harness.chaos.faults import FAULTS, fault_named
from harness.chaos.story import read_story, variables
from harness.chaos.world import Site
from harness.errors import InputError, TargetError

ROOT = Path(__file__).resolve().parents[3]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))


def row(kind: str) -> str:
    """Return the line of the table that a fault deserves."""
    fault = fault_named(kind)
    site = Site(MemoryWorld(), TARGET)
    rights = [
        f"{', '.join(right.verb for right in group)} {where[0]}" + (f" in `{where[1]}`" if where[1] else "")
        for where, group in groupby(
            sorted(fault.rights(site), key=lambda right: (right.kind, right.namespace)),
            key=lambda right: (right.kind, right.namespace),
        )
    ]
    losses = "; ".join(f"`{loss.name}`: {loss.what}" for loss in fault.losses) or "nothing"
    signature = fault.signature
    seen = f"{signature.seen} ({signature.where}); within {signature.within_s:g} s, gone within {signature.gone_within_s:g} s"
    cells = (f"`{kind}`", fault.title, fault.undo_text, losses, fault.blast_radius, seen, "; ".join(rights))
    return "| " + " | ".join(cells) + " |"


def test_the_page_has_a_row_for_every_fault_and_no_other() -> None:
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [row(fault.kind) for fault in FAULTS]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_every_fault_has_an_action_and_an_experiment_of_its_name(fault: object) -> None:
    kind = fault.kind  # type: ignore[attr-defined]
    action = getattr(actions, kind.replace("-", "_"))
    assert "hold_s" in inspect.signature(action).parameters
    story = read_story(ROOT / "experiments" / f"{kind}.yaml")
    assert story.faults == (kind,)
    assert "hold_s" in story.parameters


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_experiments_hold_undo_and_declare_their_rollback(file: Path) -> None:
    document = read_story(file).document
    functions = [activity["provider"]["func"] for activity in document["method"]]
    assert functions[1:] == ["hold", "undo"]
    assert [activity["provider"]["func"] for activity in document["rollbacks"]] == ["undo"]
    text = file.read_text(encoding="utf-8")
    assert "worker-node" not in text, "experiments name roles, never a cluster's names"


def test_parameters_of_an_experiment_are_checked_by_name() -> None:
    story = read_story(ROOT / "experiments" / "cordon-worker.yaml")
    assert variables(story, {"nodes": "all"}, 5.0) == {"nodes": "all", "hold_s": 5.0}
    with pytest.raises(InputError, match="unknown parameter 'nodse'; did you mean 'nodes'"):
        variables(story, {"nodse": "all"}, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [("title: x\n", "has no `method` list"), ("method: [\n", "cannot be read"), (None, "no such file")],
)
def test_what_is_not_an_experiment_is_said(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "x.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_story(file)


def test_an_unknown_fault_in_a_journal_names_the_known_ones() -> None:
    with pytest.raises(TargetError, match="known: cordon-worker"):
        fault_named("set-on-fire")


def test_a_role_the_target_does_not_name_is_said() -> None:
    assert TARGET.kubernetes != "none"
    bare = TARGET.model_copy(update={"kubernetes": TARGET.kubernetes.model_copy(update={"roles": {}})})
    fault = fault_named("kill-mongo")
    with pytest.raises(TargetError, match="names no role 'mongodb'"):
        fault.look(Site(MemoryWorld(), bare), fault.arguments())
