"""What the page says and draws of a search for capacity."""

from harness.judge.findings.capacity import CapacityLevel, CapacitySearch, SlotCeiling
from harness.judge.sequential import Decision
from harness.report import sentences
from harness.report.capacity import plot


def level(at: float, decision: Decision, share: float) -> CapacityLevel:
    return CapacityLevel(
        level=at, decision=decision, probes=1, held=0, windows=100, unsuccessful=round(100 * (1 - share)), slow=0, stalled=0,
        success_share=share, success_low=share - 0.05, success_high=min(1.0, share + 0.03), ready_p95_s=1.2, achieved=None,
    )  # fmt: skip


def search(ceiling: SlotCeiling | None) -> CapacitySearch:
    levels = (level(2.0, Decision.SUSTAINED, 1.0), level(2.04, Decision.REFUTED, 0.94))
    return CapacitySearch(
        sought="rate", unit="windows per second", value=2.0, above=2.04, most=20, converged=True, levels=levels, ceiling=ceiling
    )  # fmt: skip


SLOTS = SlotCeiling(per_s=2.2, slots=12, life_s=5.454, lives=80)


def test_the_edge_lies_between_its_two_levels_and_the_ceiling_right_of_them() -> None:
    drawn = plot(search(SLOTS), 1080)
    assert drawn is not None
    held, refused = drawn.dots
    assert drawn.edge == (held.x, refused.x)
    assert drawn.ceiling is not None
    assert refused.x < drawn.ceiling.at <= drawn.right
    assert [tick.label for tick in drawn.shares] == ["100 %", "90 %", "80 %"]
    assert held.y < refused.y, "more is higher"


def test_without_slots_there_is_no_ceiling() -> None:
    drawn = plot(search(None), 1080)
    assert drawn is not None
    assert drawn.ceiling is None
    assert sentences.capacity(search(None)) == "2.04 was not held."


def test_the_sentence_says_what_the_slots_allow() -> None:
    assert sentences.capacity(search(SLOTS)) == (
        "2.04 was not held. Its 12 slots, each taken for 5.45 s on average, allow 2.2 at most, however many may fail."
    )
