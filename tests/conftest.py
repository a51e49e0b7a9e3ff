"""Every test gets a clean environment and a state directory of its own; nothing of the user's is read or written."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an input takes to make depends on what else the machine does.
settings.register_profile("ours", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")

OURS = ("HARNESS_", "FOCUS_URL", "MONGODB_URI", "RABBITMQ_URI", "KUBECONFIG")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Remove the variables the harness reads, so that a test sees only what it sets."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)


@pytest.fixture
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory that belongs to this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say what failed when it fails: a suite that is ended before its end has said it."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        sys.stderr.write(
            f"\n{report.nodeid} ({report.when}, {report.duration:.1f} s)\n{report.longreprtext}\n"
        )
