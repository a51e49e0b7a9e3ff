"""A campaign's stages of arrivals: steps, ramps, spikes, soaks and staircases as stretches of time."""

from pathlib import Path

import pytest

from harness.campaign import read_campaign
from harness.campaign.arrivals import stretches
from harness.errors import FileProblems

CAMPAIGN = """
schema: 1
name: arriving
duration: 100s
load:
  hold: {{min: 1s, max: 2s}}
  arrivals:
    stages: [{stages}]
"""


def read(folder: Path, stages: str) -> list[tuple[float, float, float, float]]:
    file = folder / "c.yaml"
    file.write_text(CAMPAIGN.format(stages=stages))
    campaign = read_campaign(file)
    assert campaign.load.arrivals is not None
    return list(stretches(campaign.load.arrivals, campaign.duration))


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ("{at: 5s, rate: 2}", [(5, 100, 2, 2)]),
        ("{at: 0s, rate: 2}, {at: 10s, rate: 0}, {at: 20s, rate: 3}", [(0, 10, 2, 2), (20, 100, 3, 3)]),
        ("{at: 0s, rate: 8, over: 40s}", [(0, 40, 0, 8), (40, 100, 8, 8)]),
        (
            "{at: 0s, rate: 2}, {at: 50s, rate: 20, for: 5s}",
            [(0, 50, 2, 2), (50, 55, 20, 20), (55, 100, 2, 2)],
        ),
        (
            "{at: 0s, rate: 2}, {at: 10s, rate: 8, over: 30s, steps: 3}",
            [(0, 10, 2, 2), (10, 20, 4, 4), (20, 30, 6, 6), (30, 40, 8, 8), (40, 100, 8, 8)],
        ),
        (
            "{at: 0s, rate: 10}, {at: 50s, rate: 0, over: 50s}",
            [(0, 50, 10, 10), (50, 100, 10, 0)],
        ),
    ],
)
def test_stages_become_stretches(
    tmp_path: Path, stages: str, expected: list[tuple[float, float, float, float]]
) -> None:
    assert read(tmp_path, stages) == expected


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ("{at: 0s, rate: -1}", "greater than or equal to 0"),
        ("{at: 0s, rate: .nan}", "finite"),
        ("{at: 0s, rate: 0}", "no stage has a rate above 0"),
        ("{at: 5s, rate: 1}, {at: 5s, rate: 2}", "stages overlap"),
        ("{at: 0s, rate: 1, over: 20s}, {at: 10s, rate: 2}", "goes on until 20s"),
        ("{at: 0s, rate: 1, steps: 4}", "steps need"),
        ("{at: 0s, rate: 1, for: 0s}", "leave it out"),
        ("{at: 90s, rate: 1, over: 20s}", "make `duration` longer"),
    ],
)
def test_stages_that_make_no_sense_are_refused_with_the_way_out(
    tmp_path: Path, stages: str, words: str
) -> None:
    with pytest.raises(FileProblems, match=words):
        read(tmp_path, stages)


def test_a_load_of_nobody_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("schema: 1\nname: c\nduration: 10s\nload: {hold: {min: 1s, max: 2s}}\n")
    with pytest.raises(FileProblems, match="nobody asks for windows"):
        read_campaign(file)
