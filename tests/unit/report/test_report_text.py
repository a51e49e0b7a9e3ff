"""Verdict as text, markdown and JUnit: the same story in less room, and nothing unjudged turns green."""

import io
import os
import pty
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from story import run_info

from harness.errors import Exit
from harness.judge.findings import AuditRow, Findings, GateFinding, Leftover, Status
from harness.report import junit_xml, markdown_summary, print_verdict, summary_text, write_junit
from harness.report.sentences import lead


def with_gates(findings: Findings, *statuses: Status, code: Exit) -> Findings:
    gates = tuple(
        GateFinding(
            name=f"gate {number}", measure="refusals", of="", during=("hold",), op="<=", limit=3, min_samples=1,
            status=status, value=None if status is Status.UNJUDGED else 7, samples=9, unit="creates", reason=f"reason {number}",
        )
        for number, status in enumerate(statuses)
    )  # fmt: skip
    status = Status.FAILED if Status.FAILED in statuses else Status.UNJUDGED
    verdict = msgspec.structs.replace(
        findings.verdict, exit_code=code, status=status, reason="it <ended> & so"
    )
    return msgspec.structs.replace(findings, gates=gates, verdict=verdict)


def counts(xml: str) -> tuple[int, int, int]:
    root = ET.fromstring(xml)
    suite = root[0]
    cases = suite.findall("testcase")
    failures = [case for case in cases if case.find("failure") is not None]
    errors = [case for case in cases if case.find("error") is not None]
    for element in (root, suite):
        assert (element.get("tests"), element.get("failures"), element.get("errors")) == (
            str(len(cases)),
            str(len(failures)),
            str(len(errors)),
        )
    return len(cases), len(failures), len(errors)


def test_junit_has_every_gate_and_the_run_itself(findings: Findings) -> None:
    xml = junit_xml(findings, run_info())
    assert counts(xml) == (len(findings.gates) + 1, 0, 0)
    names = [case.get("name") for case in ET.fromstring(xml).iter("testcase")]
    assert names == [*(gate.name for gate in findings.gates), "the run ended as planned"]


def test_a_failed_gate_is_a_failure_and_an_unjudged_one_an_error(findings: Findings) -> None:
    found = with_gates(findings, Status.PASSED, Status.FAILED, Status.UNJUDGED, code=Exit.FAILED)
    xml = junit_xml(found, run_info())
    assert counts(xml) == (4, 1, 1)
    failure = next(ET.fromstring(xml).iter("failure"))
    assert failure.get("message") == "7 creates, wanted at most 3 creates: reason 1"


@pytest.mark.parametrize(
    "code", [Exit.BROKEN, Exit.STOPPED, Exit.INJECTION, Exit.RECORD, Exit.FAILED, Exit.UNJUDGED]
)
def test_an_ending_that_no_gate_explains_is_red_too(findings: Findings, code: Exit) -> None:
    found = with_gates(findings, Status.PASSED, code=code)
    assert counts(junit_xml(found, run_info())) == (2, 0, 1)


def test_junit_survives_any_text(findings: Findings) -> None:
    odd = "a\x00\x1b[31m\ud800]]>\"'<&\uffff"
    found = with_gates(findings, Status.FAILED, code=Exit.FAILED)
    gate = msgspec.structs.replace(found.gates[0], name=odd, reason=odd)
    xml = junit_xml(msgspec.structs.replace(found, gates=(gate,)), run_info())
    assert counts(xml) == (2, 1, 0)
    xml.encode("utf-8")


def test_junit_is_written_into_the_folder(findings: Findings, tmp_path: Path) -> None:
    path = write_junit(findings, run_info(), tmp_path)
    assert path == tmp_path / "junit.xml"
    assert ET.parse(path).getroot().tag == "testsuites"


def test_the_text_tells_verdict_reasons_gates_and_where_the_report_is(findings: Findings) -> None:
    text = summary_text(findings, run_info(), "reports/tour/report.html")
    lines = text.splitlines()
    assert lines[0].startswith("PASSED  tour on sandbox, run 20261123-211500-tour: ")
    for gate in findings.gates:
        assert any(gate.name in line and "passed" in line for line in lines)
    assert "Report: reports/tour/report.html" in lines
    assert lines[-1] == "Exit code 0 (ok)"
    assert " ".join(" ".join(lead(findings)).split()) in " ".join(text.split())
    assert sum(int(line.split()[0]) for line in lines if line[:7].strip().isdigit()) == sum(
        group.count for group in findings.failures
    )


def test_an_unhappy_ending_says_whether_trying_again_helps(findings: Findings) -> None:
    found = with_gates(findings, Status.FAILED, code=Exit.FAILED)
    again = msgspec.structs.replace(found.verdict, retry_makes_sense=True)
    assert summary_text(found, run_info()).endswith("Exit code 10 (failed); trying again will not help")
    assert summary_text(msgspec.structs.replace(found, verdict=again), run_info()).endswith("may help")


@pytest.mark.parametrize("width", [60, 80, 100])
def test_sentences_and_gates_fit_the_terminal(findings: Findings, width: int) -> None:
    lines = summary_text(findings, run_info(), width=width).splitlines()
    why = next(number for number, line in enumerate(lines) if line.startswith("Why windows failed"))
    longest_gate = 14 + max(len(gate.name) for gate in findings.gates)
    assert all(len(line) <= max(width, longest_gate) for line in lines[:why])


def printed(findings: Findings) -> str:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        print_verdict(findings, run_info(), "report.html", stream)
    text = os.read(ours, 1 << 16).decode()
    os.close(ours)
    return text


def test_colour_is_for_terminals_and_no_color_is_honoured(
    findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;32mPASSED" in printed(findings)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in printed(findings)
    monkeypatch.delenv("NO_COLOR")
    plain = io.StringIO()
    print_verdict(findings, run_info(), "report.html", plain)
    assert "\x1b" not in plain.getvalue()


def test_a_reader_that_has_read_enough_is_no_error(findings: Findings) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        print_verdict(findings, run_info(), "report.html", stream)


def test_markdown_rows_cannot_be_broken_from_inside(findings: Findings) -> None:
    gate = msgspec.structs.replace(findings.gates[0], name="a | b\n# c `x` [l](u) <img>")
    text = markdown_summary(msgspec.structs.replace(findings, gates=(gate,)), run_info())
    (row,) = [line for line in text.splitlines() if "a \\| b" in line]
    assert row.count("|") - row.count("\\|") == 6
    assert "\\<img>" in row
    assert "\\[l\\](u)" in row


def test_markdown_tells_faults_and_reasons(findings: Findings) -> None:
    text = markdown_summary(findings, run_info())
    assert text.startswith("## ✓ Passed: tour on sandbox\n")
    assert "| cordon-worker | In from 0:46.1 to 1:00.3" in text
    assert "| No worker could take a pod: " in text
    assert "| cordon-worker |" in text


def test_text_and_markdown_say_what_was_left_behind_and_whose_it_is(findings: Findings) -> None:
    owners = ("own", "own", "foreign", "unknown")
    left = tuple(
        Leftover(object_kind="Service", name=f"s{number}", owner=owner, at_ns=1)
        for number, owner in enumerate(owners)
    )
    unseen = (AuditRow(object_kind="queue", before=0, after=0, later=0, ours=0, seen=False, detail="away"),)
    told = msgspec.structs.replace(findings, leftovers=left, audit=unseen)
    for text in (summary_text(told, run_info()), markdown_summary(told, run_info())):
        flat = " ".join(text.split())
        assert "Left behind: 2 x Service of this run's windows; 1 x Service of nobody knows whom; " in flat
        assert "1 x Service of others. Nobody could look for: queue." in flat
    for text in (summary_text(findings, run_info()), markdown_summary(findings, run_info())):
        assert "Left behind" not in text
