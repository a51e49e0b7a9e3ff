"""A control plane alone, as a real process: three nodes nobody stands behind, two deployments that say they are ready.

For contract and crash tests that need an API server and nothing else. Ends with the process that started it.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from harness.cluster import connect
from harness.target import Target, load_target

ROOT = Path(__file__).resolve().parent.parent
SHARES = "20"
NODES = ("master-node", "worker-node", "worker-node-2")


class LonePlane:
    """The process, its target file, and an admin's hands on it."""

    def __init__(self, folder: Path, *, controllers: bool = False) -> None:
        self.folder = folder
        host = f"127.251.{os.getpid() % 250}.1"
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "harness.sandbox.controlplane", "--state", str(folder / "plane")]
        command += ["--listen", f"{host}:{port}", "--lifeline"]
        command += [] if controllers else ["--no-controllers"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("ready"), line
        self.target_file = folder / "plane.yaml"
        self.cluster = connect(self._write_target("unknown"), check_identity=False)
        self.target = self._write_target(self.cluster.identity())
        self._furnish()
        self._ended = threading.Event()
        self._hearts = threading.Thread(target=self._beat, daemon=True)
        if controllers:
            self._hearts.start()

    def stop(self) -> None:
        """End the control plane."""
        self._ended.set()
        if self._hearts.is_alive():
            self._hearts.join()
        self.cluster.close()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def cordoned(self) -> list[str]:
        """Return the names of cordoned nodes."""
        return sorted(n["metadata"]["name"] for n in self.cluster.nodes() if n["spec"].get("unschedulable"))

    def status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        """Set an object's status as its controller would."""
        path = self.cluster._path(kind, None, name, "status")
        self.cluster._json(
            "PATCH", path, body={"status": status}, content_type="application/merge-patch+json"
        )

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a process that plays on this plane."""
        ours = {
            "HARNESS_TARGET": str(self.target_file),
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HARNESS_")}
        return {**kept, **ours, **more}

    def _write_target(self, identity: str) -> Target:
        document = {
            "schema": 1,
            "name": "plane",
            "sandbox": True,
            "url": "http://127.0.0.1:9",
            "kube": {
                "kubeconfig": str(self.folder / "plane" / "kubeconfig"),
                "identity": identity,
                "worker_selector": "!node-role.kubernetes.io/control-plane",
                "roles": {
                    "mongodb": {"kind": "Deployment", "name": "mongodb", "selector": "app=mongodb"},
                    "focus_server": {
                        "kind": "Deployment",
                        "name": "focus-server",
                        "selector": "app=focus-server",
                    },
                },
            },
            "max_windows": 30,
            "limits": {"max_nodes": 2, "max_hold": "10m"},
        }
        self.target_file.write_text(yaml.safe_dump(document), encoding="utf-8")
        return load_target(self.target_file)

    def _beat(self) -> None:
        """Say for each node every two seconds that it lives, as its kubelet would."""
        while not self._ended.wait(2.0):
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": now}
            for name in NODES:
                self.status("nodes", name, {"conditions": [ready]})

    def _furnish(self) -> None:
        if self.cluster.find("namespaces", "panda") is None:
            self.cluster.create("namespaces", {"metadata": {"name": "panda"}})
        for name in NODES:
            labels = {"node-role.kubernetes.io/control-plane": ""} if name == "master-node" else {}
            self.cluster.create("nodes", {"metadata": {"name": name, "labels": labels}})
            self.status(
                "nodes",
                name,
                {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "allocatable": {
                        "nvidia.com/gpu.shared": SHARES,
                        "pods": "110",
                        "cpu": "8",
                        "memory": "8Gi",
                    },
                },
            )
        for name in ("mongodb", "focus-server"):
            labels = {"app": name}
            template = {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "pause"}]},
            }
            spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
            self.cluster.create("deployments", {"metadata": {"name": name}, "spec": spec})
            self.status("deployments", name, {"replicas": 1, "readyReplicas": 1})


def events(run: Path) -> list[dict[str, Any]]:
    """Return every event of a run's history as plain JSON, in order of time."""
    lines = [line for file in (run / "history").glob("*.jsonl") for line in file.read_text().splitlines()]
    return sorted((json.loads(line)["event"] for line in lines), key=lambda event: event["at_ns"])
