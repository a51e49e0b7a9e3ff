"""What the report's tests share: the story, written, read back and judged once."""

import pytest
from story import run_info, tell

from harness.history.reader import read_history
from harness.judge.findings import Findings
from harness.judge.judge import judge


@pytest.fixture(scope="session")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """Return the findings of the story's run."""
    folder = tell().write(tmp_path_factory.mktemp("story") / "run")
    return judge(run_info(), read_history(folder / "history"))
