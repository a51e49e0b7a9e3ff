"""What the report says for fixed findings, to the letter: a change of wording or drawing is seen before it is shipped.

After a wanted change: `UPDATE_GOLDEN=1 python -m pytest tests/golden/test_report_golden.py`, then read the difference.
"""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness.history.run import RunInfo
from harness.judge.findings import Findings
from harness.report import junit_xml, markdown_summary, render_page, summary_text

HERE = Path(__file__).parent / "report"
RENDERERS: dict[str, Callable[[Findings, RunInfo], str]] = {
    "report.html": lambda findings, run: render_page(findings, run, "reports/tour"),
    "summary.txt": lambda findings, run: summary_text(findings, run, "reports/tour/report.html") + "\n",
    "summary.md": markdown_summary,
    "junit.xml": junit_xml,
}


@pytest.fixture(scope="module")
def fixed() -> tuple[Findings, RunInfo]:
    """Return the kept findings; they change only when their shape does."""
    findings = msgspec.json.decode((HERE / "findings.json").read_bytes(), type=Findings)
    return findings, msgspec.json.decode((HERE / "run.json").read_bytes(), type=RunInfo)


@pytest.mark.parametrize("name", RENDERERS)
def test_fixed_findings_read_as_they_always_did(name: str, fixed: tuple[Findings, RunInfo]) -> None:
    text = RENDERERS[name](*fixed)
    file = HERE / name
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    kept = file.read_text(encoding="utf-8").splitlines()
    for number, (is_now, was) in enumerate(zip(text.splitlines(), kept, strict=False), start=1):
        assert is_now == was, f"{name}:{number} changed; if that is wanted: UPDATE_GOLDEN=1"
    assert len(text.splitlines()) == len(kept)
