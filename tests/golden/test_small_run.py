"""A small run, written by hand, is judged to exactly these findings and this verdict.

When the shape of findings changes on purpose: `python tests/golden/test_small_run.py` writes them anew; read the difference.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import msgspec

from harness.history.reader import read_history
from harness.history.run import RUN_FILE, read_run
from harness.history.samples import ATTEMPTS, FRAMES
from harness.history.writer import HistoryWriter
from harness.judge.findings import Findings
from harness.judge.judge import judge
from harness.judge.verdict import verdict_document

HERE = Path(__file__).parent / "small_run"


def judged(folder: Path) -> Findings:
    """Write the samples beside the events, read the record back and judge it."""
    for file in HERE.glob("*.events.jsonl"):
        shutil.copy(file, folder)
    writer = HistoryWriter(folder, "load")
    attempts, frames = writer.samples(ATTEMPTS), writer.samples(FRAMES)
    for sent, done, window, outcome, body in msgspec.json.decode((HERE / "attempts.json").read_bytes()):
        texts = attempts.text("configure"), attempts.text(outcome)
        attempts.add((sent, sent, done, window, *texts, 0, 0, attempts.text(body), window))
    for row in msgspec.json.decode((HERE / "frames.json").read_bytes()):
        frames.add(tuple(row))
    writer.close()
    return judge(read_run(HERE), read_history(folder))


def pretty(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def test_the_small_run_is_judged_to_the_very_findings(tmp_path: Path) -> None:
    assert pretty(judged(tmp_path)) == (HERE / "findings.json").read_text()


def test_the_small_run_has_the_very_verdict(tmp_path: Path) -> None:
    assert pretty(verdict_document(judged(tmp_path))) == (HERE / "verdict.json").read_text()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        found = judged(Path(name))
    (HERE / "findings.json").write_text(pretty(found))
    (HERE / "verdict.json").write_text(pretty(verdict_document(found)))
    sys.stdout.write(f"written beside {HERE / RUN_FILE}\n")
