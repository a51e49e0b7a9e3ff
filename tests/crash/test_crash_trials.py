"""Six crash trials of a run, each another blow, in `make test`; thirty in `make test-long`; `make crash` plays three hundred.

Measured seconds go to reports/crash-trials.json.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.crash.__main__ import faults_here, play, write_summary
from tests.crash.trial import HEALED_WITHIN_S, PROCESSES, Attack, attacks
from tests.crash.world import ROOT

SIX = (
    ("cordon-worker", "kill", PROCESSES),
    ("focus-server-outage", "stop", ("conductor",)),
    ("mongo-stall", "partition", ("chaos", "conductor")),
    ("saturate-gpu", "kill", ("chaos", "guard")),
    ("revoke-kubernetes-access", "stop", ("chaos",)),
    ("slow-network", "ci", ()),
)


def heal(plan: list[Attack], sandboxes: int, folder: Path, report: str) -> None:
    """Play the trials; fail with what did not heal."""
    outcomes = play(plan, sandboxes, folder, lambda _number, _outcome: None)
    said = write_summary(outcomes, 0, 0.0, ROOT / "reports" / report)
    assert said["covered"]["kills"] == sum(one.covered for one in outcomes) == len(plan)
    assert not said["failures"], said["failures"]
    assert all(one.seconds <= HEALED_WITHIN_S for one in outcomes)


@pytest.mark.timeout(400)
def test_six_blows_heal(tmp_path: Path) -> None:
    plan = [
        Attack(fault, way, victims, after_s=2.0 + number / 2, apart_s=0.3, pause_s=8.5)
        for number, (fault, way, victims) in enumerate(SIX)
    ]
    heal(plan, 2, tmp_path, "crash-trials.json")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_thirty_random_blows_heal(tmp_path: Path) -> None:
    plan = [one for one in attacks(faults_here(""), 60, seed=os.getpid()) if one.is_covered][:30]
    heal(plan, 3, tmp_path, "crash-trials-long.json")


def test_the_plan_meets_every_fault_with_every_blow() -> None:
    faults = faults_here("")
    plan = attacks(faults, 22 * len(faults), seed=1)
    met = {(one.fault, one.name) for one in plan}
    assert len(met) == 22 * len(faults)
    assert {one.fault for one in plan} == set(faults)
    assert shutil.which("rabbitmq-server") is None or "rabbitmq-outage" in faults
