"""Every test gets a clean environment and a state directory of its own; nothing of the user's is read or written."""

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
    import os

    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)


@pytest.fixture
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory that belongs to this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"
