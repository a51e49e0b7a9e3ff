"""Bad input and a bad world: a clear message with the way out, the documented code, nothing injected, nothing left."""

import socket
import subprocess
from pathlib import Path

import pytest
import yaml

from harness.errors import Exit
from tests.campaigns.conftest import HARNESS, ROOT, Rehearsal
from tests.campaigns.test_campaign import SHORT, cordoned

pytestmark = pytest.mark.timeout(180)


def target_like_the_sandbox(here: Rehearsal, file: Path, **changes: object) -> Path:
    """Write a target file with everything as it is, but for the changes (`kube.context` goes into `kube`)."""
    known = here.variables()
    roles = {"focus_server": {"kind": "Deployment", "name": "focus-server", "selector": "app=focus-server"}}
    kube = {"kubeconfig": known["KUBECONFIG"], "identity": known["KUBE_SYSTEM_UID"], "roles": roles}
    target: dict[str, object] = {
        "schema": 1, "name": "here", "url": known["FOCUS_URL"], "max_windows": 30, "limits": {"max_nodes": 2},
    }  # fmt: skip
    for key, value in changes.items():
        if key in {"kubeconfig", "context", "identity"}:
            kube[key] = value
        else:
            target[key] = value
    file.write_text(yaml.safe_dump({**target, "kube": kube}))
    return file


def refused(here: Rehearsal, target: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    done = here.run("run", SHORT, "--target", str(target), "--out", str(out))
    assert done.returncode == Exit.TARGET, done.stdout + done.stderr
    assert not list(out.glob("history/chaos-*"))
    assert cordoned(here) == []
    return done


def test_a_target_where_nobody_answers(rehearsal: Rehearsal, tmp_path: Path) -> None:
    target = target_like_the_sandbox(rehearsal, tmp_path / "t.yaml", url="http://127.0.0.1:9/focus-server")
    assert "correct `url`" in refused(rehearsal, target, tmp_path / "run").stderr


def test_a_context_that_the_kubeconfig_does_not_have(rehearsal: Rehearsal, tmp_path: Path) -> None:
    target = target_like_the_sandbox(rehearsal, tmp_path / "t.yaml", context="production")
    assert "production" in refused(rehearsal, target, tmp_path / "run").stderr


def test_credentials_that_the_cluster_does_not_know(rehearsal: Rehearsal, tmp_path: Path) -> None:
    config = yaml.safe_load(Path(rehearsal.variables()["KUBECONFIG"]).read_text())
    for user in config["users"]:
        user["user"] = {"token": "wrong"}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    target = target_like_the_sandbox(rehearsal, tmp_path / "t.yaml", kubeconfig=str(tmp_path / "kubeconfig"))
    told = refused(rehearsal, target, tmp_path / "run").stderr
    assert "401" in told or "credentials" in told.lower()


def test_faults_without_a_cluster_are_refused(rehearsal: Rehearsal, tmp_path: Path) -> None:
    target = tmp_path / "t.yaml"
    target.write_text(
        f"schema: 1\nname: bare\nurl: {rehearsal.variables()['FOCUS_URL']}\nkube: none\nmax_windows: unknown\n"
    )
    done = rehearsal.run("run", SHORT, "--target", str(target), "--out", str(tmp_path / "run"))
    assert done.returncode == Exit.USAGE
    assert "kube: none" in done.stderr


def test_a_metrics_port_that_is_taken(rehearsal: Rehearsal, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = rehearsal.run("run", SHORT, "--metrics-port", str(port), "--out", str(tmp_path / "run"))
    assert done.returncode == Exit.USAGE
    assert str(port) in done.stderr
    assert cordoned(rehearsal) == []


def test_a_disk_that_fills_up_ends_the_run_with_6_and_everything_undone(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    limited = ["bash", "-c", 'ulimit -f 64; exec "$@"', "limited", *HARNESS]
    done = subprocess.run(
        [*limited, "run", SHORT, "--out", str(tmp_path / "run")],
        env=rehearsal.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == Exit.RECORD, done.stdout + done.stderr
    assert cordoned(rehearsal) == []
