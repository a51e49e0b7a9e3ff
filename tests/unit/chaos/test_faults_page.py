"""docs/faults.md and the tuple of faults say the same; every fault has its action and its experiment."""

import inspect
import re
from itertools import groupby
from pathlib import Path

import pytest
from memory_world import TARGET, MemoryWorld, small_cluster

from harness.chaos import actions
from harness.chaos.faults import FAULTS, Fault, fault_named
from harness.chaos.preflight import rehearse
from harness.chaos.story import arguments_of, planned_faults, read_story, variables
from harness.chaos.world import Site
from harness.cluster import Right
from harness.errors import InputError, TargetError

ROOT = Path(__file__).resolve().parents[3]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))


def row(kind: str) -> str:
    """Return the line of the table that a fault deserves."""
    fault = fault_named(kind)
    rights = sorted(fault.rights(Site(MemoryWorld(), TARGET)), key=_where)
    said = [
        f"{', '.join(right.verb for right in group)} {what}" + (f" in `{namespace}`" if namespace else "")
        for (what, namespace), group in groupby(rights, key=_where)
    ]
    losses = "; ".join(f"`{loss.name}`: {loss.what}" for loss in fault.losses) or "nothing"
    signature = fault.signature
    seen = f"{signature.seen} ({signature.where}); within {signature.within_s:g} s, gone within {signature.gone_within_s:g} s"
    cells = (
        f"`{kind}`",
        fault.title,
        fault.undo_text,
        losses,
        fault.blast_radius,
        seen,
        "; ".join(said) or "none",
    )
    return "| " + " | ".join(cells) + " |"


def _where(right: Right) -> tuple[str, str]:
    return f"{right.kind}/{right.subresource}".rstrip("/"), right.namespace


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


def test_the_page_says_of_every_fault_who_can_undo_it_when_nobody_outside_is_left() -> None:
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    section = page.partition("## Who undoes what")[2].partition("\n## ")[0]
    inside = [line for line in section.splitlines() if line.startswith("| API calls")]
    outside = [line for line in section.splitlines() if line.startswith("| a command")]
    assert _kinds(*inside) == {fault.kind for fault in FAULTS if fault.undone_inside}
    assert _kinds(*outside) == {fault.kind for fault in FAULTS if not fault.undone_inside}


def _kinds(*lines: str) -> set[str]:
    named = {word for line in lines for word in re.findall(r"[a-z][a-z-]+", line)}
    return named & {fault.kind for fault in FAULTS}


def test_the_page_names_every_parameter_and_its_variable() -> None:
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| [a-z]", line)]
    for file in EXPERIMENTS:
        here = " ".join(
            row for row in rows if file.stem in _kinds(row.split("|")[1]) or row.startswith("| all |")
        )
        for name, said in read_story(file).document["configuration"].items():
            assert f"`{name}` (`{said['key']}`)" in here, f"{file.stem}: {name}"


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_an_experiment_asks_for_what_its_action_asks_for_by_itself(file: Path) -> None:
    story = read_story(file)
    ((kind, asked),) = planned_faults(story, {})
    signature = inspect.signature(getattr(actions, kind.replace("-", "_"))).parameters
    given = {name: parameter.default for name, parameter in signature.items()}
    assert set(story.parameters) == set(given)
    hold_s = given.pop("hold_s")
    assert asked == arguments_of(fault_named(kind), given)
    assert story.document["configuration"]["hold_s"]["default"] == hold_s
    assert hold_s >= fault_named(kind).signature.within_s, "too short to be felt"
    for name in given:
        assert story.document["method"][0]["provider"]["arguments"][name] == f"${{{name}}}"


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_an_experiment_can_be_rehearsed_and_writes_nothing(file: Path) -> None:
    world = small_cluster(windows=2)
    rehearse(TARGET, world, file, {})  # type: ignore[arg-type]
    assert world.writes == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_an_experiment_says_what_off_the_sandbox_has_to_be_accepted(fault: Fault[object, object]) -> None:
    text = (ROOT / "experiments" / f"{fault.kind}.yaml").read_text(encoding="utf-8")
    comment = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    names = ", ".join(loss.name for loss in fault.losses)
    assert (f"`accept: [{names}]`" in comment) if names else "Destroyed for good" not in comment


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
