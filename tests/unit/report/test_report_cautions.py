"""What somebody went without stands on top, in every form of the report."""

import msgspec
import pytest
from story import run_info

from harness.judge.findings import Findings
from harness.report import markdown_summary, render_page, summary_text
from harness.report.sentences import cautions

CAUTIOUS = msgspec.structs.replace(
    run_info(),
    guard_only=True,
    insecure_tls=True,
    unverified=("burn: set-on-fire",),
    fighters=("Deployment mongodb (role mongodb) is kept by Flux, which will put it back",),
)


def test_a_usual_run_has_none() -> None:
    assert cautions(run_info()) == ()


@pytest.mark.parametrize("word", ["--guard-only", "burn: set-on-fire", "not verified", "kept by Flux"])
def test_each_is_said_before_the_verdict_is_explained(word: str, findings: Findings) -> None:
    page = render_page(findings, CAUTIOUS, "reports/x")
    assert 0 < page.index(word) < page.index("<h1>")
    text = summary_text(findings, CAUTIOUS)
    assert word in " ".join(text.split())
    assert text.index("! ") < text.index(findings.gates[0].name)
    assert word.replace("_", "\\_") in markdown_summary(findings, CAUTIOUS)


def test_a_usual_page_has_no_box_for_them(findings: Findings) -> None:
    assert 'class="cautions"' not in render_page(findings, run_info(), "reports/x")
