"""What lies in deploy/ is what the harness makes and understands."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from harness.chaos.deployment import reverter_objects
from harness.target.model import Hands

ROOT = Path(__file__).resolve().parents[2]
HAND = ROOT / "deploy" / "focus-hand"


def test_the_manifest_is_what_the_command_prints() -> None:
    """After a wanted change: `harness reverter manifest`, under the two lines of comment."""
    text = (ROOT / "deploy" / "reverter.yaml").read_text(encoding="utf-8")
    assert list(yaml.safe_load_all(text)) == [obj for _, obj in reverter_objects()]


class Node:
    """A node on which every tool only writes down how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "calls"
        self.api = folder / "kube-apiserver.yaml"
        self.api.write_text("manifest")
        for tool in ("systemctl", "systemd-run", "tc", "iptables"):
            script = folder / tool
            # Deleting a rule ends with 1 when there is none left; a unit is inactive.
            script.write_text(
                f'#!/bin/sh\necho "{tool} $*" >> {self.log}\ncase "$*" in *" -D "*|*is-active*) exit 1;; esac\n'
            )
            script.chmod(0o755)

    def hand(self, *arguments: str) -> tuple[int, list[str]]:
        self.log.write_text("")
        done = subprocess.run(
            [str(HAND), *arguments],
            env={
                "PATH": f"{self.folder}:{os.environ['PATH']}",
                "FOCUS_API": str(self.api),
                "FOCUS_PARKED": str(self.folder / "parked.yaml"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, self.log.read_text().splitlines()


def test_every_hand_of_a_target_is_one_the_script_knows(tmp_path: Path) -> None:
    """The comment on top of the script names a line per hand; each can be filled in, and the script takes it."""
    node = Node(tmp_path)
    lines = HAND.read_text(encoding="utf-8").splitlines()
    said = dict(
        line.removeprefix("#").strip().split(": ", 1)
        for line in lines
        if "focus-hand" in line and ": " in line and "ssh" in line
    )
    hands = Hands.model_validate({key: value.strip() for key, value in said.items()})
    assert set(said) == set(Hands.model_fields)
    verbs = {
        "node": ("freeze", "thaw", "kill", "start"),
        "network": ("slow", "drop", "clear"),
        "api": ("down", "slow", "up"),
    }
    for name, command in said.items():
        for verb in verbs[name.removesuffix("_timer")]:
            filled = getattr(hands, name).format(node="n1", verb=verb, amount="200ms", after_s=30).split()
            code, calls = node.hand(*filled[filled.index("focus-hand") + 1 :])
            assert code == 0, command
            assert calls or name == "api"


def test_taking_back_may_be_said_again_and_again(tmp_path: Path) -> None:
    node = Node(tmp_path)
    for _ in range(2):
        assert node.hand("api", "down")[0] == 0
        assert not node.api.exists()
    for _ in range(2):
        assert node.hand("api", "up")[0] == 0
        assert node.api.read_text() == "manifest"
    assert node.hand("network", "clear")[0] == 0
    assert node.hand("node", "thaw") == (
        0,
        [
            "systemctl kill --signal=SIGCONT kubelet",
            "systemctl is-active --quiet kubelet",
            "systemctl start kubelet",
        ],
    )


def test_a_timer_replaces_an_earlier_one_and_zero_forgets_it(tmp_path: Path) -> None:
    node = Node(tmp_path)
    code, calls = node.hand("later", "90", "node", "thaw")
    assert code == 0
    assert calls[0].startswith("systemctl stop focus-harness-node.timer")
    assert (
        calls[-1]
        == f"systemd-run --quiet --collect --unit=focus-harness-node --on-active=90 {HAND} node thaw"
    )
    code, calls = node.hand("later", "0", "node", "thaw")
    assert code == 0
    assert not any(call.startswith("systemd-run") for call in calls)


@pytest.mark.parametrize("words", [(), ("node",), ("node", "burn"), ("gpu", "melt")])
def test_what_it_does_not_know_it_refuses(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert Node(tmp_path).hand(*words) == (2, [])
