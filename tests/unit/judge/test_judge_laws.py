"""Laws of judging: nothing is counted twice or lost, intervals are intervals, and it does not matter when a run was."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from run_story import WATCHERS, Story

from harness.clock import SECOND_NS
from harness.history.events import LoadState, Outcome, Phase, SlotsSeen, WatcherState
from harness.judge.findings import Findings
from harness.judge.steps import Steps, ints

tenths = st.integers(0, 250).map(lambda tenth: tenth / 10)
refusing = st.sampled_from([o for o in Outcome if o not in (Outcome.STREAMING, Outcome.UNKNOWN)])


@st.composite
def stories(draw: st.DrawFn, shift_s: float = 0.0) -> Story:
    story = Story(max_windows=draw(st.none() | st.integers(1, 4)), shift_s=shift_s)
    story.begin(sees=draw(st.sampled_from([WATCHERS, (), ("services",), ("pods", "nodes")])))
    for phase, at_s in zip(
        draw(st.permutations(list(Phase))), sorted(draw(st.lists(tenths, max_size=4))), strict=False
    ):
        story.phase(at_s, phase)
    for _ in range(draw(st.integers(0, 5))):
        sent = draw(tenths)
        held = draw(tenths)
        story.window(
            sent,
            draw(st.none() | st.just(sent + 1 + held)),
            gone_s=draw(st.none() | st.just(sent + 1 + held + draw(tenths))),
            outcome=draw(
                st.sampled_from([Outcome.STREAMING, Outcome.STREAM_BROKEN, Outcome.PENDING_NO_START])
            ),
            service=draw(st.booleans()),
        )
    for _ in range(draw(st.integers(0, 5))):
        sent = draw(tenths)
        story.attempt(sent, sent + draw(tenths), draw(refusing))
    for _ in range(draw(st.integers(0, 2))):
        sent = draw(tenths)
        story.lost(sent, sent + draw(tenths))
    for number in range(draw(st.integers(0, 2))):
        start = draw(tenths)
        story.service(f"{number}-99", start, draw(st.none() | st.just(start + draw(tenths))))
    for at_s, seeing in draw(st.lists(st.tuples(tenths, st.booleans()), max_size=3)):
        story.say(WatcherState(at_ns=story.at(at_s), watcher="services", seeing=seeing), "observe")
    for at_s, up in draw(st.lists(st.tuples(tenths, st.booleans()), max_size=3)):
        story.depends(at_s, draw(st.sampled_from(["mongodb", "kubernetes_api"])), up=up)
    for at_s, count in draw(st.lists(st.tuples(tenths, st.integers(0, 5)), max_size=3)):
        seen = SlotsSeen(at_ns=story.at(at_s), running_pods=count, pending_pods=0, slots=count)
        story.say(seen, "observe")
        load = LoadState(
            at_ns=story.at(at_s), streams_open=1, opening=0, creates=0, unknown=0, lag_ns=1, cpu=0.1
        )
        story.say(load, "engine")
    if draw(st.booleans()):
        injected = draw(tenths)
        undone = draw(st.none() | st.just(injected + draw(tenths)))
        story.fault("f", injected=injected, undone=undone, verified=None if undone is None else undone + 1)
    story.end(30)
    return story


@settings(max_examples=30, deadline=None)
@given(stories())
def test_every_create_is_counted_exactly_once(story: Story) -> None:
    findings = story.judged()
    assert findings.creates == len(story.attempts)
    for rows in (findings.seconds, findings.by_phase):
        assert sum(row.creates for row in rows) == findings.creates
        assert sum(row.refused_503 for row in rows) == findings.refused_503
        assert all(sum(row.outcomes.values()) == row.creates for row in rows)
    assert sum(findings.outcomes.values()) == findings.creates
    assert sum(group.refused_503 for group in findings.failures) == findings.refused_503
    failed = findings.creates - findings.outcomes.get("accepted", 0) - findings.outcomes.get("cancelled", 0)
    assert sum(group.count for group in findings.failures if not group.of_windows) == failed
    ended = sum(findings.windows.outcomes.values())
    assert ended + findings.windows.still_open == findings.creates
    assert sum(sum(table.windows.values()) for table in findings.by_phase) == ended
    whole = {s.measure: s.count for s in findings.spreads if not s.phase}
    parts: dict[str, int] = {}
    for spread in findings.spreads:
        if spread.phase:
            parts[spread.measure] = parts.get(spread.measure, 0) + spread.count
    assert whole == parts


@settings(max_examples=30, deadline=None)
@given(stories())
def test_intervals_are_never_negative_and_never_upside_down(story: Story) -> None:
    findings = story.judged()
    rows: list[Any] = [*findings.seconds, *findings.by_phase, *findings.failures]
    assert all(0 <= row.open.certain <= row.open.possible for row in rows)
    assert findings.open_windows.certain_max <= findings.open_windows.possible_max
    assert all(span.to_ns > span.from_ns for span in findings.phases)
    assert all(
        one.to_ns == two.from_ns for one, two in zip(findings.phases, findings.phases[1:], strict=False)
    )
    assert all(gap.to_ns > gap.from_ns for gap in findings.gaps)


def _shifted(value: Any, by_ns: int) -> Any:
    """Take whole seconds off every instant of encoded findings."""
    if isinstance(value, dict):
        return {
            key: item - by_ns if key.endswith("_ns") and isinstance(item, int) else _shifted(item, by_ns)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return tuple(_shifted(item, by_ns) for item in value)
    return value


def _timeless(findings: Findings) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(findings)
    for name in ("seconds", "by_phase", "phases", "run"):  # these begin at the run's start by definition
        del told[name]
    del told["open_windows"]
    for gate in told["gates"]:
        del gate["reason"]  # words with times in them
    del told["verdict"]["reason"], told["verdict"]["reasons"]
    return told


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_shifting_all_times_changes_nothing_but_the_times(data: st.DataObject) -> None:
    story = data.draw(stories())
    later = Story(**{**vars(story), "shift_s": 0.0})
    by_ns = 7 * SECOND_NS
    later.events = [
        (writer, msgspec.structs.replace(event, at_ns=event.at_ns + by_ns)) for writer, event in story.events
    ]
    later.attempts = [(sent + by_ns, done + by_ns, *rest) for sent, done, *rest in story.attempts]  # type: ignore[misc]
    later.frames = [(at + by_ns, *rest) for at, *rest in story.frames]  # type: ignore[misc]
    one, other = story.judged(), later.judged()
    assert _timeless(one) == _shifted(_timeless(other), by_ns)
    assert [row.outcomes for row in one.seconds] == [row.outcomes for row in other.seconds[7:]]
    assert [row.open for row in one.seconds] == [row.open for row in other.seconds[7:]]


@settings(max_examples=20, deadline=None)
@given(stories())
def test_findings_survive_their_own_json(story: Story) -> None:
    findings = story.judged()
    assert msgspec.json.decode(msgspec.json.encode(findings), type=Findings) == findings


intervals = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), max_size=12)


@given(intervals, st.lists(st.tuples(st.integers(-5, 70), st.integers(0, 20)), min_size=1))
def test_a_step_function_agrees_with_counting_by_hand(
    spans: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    steps = Steps.counting(ints(s for s, _ in spans), ints(s + n for s, n in spans))

    def open_at(instant: int) -> int:
        return sum(start <= instant < start + length for start, length in spans)

    from_ns, to_ns = ints(a for a, _ in asked), ints(a + n for a, n in asked)
    by_hand = [[open_at(i) for i in range(a, a + n + 1)] for a, n in asked]
    assert steps.at(from_ns).tolist() == [row[0] for row in by_hand]
    assert steps.lowest(from_ns, to_ns).tolist() == [min(row) for row in by_hand]
    assert steps.highest(from_ns, to_ns).tolist() == [max(row) for row in by_hand]
