"""`/metrics`: real lines after real events, served over real HTTP, documented as they are."""

import re
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from story import run_info, tell

from harness.errors import InputError
from harness.history.events import Phase
from harness.report.live import LiveState
from harness.report.prometheus import FAMILIES, registry_of, serve_metrics

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
ROW = re.compile(
    r"^\| `(?P<name>harness_\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*) \| (?P<meaning>[^|]*) \|$",
    re.MULTILINE,
)


def exposition(until_s: float = 1e9) -> str:
    state = LiveState(run_info())
    for message in tell().told:
        if getattr(message, "event", None) is not None and message.event.at_ns > until_s * 1e9:  # type: ignore[union-attr]
            break
        state.absorb(message)
    return generate_latest(registry_of(state)).decode()


def test_the_exposition_says_in_whole_lines_what_happened() -> None:
    story = tell()
    accepted = sum(1 for row in story.attempts if row[6] == 200)
    refused = len(story.attempts) - accepted
    lines = exposition().splitlines()
    for line in (
        f'harness_creates_total{{outcome="accepted"}} {accepted}.0',
        f'harness_creates_total{{outcome="unavailable_503"}} {refused}.0',
        f"harness_refusals_total {refused}.0",
        f'harness_request_duration_seconds_count{{operation="configure"}} {len(story.attempts)}.0',
        f'harness_window_ready_seconds_bucket{{le="+Inf"}} {accepted}.0',
        f"harness_first_frame_seconds_count {accepted}.0",
        f"harness_frames_total {float(len(story.frames))}",
        "harness_max_windows 30.0",
        'harness_open_windows{source="slots"} 0.0',
        'harness_phase{phase="drain"} 1.0',
        'harness_phase{phase="hold"} 0.0',
        'harness_fault_active{experiment="cordon-worker",fault="cordon"} 0.0',
        'harness_watcher_seeing{watcher="broker"} 1.0',
        'harness_gpu_shares{state="total"} 40.0',
        "harness_live_messages_lost_total 0.0",
        'harness_run_info{campaign="tour",run_id="20261123-211500-tour",sandbox="seed, fast",seed="7",target="sandbox",version="0.1.0"} 1.0',
    ):
        assert line in lines, line


def test_in_the_middle_of_a_fault_the_fault_and_the_blind_watcher_show() -> None:
    middle = exposition(until_s=50.5).splitlines()
    assert 'harness_fault_active{experiment="cordon-worker",fault="cordon"} 2.0' in middle
    assert 'harness_phase{phase="hold"} 1.0' in middle
    assert 'harness_gpu_shares{state="free_schedulable"} 0.0' in middle
    assert 'harness_watcher_seeing{watcher="broker"} 0.0' in exposition(until_s=130).splitlines()
    assert 'harness_dependency_up{dependency="mongodb"} 0.0' in exposition(until_s=80).splitlines()


def test_a_run_nothing_was_heard_of_exposes_no_invented_values() -> None:
    text = generate_latest(registry_of(LiveState())).decode()
    for name in ("harness_open_windows", "harness_max_windows", "harness_gpu_shares", "harness_run_info"):
        assert name not in text
    assert 'harness_creates_total{outcome="unavailable_503"} 0.0' in text


def test_every_line_parses_and_every_name_has_the_prefix() -> None:
    families = list(text_string_to_metric_families(exposition()))
    assert len(families) == len(FAMILIES)
    assert all(family.name.startswith("harness_") and family.documentation for family in families)


def test_the_documentation_and_the_exposition_are_the_same_table() -> None:
    rows = {match["name"]: match for match in ROW.finditer(DOCS.read_text())}
    shown: dict[str, tuple[str, set[str], str]] = {}
    for family in text_string_to_metric_families(exposition()):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown[name] = (family.type, labels, family.documentation)
    assert rows.keys() == shown.keys()
    for name, (kind, labels, meaning) in shown.items():
        documented = set(re.findall(r"`(\w+)`", rows[name]["labels"]))
        assert (rows[name]["kind"], documented, rows[name]["meaning"]) == (kind, labels, meaning), name


def test_every_phase_is_a_label_value() -> None:
    shown = set(re.findall(r'harness_phase\{phase="([^"]+)"\}', exposition()))
    assert shown == {phase.value for phase in Phase}


def test_no_label_value_is_a_job_or_a_url() -> None:
    values = re.findall(r'="([^"]*)"', "\n".join(x for x in exposition().splitlines() if x[0] != "#"))
    assert values
    assert not [value for value in values if "://" in value or re.fullmatch(r"\d+-\d{4,}", value)]


def test_the_server_answers_on_loopback_at_the_port_it_names() -> None:
    with serve_metrics(LiveState(run_info())) as server:
        assert server.url == f"http://127.0.0.1:{server.port}/metrics"
        with urllib.request.urlopen(server.url, timeout=5) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            assert b"harness_max_windows 30.0" in answer.read()


def test_a_port_in_use_is_refused_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"127\.0\.0\.1:{port}.*another port, or 0"):
            serve_metrics(LiveState(), port=port)


def test_an_address_of_another_host_is_refused_with_the_way_out() -> None:
    with pytest.raises(InputError, match=r"use an address of this host"):
        serve_metrics(LiveState(), address="192.0.2.1")


@pytest.mark.skipif(not shutil.which("promtool"), reason="install promtool (Debian: apt install prometheus)")
def test_promtool_has_nothing_to_say_against_the_metrics() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=exposition(),
        text=True,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
