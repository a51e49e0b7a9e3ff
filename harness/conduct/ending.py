"""Judge a recorded run and write what people and CI read: findings, verdict, report, summary, JUnit.

Called at the end of `harness run` and by `harness judge`; reads only the run's folder.
"""

import traceback
from pathlib import Path

import msgspec

from harness.conduct.folder import shown
from harness.errors import HarnessError, RecordUnusable
from harness.history.reader import read_history
from harness.history.run import RunInfo, read_run
from harness.judge.findings import Findings
from harness.judge.judge import judge
from harness.judge.verdict import verdict_document
from harness.report import markdown_summary, write_junit, write_page


def judge_folder(folder: Path) -> tuple[RunInfo, Findings]:
    """Judge the run in `folder` with today's rules; raise `RecordUnusable` if it cannot be read."""
    run = read_run(folder)
    return run, judge(run, read_history(folder / "history"))


def write_results(folder: Path, run: RunInfo, findings: Findings) -> Path | None:
    """Write verdict, findings, summary, JUnit and report into `folder`; return the report's path.

    None if the report could not be drawn: that is our mistake and goes to `logs/report.log`; the verdict stands without it.
    """
    try:
        _write_json(folder / "verdict.json", verdict_document(findings))
        _write_json(folder / "findings.json", findings)
        (folder / "summary.md").write_text(markdown_summary(findings, run), encoding="utf-8")
        write_junit(findings, run, folder)
    except OSError as error:
        raise RecordUnusable(
            f"cannot write the results into {folder}: {error}; free space, then: harness judge {folder}"
        ) from error
    try:
        return write_page(findings, run, folder)
    except HarnessError:
        raise
    except Exception:
        (folder / "logs").mkdir(exist_ok=True)
        (folder / "logs" / "report.log").write_text(traceback.format_exc(), encoding="utf-8")
        return None


def told(folder: Path, report: Path | None) -> str:
    """Return what stands where the report's path is printed."""
    return (
        shown(report)
        if report
        else f"none: it could not be drawn, see {shown(folder / 'logs' / 'report.log')}"
    )


def _write_json(file: Path, value: object) -> None:
    file.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
