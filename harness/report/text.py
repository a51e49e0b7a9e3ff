"""The verdict as text: on the terminal after a run, as `summary.md` for a pull request, as JUnit for CI.

The same sentences as the page, in less room. A gate that could not be judged is an error in JUnit, never a pass and never a
skipped test: CI must not turn "not known" into green.
"""

import os
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Final, TextIO
from xml.sax.saxutils import escape, quoteattr

from rich.cells import cell_len

from harness.errors import Exit
from harness.history.run import RunInfo
from harness.judge.findings import BlameGroup, Findings, GateFinding, Status
from harness.report import sentences, words
from harness.report.page import write_file

JUNIT_FILE: Final = "junit.xml"
WIDEST: Final = 100
COLOURS: Final = {Status.PASSED: "32", Status.FAILED: "31", Status.UNJUDGED: "33"}


def print_verdict(findings: Findings, run: RunInfo, page: str, stream: TextIO | None = None) -> None:
    """Print the verdict, its reasons, the gates and where the report is; in colour on a terminal without NO_COLOR."""
    out = stream or sys.stdout
    colour = out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns) if out.isatty() else WIDEST
    try:
        print(summary_text(findings, run, page, colour=colour, width=width), file=out, flush=True)
    except BrokenPipeError:  # `| head` has read enough: the verdict is in the exit code and on disk
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, out.fileno())
        os.close(nowhere)


def summary_text(
    findings: Findings, run: RunInfo, page: str = "", *, colour: bool = False, width: int = WIDEST
) -> str:
    """Return the verdict as plain text for a terminal of `width` columns."""

    def painted(text: str, status: Status) -> str:
        return f"\x1b[1;{COLOURS[status]}m{text}\x1b[0m" if colour else text

    verdict = findings.verdict
    word = sentences.VERDICT_WORDS[verdict.status].upper()
    told = _wrapped(
        f"{word}  {words.run_name(run.campaign)} on {run.target}, run {run.run_id}: {verdict.reason}", width
    )
    lines = [painted(word, verdict.status) + told.removeprefix(word)]
    lines += [_wrapped(f"  {reason}", width, "  ") for reason in verdict.reasons if reason != verdict.reason]
    lines += [_wrapped(f"  ! {caution}", width, "    ") for caution in sentences.cautions(run)]
    lines += ["", *(_wrapped(sentence, width) for sentence in sentences.lead(findings)), ""]
    longest = max((cell_len(gate.name) for gate in findings.gates), default=0)
    roomy = all(14 + longest + 2 + cell_len(_value(gate)) <= width for gate in findings.gates)
    for gate in findings.gates:
        sign = painted(f"{words.STATUS_SIGN[gate.status]} {gate.status.value:<8}", gate.status)
        pad = " " * (longest - cell_len(gate.name) + 2) if roomy else "\n" + " " * 14
        lines.append(f"  {sign}  {gate.name}{pad}{_value(gate)}")
    lines += ["", *_admission_lines(findings, width), *_why_lines(findings)]
    if left := sentences.left_behind(findings):
        lines += [_wrapped(left, width), ""]
    if page:
        lines.append(f"Report: {page}")
    lines.append(f"Exit code {int(verdict.exit_code)} ({verdict.exit_code.name.lower()}){_retry(findings)}")
    return "\n".join(lines)


def _wrapped(text: str, width: int, indent: str = "") -> str:
    return textwrap.fill(
        text,
        max(20, width),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        drop_whitespace=True,
    )


def _value(gate: GateFinding) -> str:
    return f"{words.measured(gate.value, gate.unit)}, wanted {words.wanted(gate)}"


def _why_lines(findings: Findings) -> list[str]:
    if not findings.failures:
        return []
    count = sum(group.count for group in findings.failures)
    lines = [f"Why windows failed, {words.plural(count, 'time')}, as far as was seen:"]
    for heading, number, during in _told(findings):
        lines.append(f"  {number:>5}  {heading}{f' (during {during})' if during else ''}")
    return [*lines, ""]


def _admission_lines(findings: Findings, width: int) -> list[str]:
    found = findings.admission
    if found is None or not found.violations:
        return []
    return [
        _wrapped(f"The admission limit was broken: {found.reason}.", width),
        *(_wrapped(f"  {one.sentence}", width, "  ") for one in found.violations),
        "",
    ]


def _told(findings: Findings) -> list[tuple[str, int, str]]:
    """Return (heading, count, experiments) of the failures, those of one cause together.

    What lies behind a cause is told where it is the same for all of them; experiments are named only where all fell into the windows
    of faults.
    """
    alike: dict[str, list[BlameGroup]] = {}
    for group in findings.failures:
        alike.setdefault(group.cause, []).append(group)
    rows = []
    for cause, groups in alike.items():
        names = dict.fromkeys(name for group in groups for name in group.during)
        during = words.listed(names) if all(group.during for group in groups) else ""
        behind = {group.behind for group in groups}
        heading = words.cause(cause) + (f": {behind.pop()}" if len(behind) == 1 and behind != {""} else "")
        rows.append((heading, sum(group.count for group in groups), during))
    return sorted(rows, key=lambda row: -row[1])


def _retry(findings: Findings) -> str:
    if findings.verdict.exit_code is Exit.OK:
        return ""
    return "; trying again may help" if findings.verdict.retry_makes_sense else "; trying again will not help"


def markdown_summary(findings: Findings, run: RunInfo) -> str:
    """Return the verdict as markdown, for a pull request or a CI job's summary."""
    verdict = findings.verdict
    sign = words.STATUS_SIGN[verdict.status]
    lines = [
        f"## {sign} {sentences.VERDICT_WORDS[verdict.status]}: {_cell(words.run_name(run.campaign))} on {_cell(run.target)}",
        "",
        f"**{_cell(verdict.reason)}**",
        *(f"- {_cell(reason)}" for reason in verdict.reasons if reason != verdict.reason),
        *(f"- ⚠ {_cell(caution)}" for caution in sentences.cautions(run)),
        "",
        " ".join(_cell(sentence) for sentence in sentences.lead(findings)),
        "",
    ]
    if findings.gates:
        lines += ["| | gate | measured | wanted | samples |", "| --- | --- | ---: | --- | ---: |"]
        lines += [
            f"| {words.STATUS_SIGN[gate.status]} {gate.status.value} | {_cell(gate.name)} "
            f"| {_cell(words.measured(gate.value, gate.unit))} | {_cell(words.wanted(gate))} | {gate.samples} |"
            for gate in findings.gates
        ]
        lines.append("")
    happened = [one for one in sentences.occurrences(findings) if one.entries]
    if happened:
        lines += ["| fault | what happened |", "| --- | --- |"]
        lines += [f"| {_cell(one.name)} | {_cell(sentences.fault_sentence(one))} |" for one in happened]
        lines.append("")
    if findings.failures:
        lines += ["| failures | why, as far as was seen | during |", "| ---: | --- | --- |"]
        lines += [
            f"| {count} | {_cell(heading)} | {_cell(during)} |" for heading, count, during in _told(findings)
        ]
        lines.append("")
    if left := sentences.left_behind(findings):
        lines += [_cell(left), ""]
    lines.append(
        f"Run `{_code(run.run_id)}`, seed {run.seed}, harness {_cell(run.harness_version)}, "
        f"exit code {int(verdict.exit_code)}."
    )
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Return text that cannot break out of a markdown table, nor become markup."""
    for mark in ("\\", "|", "`", "*", "_", "<", "[", "]"):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _code(text: str) -> str:
    return text.replace("`", "'")


def write_junit(findings: Findings, run: RunInfo, folder: Path) -> Path:
    """Write `junit.xml` into the run's folder and return its path."""
    path = folder / JUNIT_FILE
    write_file(path, junit_xml(findings, run))
    return path


def junit_xml(findings: Findings, run: RunInfo) -> str:
    """Return the gates as test cases of one suite, and the run itself as one more."""
    cases = [_case(gate, run) for gate in findings.gates]
    failures = sum(gate.status is Status.FAILED for gate in findings.gates)
    errors = sum(gate.status is Status.UNJUDGED for gate in findings.gates)
    code = findings.verdict.exit_code
    ended_badly = code not in {Exit.OK, Exit.FAILED, Exit.UNJUDGED}
    # A verdict that no gate explains (a stop condition, a blind watcher) must show up too.
    unexplained = code is not Exit.OK and not failures and not errors
    body = ""
    if ended_badly or unexplained or any(stop.ended for stop in findings.stops):
        errors += 1
        kind = quoteattr(code.name.lower())
        text = escape(_clean("\n".join(findings.verdict.reasons)))
        body = f"<error message={quoteattr(_clean(findings.verdict.reason))} type={kind}>{text}</error>"
    time_s = f"{findings.run.duration_s:.3f}"
    cases.append(
        f'    <testcase classname={quoteattr(_clean(words.run_name(run.campaign)))} name="the run ended as planned" '
        f'time="{time_s}">{body}</testcase>'
    )
    counts = f'tests="{len(cases)}" failures="{failures}" errors="{errors}"'
    properties = "\n".join(
        f"      <property name={quoteattr(name)} value={quoteattr(_clean(value))}/>"
        for name, value in (
            ("run_id", run.run_id),
            ("target", run.target),
            ("seed", str(run.seed)),
            ("harness_version", run.harness_version),
            ("exit_code", str(int(code))),
            ("refused_503", str(findings.refused_503)),
        )
    )
    suite = f'{counts} skipped="0" time="{time_s}" timestamp={quoteattr(_clean(run.wall_start))}'
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<testsuites name="focus-harness" {counts} time="{time_s}">',
            f"  <testsuite name={quoteattr(_clean(words.run_name(run.campaign)))} {suite}>",
            f"    <properties>\n{properties}\n    </properties>",
            *cases,
            "  </testsuite>",
            "</testsuites>",
            "",
        ]
    )


def _case(gate: GateFinding, run: RunInfo) -> str:
    opening = f'    <testcase classname={quoteattr(_clean(words.run_name(run.campaign)))} name={quoteattr(_clean(gate.name))} time="0">'
    message = quoteattr(_clean(f"{_value(gate)}: {gate.reason}"))
    kind = quoteattr(_clean(words.gate_subject(gate)))
    if gate.status is Status.PASSED:
        return f"{opening}<system-out>{escape(_clean(gate.reason))}</system-out></testcase>"
    element = "failure" if gate.status is Status.FAILED else "error"
    return f"{opening}<{element} message={message} type={kind}>{escape(_clean(gate.reason))}</{element}></testcase>"


def _clean(text: str) -> str:
    """Return text without the control characters XML 1.0 cannot hold."""
    return "".join(
        c if c in "\t\n\r" or 0x20 <= ord(c) < 0xD800 or 0xE000 <= ord(c) < 0xFFFE or ord(c) > 0xFFFF else "�"
        for c in text
    )
