"""Two ways to the same numbers: what the live path adds up to is what the judge finds in the record."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from story import run_info, tell

from harness.history.reader import read_history
from harness.history.samples import ATTEMPTS, FRAMES
from harness.judge.findings import Findings
from harness.measures.catalogue import BY_NAME
from harness.measures.portion import of_records, of_samples
from harness.report import LiveState, Snapshot
from harness.report.prometheus import registry_of


@pytest.fixture(scope="module")
def both(findings: Findings) -> tuple[Findings, CollectorRegistry, Snapshot]:
    story, state = tell(), LiveState(run_info())
    for message in story.told:
        state.absorb(message)
    return findings, registry_of(state), state.snapshot()


def test_the_metrics_end_at_what_the_judge_counts(both: tuple[Findings, CollectorRegistry, Snapshot]) -> None:
    findings, registry, _ = both
    value = registry.get_sample_value
    for outcome, count in findings.outcomes.items():
        assert value("harness_creates_total", {"outcome": outcome}) == count
    assert value("harness_refusals_total") == findings.refused_503
    assert value("harness_frames_total") == findings.frames
    assert value("harness_stream_bytes_total") == findings.bytes
    assert value("harness_max_windows") == findings.open_windows.max_windows
    assert value("harness_window_ready_seconds_count") == findings.windows.ready
    assert value("harness_first_frame_seconds_count") == findings.windows.first_frame
    closed = {name: count for name, count in findings.windows.outcomes.items() if name != "unavailable_503"}
    for outcome, count in closed.items():
        assert value("harness_windows_closed_total", {"outcome": outcome}) == count
    assert value("harness_leftovers_total") == len(findings.leftovers)


def test_means_agree_and_quantiles_lie_in_their_buckets(
    both: tuple[Findings, CollectorRegistry, Snapshot],
) -> None:
    findings, _, seen = both
    whole = {spread.measure: spread for spread in findings.spreads if not spread.phase}
    for measure, histogram in (("ready", seen.ready), ("first_frame", seen.first_frame)):
        assert histogram.sum_s / histogram.count == pytest.approx(whole[measure].mean)
        assert histogram.count == whole[measure].count


def test_open_windows_by_source_agree_second_by_second(
    both: tuple[Findings, CollectorRegistry, Snapshot],
) -> None:
    findings = both[0]
    state, told = LiveState(run_info()), {}
    for message in tell().told:
        state.absorb(message)
        counts = state.snapshot().open_windows
        if counts:
            told[state.snapshot().last_ns // 1_000_000_000] = counts
    compared = 0
    for second in findings.seconds:
        if second.at_s in told and second.slots is not None and second.streams is not None:
            assert told[second.at_s] == {
                "streams": second.streams,
                "pods": second.pods,
                "slots": second.slots,
            }
            compared += 1
    assert compared > 150


def test_live_sums_are_what_the_measures_say_of_the_files(
    findings: Findings, both: tuple[Findings, CollectorRegistry, Snapshot], tmp_path: Path
) -> None:
    history = read_history(tell().write(tmp_path / "run") / "history")
    attempts = history.samples[ATTEMPTS.name]
    samples = of_samples(attempts, attempts.rows, history.samples[FRAMES.name].rows)
    assert both[2].measured["refusals"] > 0
    for name, live in both[2].measured.items():
        measure = BY_NAME[name]
        state = measure.step(measure.step(measure.start(), samples), of_records(history.events))
        assert live == (measure.result(state).value or 0), name


def test_faults_that_the_judge_saw_undone_are_not_active(
    both: tuple[Findings, CollectorRegistry, Snapshot],
) -> None:
    findings, registry, seen = both
    assert {fault.entry for fault in seen.faults} == {fault.entry for fault in findings.faults}
    for fault in findings.faults:
        assert fault.undone_ns is not None
        labels = {"experiment": fault.experiment, "fault": fault.fault}
        assert registry.get_sample_value("harness_fault_active", labels) == 0
