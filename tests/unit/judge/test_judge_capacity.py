"""A search for capacity: the sequential test keeps its error rates, the search finds edges, probes are counted as they went."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_story import Story

from harness.campaign.capacity import Known, Objectives, Search
from harness.errors import Exit
from harness.history.events import CapacitySought, Phase, ProbeEnded, ProbeStarted
from harness.history.run import GatePlan
from harness.judge.capacity import (
    Tally,
    achieved,
    assess,
    ceiling,
    expected_edge,
    interval,
    needed,
    slot_lives_s,
    tally,
    trial,
)
from harness.judge.findings import Findings, Status
from harness.judge.findings.capacity import SlotCeiling
from harness.judge.sequential import Decision, SequentialTest
from harness.measures.gate import bounds_status
from harness.report.sentences import lead

AIMS = Objectives()
SURE = SequentialTest(0.05, 0.5, 0.95)


def decided(test: SequentialTest, share: float, chance: random.Random) -> Decision:
    failures = seen = 0
    while (decision := test.decide(failures, seen)) is Decision.OPEN:
        seen += 1
        failures += chance.random() < share
    return decision


@pytest.mark.parametrize(("good", "bad"), [(0.05, 0.5), (0.001, 0.01)])
def test_a_share_at_either_hypothesis_is_decided_wrongly_no_more_often_than_promised(
    good: float, bad: float
) -> None:
    test, chance = SequentialTest(good, bad, 0.95), random.Random(1)
    wrong_good = sum(decided(test, good, chance) is Decision.REFUTED for _ in range(1000))
    wrong_bad = sum(decided(test, bad, chance) is Decision.SUSTAINED for _ in range(1000))
    # Wald: both errors together are at most 10 %; a thousand draws of 5 % lie below 7.5 % but once in three thousand.
    assert wrong_good <= 75
    assert wrong_bad <= 75


@pytest.mark.parametrize("share", [0.001, 0.003, 0.01])
def test_whatever_the_share_is_the_test_comes_to_an_end(share: float) -> None:
    test, chance = SequentialTest(0.001, 0.01, 0.95), random.Random(2)
    for _ in range(300):
        failures = seen = 0
        while test.decide(failures, seen) is Decision.OPEN:
            seen += 1
            failures += chance.random() < share
        assert seen <= 3 * test.needed


def test_five_flawless_trials_or_two_failed_ones_decide() -> None:
    assert SURE.needed == 5
    assert [SURE.decide(0, n) for n in (4, 5)] == [Decision.OPEN, Decision.SUSTAINED]
    assert [SURE.decide(n, n) for n in (1, 2)] == [Decision.OPEN, Decision.REFUTED]


@pytest.mark.parametrize("wrong", [(0.5, 0.05, 0.95), (0.0, 0.5, 0.95), (0.05, 0.5, 0.5)])
def test_what_is_no_test_is_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="no test"):
        SequentialTest(*wrong)


# --- the search -------------------------------------------------------------------------------------


def searched(
    search: Search,
    held: Callable[[float], bool],
    achieves: Callable[[float], float | None],
    trials: int = 5,
    hint: float | None = None,
    serves: Callable[[float], float | None] = lambda _: None,
) -> tuple[dict[float, Known], int]:
    """Play a search against a target that is known; a level needs `trials` good tries, or two bad ones."""
    tries: dict[float, int] = {}
    known: dict[float, Known] = {}
    probes = 0
    while (following := search.next(known, hint if known else None)) is not None:
        level, probes = following.level, probes + 1
        assert 0 < level <= search.most
        assert probes < 500
        tries[level] = tries.get(level, 0) + 1
        good = held(level)
        if search.precision:  # a whole probe decides, a brief one only leans unless it fails
            sustained = None if following.effort and good else good
        else:
            sustained = (
                True if good and tries[level] >= trials else False if not good and tries[level] >= 2 else None
            )
        reached = None if good else achieves(level)
        known[level] = Known(sustained, good, tries[level], achieved=reached, served=serves(level))
    return known, probes


@given(truth=st.integers(0, 300), start=st.integers(1, 300), hinted=st.booleans())
@settings(max_examples=300)
def test_whole_numbers_are_found_exactly(truth: int, start: int, hinted: bool) -> None:
    search = Search(start=start, most=1000)
    known, probes = searched(search, lambda level: level <= truth, lambda _: float(truth) if hinted else None)
    value, above, done = search.found(known)
    assert (value, above, done) == (truth, truth + 1, True)
    assert probes <= 5 + 2 + 2 * math.ceil(math.log2(1001)) + 1


@given(truth=st.floats(0.2, 180), start=st.floats(0.1, 100), off=st.floats(0.97, 1.03))
@settings(max_examples=300)
def test_a_rate_is_found_within_its_precision_also_when_what_was_achieved_is_a_little_off(
    truth: float, start: float, off: float
) -> None:
    search = Search(start=start, most=10_000, precision=0.02)
    known, probes = searched(search, lambda level: level <= truth, lambda _: truth * off)
    value, above, done = search.found(known)
    assert done
    assert value <= truth < (above or 0) <= value * 1.0201
    assert probes <= 25


@pytest.mark.parametrize("precision", [0.002, 0.02, 0.1])
@pytest.mark.parametrize("loses", [0.0, 0.01, 0.1])
@given(truth=st.floats(0.2, 180), begun=st.floats(0.5, 0.9), off=st.floats(0.5, 2))
@settings(max_examples=60)
def test_a_hint_saves_probes_and_a_wrong_one_costs_few(
    precision: float, loses: float, truth: float, begun: float, off: float
) -> None:
    """Whatever is said of what was achieved and served, the search halves what is left in the end."""
    search = Search(start=truth * begun, most=10_000, precision=precision)
    known, probes = searched(
        search, lambda level: level <= truth, lambda level: level, hint=truth * off, serves=lambda level: level * (1 - loses)
    )  # fmt: skip
    value, above, done = search.found(known)
    assert done
    assert value <= truth < (above or 0) <= value * (1 + precision) * 1.0001
    near = 1 - precision / 4 <= off <= 1 + precision / 4
    # Away from the hint by ever more, three levels led by what was served, halves of what is left, and the edge decided.
    assert probes <= (6 if near else 2 * math.log2(1 / precision) + 8)
    assert max(known) <= max(2.1 * truth, truth * off * (1 + precision)), (
        "no level is tried that is far above"
    )


def test_nothing_above_what_is_allowed_is_tried_and_that_is_an_answer() -> None:
    search = Search(start=8, most=20)
    known, _ = searched(search, lambda _: True, lambda _: None)
    assert max(known) == 20
    assert search.found(known) == (20, None, True)


# --- what probes show -------------------------------------------------------------------------------


def test_a_trial_holds_when_no_more_are_amiss_than_the_objective_allows() -> None:
    assert trial(10, Tally(windows=10), AIMS) is True
    assert trial(10, Tally(windows=9), AIMS) is None, "one is not known yet"
    assert trial(10, Tally(windows=3, unsuccessful=1), AIMS) is False
    assert trial(10, Tally(windows=10, slow=1), AIMS) is False
    assert trial(10, Tally(windows=10, stalled=1), AIMS) is False
    assert trial(200, Tally(windows=200, unsuccessful=2), AIMS) is True
    assert trial(200, Tally(windows=200, unsuccessful=3), AIMS) is False


def test_a_rate_is_decided_by_each_objective() -> None:
    def of(**amiss: int) -> Decision:
        return assess("rate", 1.0, [Tally(windows=400, timed=400, streamed=400, **amiss)], AIMS).decision

    assert needed("rate", AIMS) == 326
    assert of() is Decision.SUSTAINED
    assert of(unsuccessful=4) is Decision.REFUTED
    assert of(slow=4) is Decision.REFUTED
    assert of(stalled=4) is Decision.REFUTED
    assert assess("rate", 1.0, [Tally(windows=100)], AIMS).decision is Decision.OPEN


def test_shares_come_with_their_interval() -> None:
    low, high = interval(95, 100)
    assert low == pytest.approx(0.8882, abs=1e-4)
    assert high == pytest.approx(0.9785, abs=1e-4)
    assert interval(0, 0) == (None, None)


def sought(story: Story, kind: str, most: float = 60) -> None:
    event = CapacitySought(
        at_ns=story.at(0.1), sought=kind, success=0.99, ready_within_s=5, unstalled=0.99, confidence=0.95,
        precision=0.02, hold_s=5, most=most,
    )  # fmt: skip
    story.say(event)


def probe(
    story: Story, number: int, level: float, begin_s: float, refused: int, kind: str = "windows"
) -> None:
    """A probe of as many windows as its level, the last of which are refused."""
    first = story.windows + 1
    story.say(
        ProbeStarted(
            at_ns=story.at(begin_s), probe=number, sought=kind, level=level, first_window=first,
            planned=int(level), counted_ns=story.at(begin_s),
        )
    )  # fmt: skip
    story.phase(begin_s, Phase.BASELINE, f"{kind} {level:g}")
    for each in range(int(level)):
        at_s = begin_s + each / 10
        window = story.windows + 1
        story.arrivals.append((story.at(at_s), story.at(at_s), window, 1, "sent"))
        if each < int(level) - refused:
            story.window(at_s, begin_s + 4)
        else:
            story.refused(at_s, at_s + 0.05)
    story.say(ProbeEnded(at_ns=story.at(begin_s + 3.9), probe=number))
    story.phase(begin_s + 4, Phase.WARM_UP)


def of_three() -> Story:
    """A target that has room for three: one probe of each level up to it and beyond, and the edge confirmed."""
    story = Story(max_windows=3).begin()
    sought(story, "windows")
    levels = [(2, 0), (4, 1), (3, 0), (4, 1), (3, 0), (3, 0), (3, 0), (3, 0)]
    for number, (level, refused) in enumerate(levels, start=1):
        probe(story, number, level, number * 10.0, refused)
    story.plan(sum(level for level, _ in levels))
    story.end(len(levels) * 10 + 12)
    return story


def judged(story: Story, *gates: GatePlan) -> Findings:
    story.gates = gates
    return story.judged()


def test_a_search_is_judged_from_its_record() -> None:
    found = of_three().judged()
    assert found.capacity is not None
    (search,) = found.capacity.searches
    assert (search.value, search.above, search.converged, search.top) == (3, 4, True, 3)
    assert [(one.level, one.decision.value, one.probes, one.held) for one in search.levels] == [
        (2, "open", 1, 1),
        (3, "sustained", 5, 5),
        (4, "refuted", 2, 0),
    ]
    (four,) = [one for one in search.levels if one.level == 4]
    assert (four.windows, four.unsuccessful, four.achieved) == (8, 2, 3)
    assert "The target sustains 3 windows open at once (not 4)." in lead(found)
    (gate,) = [one for one in found.gates if one.measure == "capacity"]
    assert gate.status is Status.PASSED


def test_what_is_known_by_a_probes_end_is_all_that_counts() -> None:
    story = Story(max_windows=3).begin()
    sought(story, "windows")
    probe(story, 1, 2, 1.0, 0)
    ended = story.events.pop(-2)
    story.events.append((ended[0], ProbeEnded(at_ns=story.at(1.15), probe=1)))
    story.end(20)
    found = story.judged()
    assert found.capacity is not None
    (level,) = found.capacity.searches[0].levels
    assert (level.windows, level.decision) == (0, Decision.OPEN), "nothing streamed before the probe was over"


@pytest.mark.parametrize(
    ("op", "limit", "status"),
    [
        (">=", 3, Status.PASSED),
        (">=", 4, Status.FAILED),
        (">", 3, Status.FAILED),
        ("==", 3, Status.PASSED),
        ("<", 3, Status.FAILED),
        ("<=", 3, Status.PASSED),
    ],
)
def test_a_requirement_is_a_gate(op: str, limit: float, status: Status) -> None:
    gate = GatePlan(name="required", measure="capacity", of="windows", op=op, limit=limit)
    found = judged(of_three(), gate)
    (told,) = [one for one in found.gates if one.measure == "capacity"]
    assert (told.name, told.status) == ("required", status)
    assert found.verdict.exit_code is (Exit.OK if status is Status.PASSED else Exit.FAILED)


def test_an_edge_that_was_not_found_is_not_judged_and_a_requirement_below_it_holds_all_the_same() -> None:
    def story() -> Story:
        told = Story(max_windows=3).begin()
        sought(told, "windows")
        for number in range(1, 6):
            probe(told, number, 2, number * 10.0, 0)
        told.plan(10)
        told.end(70)
        return told

    found = story().judged()
    assert found.capacity is not None
    assert (found.capacity.searches[0].value, found.capacity.searches[0].converged) == (2, False)
    assert found.verdict.exit_code is Exit.UNJUDGED
    two = GatePlan(name="two", measure="capacity", of="windows", op=">=", limit=2)
    assert judged(story(), two).verdict.exit_code is Exit.OK
    three = GatePlan(name="three", measure="capacity", of="windows", op=">=", limit=3)
    assert judged(story(), three).verdict.exit_code is Exit.UNJUDGED


def test_what_was_opened_per_second_is_what_a_rate_achieved() -> None:
    seen = Tally(sent=100, answered=100, opened=80, span_s=20.0)
    assert achieved("rate", [seen]) == 4.0
    assert achieved("rate", [Tally()]) is None
    assert achieved("creates", [seen]) is None


def lives(*of_s: float, slots: int = 12, refused: int = 50, seen_s: float = 100.0) -> Tally:
    return Tally(
        windows=100,
        unsuccessful=refused,
        lives_s=tuple((seen_s, life_s) for life_s in of_s),
        most_slots=slots,
    )


def test_slots_by_their_mean_life_are_the_ceiling() -> None:
    rates = {"rate": {2.0: [lives(*[4.0] * 5)], 3.0: [lives(*[6.0] * 5, slots=11)]}}
    assert ceiling(rates, AIMS) == SlotCeiling(per_s=2.4, slots=12, life_s=5.0, lives=10)
    assert ceiling({"rate": {2.0: [lives(*[5.0] * 4)]}}, AIMS) is None, "four lives are too few"
    held = {"rate": {2.0: [lives(*[5.0] * 9, refused=0)]}}
    assert ceiling(held, AIMS) is None, "nothing was refused: nobody knows how many slots there are"
    stray = {
        "rate": {
            2.0: [
                Tally(
                    windows=1000,
                    timed=1000,
                    streamed=1000,
                    unsuccessful=1,
                    lives_s=((100.0, 5.0),) * 9,
                    most_slots=10,
                )
            ]
        }
    }
    assert ceiling(stray, AIMS) is None, "one failure of a thousand is no limit"
    opened = {"windows": {11.0: [Tally(windows=11, unsuccessful=1, opened=10)] * 2}}
    assert ceiling(held | opened, AIMS) == SlotCeiling(per_s=2.0, slots=10, life_s=5.0, lives=9)
    slow = {"windows": {11.0: [Tally(windows=11, slow=5, opened=11)] * 2}}
    assert ceiling(held | slow, AIMS) is None, "all were opened: it was no limit that made the level fail"
    hundred = {
        "windows": {
            103.0: [Tally(windows=103, opened=100, unsuccessful=3)] * 2,
            102.0: [Tally(windows=102, opened=100, unsuccessful=2)] * 5,
        }
    }
    found = ceiling(held | hundred, Objectives(success=0.98))
    assert found is not None
    assert found.slots == 100, "not as many as may be asked for with some of them failing"


def test_short_lives_seen_at_a_probes_end_do_not_stand_for_the_long_ones_that_were_not() -> None:
    story = Story(max_windows=3).begin()
    started = ProbeStarted(
        at_ns=story.at(1),
        probe=1,
        sought="rate",
        level=1.0,
        first_window=1,
        planned=20,
        counted_ns=story.at(1),
    )
    for number in range(20):
        at_s = 1.0 + number
        story.arrivals.append((story.at(at_s), story.at(at_s), story.windows + 1, 1, "sent"))
        story.window(at_s, at_s + 1, gone_s=at_s + (2 if number % 2 else 6))
    seen = tally(story.history(), started, AIMS, story.at(20.0))
    assert sorted(slot_lives_s([seen])) == pytest.approx([2.0] * 7 + [6.0] * 7), "of those sent by second 14"
    brief = Tally(lives_s=((5.0, 2.0), (4.0, 2.0)))
    assert len(slot_lives_s([seen, brief])) == 14, (
        "a probe that was too brief for long lives says nothing of short ones"
    )


def refused_share(rate: float, slots: int, draw: Callable[[], float]) -> float:
    """Constant arrivals against slots, by another way than the judge's: each slot's next free instant."""
    free_at = [0.0] * slots
    refused = 0
    for number in range(20_000):
        first = min(range(slots), key=free_at.__getitem__)
        if free_at[first] <= number / rate:
            free_at[first] = number / rate + draw()
        else:
            refused += 1
    return refused / 20_000


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("slots", [4, 12, 30])
def test_the_edge_is_expected_where_about_a_third_of_what_may_fail_fails(slots: int, spread: float) -> None:
    chance = random.Random(3)

    def draw() -> float:
        return 8 * chance.uniform(1 - spread, 1 + spread)

    aims = Objectives(success=0.97)
    edge = expected_edge({"rate": {1.0: [lives(*[draw() for _ in range(300)], slots=slots)]}}, aims)
    assert edge is not None
    assert refused_share(edge * 0.98, slots, draw) < 0.03, "just below, less fails than the objective allows"
    assert refused_share(edge * 1.02, slots, draw) > 0.003, "just above, more than a tenth of it"
    if not spread:
        assert edge == pytest.approx(slots / 8, rel=0.02)


@pytest.mark.parametrize(
    ("life_s", "below"),
    [
        (lambda chance: chance.uniform(7.92, 8.08), 0.012),
        (lambda chance: chance.uniform(7.2, 8.8), 0.09),
        (lambda chance: 10.0 if chance.random() < 1 / 3 else 8.0, 0.13),
    ],
)
def test_the_spread_of_lives_costs_what_the_docs_say(
    life_s: Callable[[random.Random], float], below: float
) -> None:
    chance, aims = random.Random(1), Objectives(success=0.97)
    tried = {"rate": {1.0: [lives(*[life_s(chance) for _ in range(2000)])]}}
    allowed, edge = ceiling(tried, aims), expected_edge(tried, aims)
    assert allowed is not None
    assert edge is not None
    assert 1 - edge / allowed.per_s == pytest.approx(below, abs=0.006)


def test_bounds_decide_what_they_can() -> None:
    assert bounds_status(3, 5, ">=", 3) is Status.PASSED
    assert bounds_status(3, 5, ">=", 4) is Status.UNJUDGED
    assert bounds_status(3, 5, ">=", 6) is Status.FAILED
    assert bounds_status(3, 5, "==", 4) is Status.UNJUDGED
    assert bounds_status(3, 5, "==", 6) is Status.FAILED
    assert bounds_status(3, 5, "!=", 6) is Status.PASSED
    assert bounds_status(3, 3, "!=", 3) is Status.FAILED
    assert bounds_status(3, 3, "about", 3) is Status.UNJUDGED


def test_engines_that_play_one_after_the_other_are_one_voice_and_silence_within_a_probe_is_still_told() -> (
    None
):
    def story(pause_s: float) -> Story:
        told = Story(max_windows=3).begin()
        sought(told, "windows")
        for number in (1, 2):
            begin_s = number * 20.0
            probe(told, number, 2, begin_s, 0)
            for at_s in (begin_s - 1, begin_s + pause_s, begin_s + 8):
                told.load(at_s)
                told.events[-1] = (f"engine-{number}", told.events[-1][1])
        told.plan(4)
        told.end(70)
        return told

    def silent_s(pause_s: float) -> float | None:
        found = story(pause_s).judged()
        assert found.validity is not None
        (value,) = [one.value for one in found.validity.checks if one.name == "load_silent"]
        return value

    assert silent_s(1.0) == pytest.approx(3.0), "from the last word to the probe's end"
    assert silent_s(30.0) == pytest.approx(4.0), "the whole of a probe"
