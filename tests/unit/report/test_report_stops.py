"""Stop conditions are shown: on the page below the gates, in the text when one ended the run, to CI, and live."""

import xml.etree.ElementTree as ET

import msgspec
from story import run_info

from harness.clock import SECOND_NS
from harness.errors import Exit
from harness.history.events import ConditionState, Record, StopConditionChanged
from harness.judge.findings import Findings, Status, StopFinding
from harness.report import LiveState, junit_xml, summary_text
from harness.report.page import render_page

REASON = "stop condition 'health <page>' held for 5 s: http://host/health answers 503, wanted 200"


def stopped(findings: Findings) -> Findings:
    """Return the story's findings as if a stop condition had ended the run."""
    held = StopFinding(
        name="health <page>",
        state=ConditionState.HOLDS,
        value=503.0,
        detail=REASON,
        held=1,
        held_s=5.25,
        unknown_s=0.0,
        first_held_ns=62 * SECOND_NS,
        ended=True,
    )
    calm = StopFinding(
        name="cpu",
        state=ConditionState.CLEAR,
        value=1.0,
        detail="the expression is 1, stops at > 5",
        held=0,
        held_s=0.0,
        unknown_s=2.0,
        first_held_ns=None,
        ended=False,
    )
    verdict = msgspec.structs.replace(
        findings.verdict, status=Status.FAILED, exit_code=Exit.FAILED, reason=REASON, reasons=(REASON,)
    )
    return msgspec.structs.replace(findings, verdict=verdict, stops=(held, calm))


def test_the_page_lists_them_and_says_which_one_ended_the_run(findings: Findings) -> None:
    page = render_page(stopped(findings), run_info(), "reports/tour")
    table = page[page.index("<h3>Stop conditions</h3>") :]
    table = table[: table.index("</table>")]
    rows = table.split("<tr>")[2:]
    assert '<th scope="row">health &lt;page&gt;</th>' in rows[0]
    assert "holds, ended the run" in rows[0]
    assert "1:02.0" in rows[0]
    assert ">never</td>" in rows[1]
    assert "clear</td>" in rows[1]
    assert "Stop conditions" not in render_page(findings, run_info(), "reports/tour")


def test_the_text_begins_with_the_condition_that_ended_the_run(findings: Findings) -> None:
    text = " ".join(summary_text(stopped(findings), run_info()).split())
    assert f"run 20261123-211500-tour: {REASON}" in text


def test_ci_sees_it_beside_failed_gates_too(findings: Findings) -> None:
    found = stopped(findings)
    gate = msgspec.structs.replace(found.gates[0], status=Status.FAILED)
    xml = ET.fromstring(junit_xml(msgspec.structs.replace(found, gates=(gate,)), run_info()))
    assert [error.get("message") for error in xml.iter("error")] == [REASON]
    assert len(list(xml.iter("failure"))) == 1


def test_whoever_looks_on_hears_of_it(findings: Findings) -> None:
    state = LiveState()
    told = (
        (ConditionState.CLEAR, False),
        (ConditionState.UNKNOWN, False),
        (ConditionState.HOLDS, False),
        (ConditionState.HOLDS, True),
    )
    for number, (now, ended) in enumerate(told, start=1):
        event = StopConditionChanged(at_ns=number, name="cpu", state=now, detail="so it is", ended=ended)
        state.absorb(Record(writer="conductor", seq=number, event=event))
    assert [(line.level, line.text) for line in state.snapshot().headlines] == [
        ("warning", "stop condition 'cpu' is not known: so it is"),
        ("warning", "stop condition 'cpu' holds: so it is"),
        ("error", "so it is"),
    ]
