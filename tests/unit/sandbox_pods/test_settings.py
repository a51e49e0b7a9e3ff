"""What `--set` takes and what the modes and profiles promise."""

import pytest

from harness.sandbox.settings import MODES, PROFILES, Settings, SettingsError, keys


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("profile", PROFILES)
def test_settings_survive_json(mode: str, profile: str) -> None:
    settings = Settings.make(mode, profile, ["worker_nodes=a,b,c"])
    assert Settings.from_json(settings.to_json()) == settings
    assert settings.worker_nodes == ("a", "b", "c")


@pytest.mark.parametrize("mode", MODES)
def test_no_profile_lets_a_busy_host_lose_nodes_by_itself(mode: str) -> None:
    for profile in PROFILES:
        settings = Settings.make(mode, profile)
        assert settings.node_grace_s >= 10
        assert settings.node_grace_s >= 3 * settings.node_heartbeat_s


def test_production_removes_idle_windows_after_fifty_seconds() -> None:
    assert Settings.make("seed", "production").idle_cleanup_s == 50


def test_every_value_is_a_setting_of_its_own() -> None:
    changed = Settings.make(
        "seed", "fast", ["max_windows=3", "admission=false", "ready_delay_s=0.5", "namespace=x"]
    )
    assert (changed.max_windows, changed.admission, changed.ready_delay_s, changed.namespace) == (
        3,
        False,
        0.5,
        "x",
    )
    assert "mode" not in keys()


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.make("seed", "fast", ["nothing=1", "max_windows=many", "admission"])
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    "text", ["node_grace_s=3", "historic_rule=perhaps", "node_port_base=40000", "job_ttl_s=-1"]
)
def test_contradictions_are_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        Settings.make("seed", "fast", [text])


def test_unknown_mode_and_profile_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"mode is 'x'.*profile is 'y'"):
        Settings.make("x", "y")
