"""The admission limit as an invariant: every violation that cannot be explained is found, and nothing else ever is."""

import sys
from collections import Counter
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from admission_model import BUGS, explainable, run
from hypothesis import given, settings
from hypothesis import strategies as st
from run_story import Story, ns

from harness.history.events import Outcome, WatcherState
from harness.judge.admission import (
    LATE_REFUSAL_NS,
    LOST_AFTER_NS,
    UNCLEAR_NS,
    UNSHOWN_NS,
    Refusals,
    Spans,
    admission,
)
from harness.judge.findings import AdmissionFinding, Status
from harness.judge.record import RunRecord
from harness.judge.sightings import identity
from harness.judge.slots import WATCH_LAG_NS
from harness.judge.windows import Hold, Windows
from harness.judge.world import World

VIOLATIONS, CLEAN = 500, 1000


def parts(story: Story) -> tuple[Windows, Refusals, Spans, int]:
    """Return the windows of a history, its refusals (nothing else explains them), its unclear creates, and its last instant."""
    record = RunRecord(story.run(), story.history())
    world = World(record.records, record.attempts, record.end_ns)
    refused = record.creates[record.creates["outcome"] == record.attempts.number(Outcome.UNAVAILABLE_503)]
    refusals = Refusals(
        refused["sent_ns"], refused["done_ns"], np.zeros(len(refused), dtype=bool), refused["window"]
    )
    numbers = [window.number for window in world.windows.unknown]
    broke = record.creates["outcome"] == record.attempts.number(Outcome.SERVER_5XX)
    loose = record.creates[np.isin(record.creates["window"], numbers) | broke]
    return world.windows, refusals, Spans(loose["sent_ns"], loose["done_ns"]), record.end_ns


def moved_by(one: Hold, by_ns: int) -> Hold:
    """Return a hold at another time."""
    return replace(
        one,
        sure=tuple((start + by_ns, end + by_ns) for start, end in one.sure),
        possible=(one.possible[0] + by_ns, one.possible[1] + by_ns),
        closed_ns=None if one.closed_ns is None else one.closed_ns + by_ns,
        gone_ns=None if one.gone_ns is None else one.gone_ns + by_ns,
    )


def looked_at(story: Story) -> AdmissionFinding:
    """Return what the checker says of a history."""
    windows, refusals, unclear, end_ns = parts(story)
    return admission(
        windows.holds, refusals, limit=story.max_windows, sighted=True, end_ns=end_ns, unclear=unclear
    )


def test_every_unexplainable_violation_is_found_and_no_explainable_history_raises_an_alarm() -> None:
    caught: Counter[str] = Counter()
    unobservable: Counter[str] = Counter()
    missed, false = [], []
    for seed in count():
        bug = BUGS[seed % len(BUGS)]
        story, server, seen = run(seed, bug)
        if not server.acted:
            continue
        alarmed = looked_at(story).status is Status.FAILED
        if explainable(seen):
            unobservable[bug] += 1
            false += [(seed, bug)] if alarmed else []
            continue
        caught[bug] += 1
        missed += [] if alarmed else [(seed, bug)]
        if caught.total() == VIOLATIONS:
            break
    injected = caught + unobservable
    for bug in BUGS:
        sys.stdout.write(
            f"\n{bug}: {injected[bug]} injected, {unobservable[bug]} ({unobservable[bug] / injected[bug]:.0%}) unobservable"
        )
    share = unobservable.total() / injected.total()
    sys.stdout.write(
        f"\n{VIOLATIONS} that no order explains, {len(missed)} missed; {unobservable.total()} of {injected.total()} injected ({share:.0%}) "
        "were unobservable\n"
    )
    assert not missed, f"{len(missed)} missed, among them {missed[:5]}"
    assert not false, f"{len(false)} false alarms, among them {false[:5]}"
    assert all(caught[bug] >= VIOLATIONS // 20 for bug in BUGS)


def test_no_alarm_in_a_thousand_clean_histories() -> None:
    refused = 0
    for seed in range(CLEAN):
        story, server, seen = run(seed)
        assert not server.acted
        assert explainable(seen), f"the model cannot explain a clean history: seed {seed}"
        found = looked_at(story)
        assert found.status is Status.PASSED, f"seed {seed}: {found.reason}"
        refused += len(seen.refused)
    assert refused > CLEAN  # the limit was at work


# --- what counts are not needed for ---------------------------------------------------------------


def hold(job: str, *sure: tuple[float, float], closed: float | None = None, seen_to_end: bool = True) -> Hold:
    spans = tuple((ns(start), ns(end)) for start, end in sure)
    return Hold(
        job_id=job,
        number=1,
        sure=spans,
        possible=(spans[0][0] - ns(0.1), spans[-1][1] + ns(0.5)),
        closed_ns=None if closed is None else ns(closed),
        seen_to_end=seen_to_end,
    )


def asked(*spans: tuple[float, float], explained: bool = False) -> Refusals:
    sent, done = (np.array([ns(span[which]) for span in spans], dtype=np.int64) for which in (0, 1))
    return Refusals(sent, done, np.full(len(spans), explained), np.arange(1, len(spans) + 1))


def judged(
    *holds: Hold, refusals: Refusals | None = None, limit: int | None = 2, sighted: bool = True
) -> list[str]:
    refused = refusals or asked()
    found = admission(holds, refused, limit=limit, sighted=sighted, end_ns=ns(1000))
    return [one.kind for one in found.violations]


def test_a_slot_is_lost_when_it_is_still_held_long_after_its_window_was_over() -> None:
    bound_s = LOST_AFTER_NS / 1e9
    assert judged(hold("1-1", (1, 12 + bound_s), closed=10, seen_to_end=False)) == ["lost_slot"]
    assert judged(hold("1-1", (1, 9 + bound_s), closed=10, seen_to_end=False)) == []
    assert judged(hold("1-1", (1, 12 + bound_s), closed=10)) == []  # late, and given back
    assert judged(hold("1-1", (1, 12 + bound_s), seen_to_end=False)) == []  # it is not over


def test_a_slot_given_to_two_windows_at_once_is_reuse() -> None:
    assert judged(hold("1-1", (1, 10)), hold("1-2", (9, 12))) == ["reuse"]
    assert judged(hold("1-1", (1, 10)), hold("1-2", (10, 12))) == []
    assert judged(hold("1-1", (1, 10)), hold("2-2", (9, 12))) == []


def test_a_refusal_that_takes_too_long_is_late_and_one_that_something_explains_is_not_premature() -> None:
    bound_s = LATE_REFUSAL_NS / 1e9
    assert judged(refusals=asked((1, 1.5 + bound_s), explained=True)) == ["late_refusal"]
    assert judged(refusals=asked((1, 0.9 + bound_s), explained=True)) == []
    assert judged(refusals=asked((1, 1.1))) == ["premature_refusal"]


def test_what_ends_at_the_instant_of_a_decision_may_have_been_there_at_it() -> None:
    one, other = replace(hold("1-1", (1, 5)), gone_ns=ns(5)), replace(hold("2-2", (1, 5)), gone_ns=ns(5))
    lag_s = WATCH_LAG_NS / 1e9
    assert judged(one, other, refusals=asked((5 + lag_s, 5.8))) == []
    assert judged(one, other, refusals=asked((5.001 + lag_s, 5.8))) == ["premature_refusal"]
    crowd = [hold(f"{slot}-{slot}", (2, 9)) for slot in (1, 2)]
    assert judged(*crowd, refusals=asked((1, crowd[0].possible[0] / 1e9))) == []


def test_a_window_of_others_may_have_held_its_slot_before_anybody_could_see_it() -> None:
    ours, theirs = hold("1-1", (1, 20)), replace(hold("2-2", (10, 20)), number=0, accepted=False)
    before_s = (UNSHOWN_NS + WATCH_LAG_NS) / 1e9
    assert judged(ours, theirs, refusals=asked((9.8 - before_s, 10 - before_s))) == []
    assert judged(ours, theirs, refusals=asked((9 - before_s, 9.8 - before_s))) == ["premature_refusal"]


def test_a_create_that_broke_may_hold_a_slot_for_a_while_and_not_for_ever() -> None:
    ours, broke = hold("1-1", (1, 50)), Spans(np.array([ns(5)]), np.array([ns(6)]))
    for sent_s, kinds in ((6 + UNCLEAR_NS / 1e9, []), (6.1 + UNCLEAR_NS / 1e9, ["premature_refusal"])):
        found = admission(
            [ours], asked((sent_s, sent_s + 1)), limit=2, sighted=True, end_ns=ns(1000), unclear=broke
        )
        assert [one.kind for one in found.violations] == kinds


def test_a_port_given_to_two_windows_at_once_is_reuse() -> None:
    one, other = replace(hold("1-1", (1, 10)), port=30001), replace(hold("2-2", (9, 12)), port=30001)
    assert judged(one, other) == ["reuse"]
    assert judged(one, replace(other, port=30002)) == []


def test_a_window_that_may_be_somebody_elses_has_lost_no_slot() -> None:
    lost = hold("1-1", (1, 12 + LOST_AFTER_NS / 1e9), closed=10, seen_to_end=False)
    assert judged(lost) == ["lost_slot"]
    assert judged(replace(lost, accepted=False)) == []


def test_a_client_that_learns_late_that_its_stream_broke_holds_no_slot() -> None:
    story = Story(max_windows=1).begin()
    story.window(2, 20, gone_s=8, outcome=Outcome.STREAM_BROKEN)
    other = story.window(9, 15, gone_s=16)
    story.end(400)
    windows, *_ = parts(story)
    [hung, after] = windows.holds
    assert hung.sure[-1][1] == hung.gone_ns - WATCH_LAG_NS == ns(8) - WATCH_LAG_NS
    assert after.number == other
    assert looked_at(story).status is Status.PASSED
    late = Story(max_windows=1).begin()
    late.window(2, 20, gone_s=8, outcome=Outcome.STREAM_BROKEN)
    late.refused(10, 11)  # the slot was seen free for two seconds
    late.end(400)
    assert [one.kind for one in looked_at(late).violations] == ["premature_refusal"]


@pytest.mark.parametrize(("outcome", "sure_until_s"), [(Outcome.STREAM_BROKEN, 5.5), (Outcome.STREAMING, 8)])
def test_what_happened_about_a_blind_spot_was_perhaps_not_told(outcome: Outcome, sure_until_s: float) -> None:
    story = Story(max_windows=1).begin()
    for at_s, seeing in ((6, False), (9, True)):
        story.say(WatcherState(at_ns=story.at(at_s), watcher="services", seeing=seeing), "observe")
    story.window(2, 8, gone_s=9, outcome=outcome)  # a stream that broke did so long before its client knew
    story.end(400)
    windows, *_ = parts(story)
    assert windows.holds[0].sure == ((ns(2.05), ns(sure_until_s)),)
    assert looked_at(story).status is Status.PASSED


def test_every_line_of_a_proof_names_the_records_it_rests_on() -> None:
    story = Story(max_windows=1).begin()
    story.window(2, 20, gone_s=21)
    story.window(3, 20, gone_s=21)
    story.end(400)
    [found] = looked_at(story).violations
    known = {identity(record) for record in story.history().events}
    assert found.kind == "over_admission"
    assert all(len(one.evidence) == 5 and set(one.evidence) <= known for one in found.proof)
    told = story.judged().admission
    assert told is not None
    assert {one.identity for one in told.cited} == {name for one in found.proof for name in one.evidence}


def test_without_a_limit_or_without_sight_of_others_nothing_is_judged() -> None:
    for limit, sighted in ((None, True), (2, False)):
        found = admission(
            [hold("1-1", (1, 10)), hold("1-2", (9, 12))],
            asked(),
            limit=limit,
            sighted=sighted,
            end_ns=ns(100),
        )
        assert found.status is Status.UNJUDGED
        assert not found.violations


def test_the_proof_of_too_many_windows_is_the_shortest_one() -> None:
    crowd = [hold(f"{number}-{number}", (number, 50)) for number in range(1, 9)]
    [found] = admission(crowd, asked(), limit=3, sighted=True, end_ns=ns(100)).violations
    assert (found.kind, found.count, len(found.proof)) == ("over_admission", 1, 4)
    assert found.first_ns == ns(4)
    assert all(one.from_ns <= found.first_ns < one.to_ns for one in found.proof)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5_000), st.sampled_from(["", *BUGS]), st.integers(1, 10_000))
def test_shifting_all_times_changes_nothing(seed: int, bug: str, by_s: int) -> None:
    told = []
    for shift in (0, by_s):
        story, _, _ = run(seed, bug)
        windows, refusals, unclear, end_ns = parts(story)
        moved = [moved_by(one, ns(shift)) for one in windows.holds]
        later = Refusals(
            refusals.sent_ns + ns(shift), refusals.done_ns + ns(shift), refusals.explained, refusals.windows
        )
        loose = Spans(unclear.from_ns + ns(shift), unclear.to_ns + ns(shift))
        found = admission(
            moved, later, limit=story.max_windows, sighted=True, end_ns=end_ns + ns(shift), unclear=loose
        )
        told.append([(one.kind, one.count, one.first_ns - ns(shift)) for one in found.violations])
    assert told[0] == told[1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5_000), st.sampled_from(["", *BUGS]), st.integers(1, 2000))
def test_knowing_less_never_adds_an_alarm(seed: int, bug: str, by_ms: int) -> None:
    story, _, _ = run(seed, bug)
    windows, refusals, unclear, end_ns = parts(story)
    wider = [
        replace(
            one,
            possible=(one.possible[0] - ns(by_ms / 1000), one.possible[1] + ns(by_ms / 1000)),
            gone_ns=None if one.gone_ns is None else one.gone_ns + ns(by_ms / 1000),
        )
        for one in windows.holds
    ]
    kinds = []
    for holds in (windows.holds, wider):
        found = admission(
            holds, refusals, limit=story.max_windows, sighted=True, end_ns=end_ns, unclear=unclear
        )
        kinds.append({one.kind: one.count for one in found.violations})
    assert set(kinds[1]) <= set(kinds[0])
    assert all(kinds[1][kind] <= kinds[0][kind] for kind in kinds[1])


def test_what_was_never_asked_and_what_nobody_could_see_is_not_judged() -> None:
    empty = Refusals(
        *(np.zeros(0, dtype=np.int64),) * 2, np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64)
    )
    nothing = admission((), empty, limit=2, sighted=True, end_ns=ns(10))
    blind = admission([hold("1-1", (1, 5))], empty, limit=2, sighted=True, end_ns=ns(10), blind_share=0.3)
    assert [one.status for one in (nothing, blind)] == [Status.UNJUDGED] * 2
    found = admission([hold("1-1", (1, 5))], empty, limit=0, sighted=True, end_ns=ns(10), blind_share=0.3)
    assert found.status is Status.FAILED, "what was seen is certain, however little was seen"


@pytest.mark.parametrize("mongodb", [True, False])
def test_only_what_the_limit_refuses_late_is_late(mongodb: bool) -> None:
    story = Story(max_windows=3 if mongodb else 1).begin()
    story.depends(1, "mongodb", up=True)
    story.window(2, 30, gone_s=31)
    if mongodb:
        story.depends(11, "mongodb", up=False)
    story.refused(12, 18.5)
    story.end(40)
    kinds = [one.kind for one in story.judged().admission.violations]
    assert kinds == ([] if mongodb else ["late_refusal"])
