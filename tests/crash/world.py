"""A sandbox with a reverter for crash trials, and a target file whose way to the API server can be cut."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from harness.chaos.declared import declared_state
from harness.chaos.world import Site
from harness.cluster import Cluster, connect
from harness.target import load_target
from tests.crash.partition import Relay

ROOT = Path(__file__).resolve().parents[2]
HARNESS = [sys.executable, "-m", "harness"]
SETTINGS = ("gpu_shares=4", "pod_ips=40", "max_windows=6")


class CrashWorld:
    """One sandbox; ends with the process that made it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        folder.mkdir(parents=True, exist_ok=True)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HARNESS_")}
        self.environment = {
            **kept,
            "XDG_STATE_HOME": str(folder / "state"),
            "HARNESS_SANDBOX": name,
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
        }
        self.cut_off: set[int] = set()
        self._relay: Relay | None = None
        self.cluster: Cluster
        self.site: Site

    def up(self) -> None:
        """Start sandbox and reverter, and look at the declared state."""
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        self.harness("sandbox", "up", "--name", self.name, "--bound-to", str(os.getpid()), *settings)
        variables = json.loads(self.harness("sandbox", "env", "--format", "json"))
        self.target_file = self.folder / "crash.yaml"
        text = (ROOT / "targets" / "sandbox.yaml").read_text(encoding="utf-8")
        filled = re.sub(r"\$\{(\w+)(?::-)?\}", lambda match: variables.get(match[1], ""), text)
        document = yaml.safe_load(filled)
        del document[
            "environment_command"
        ]  # its variables are filled in: several worlds live in this process
        document["kube"]["kubeconfig"] = str(self._kubeconfig(Path(variables["KUBECONFIG"])))
        document["limits"] |= {"max_window_share": 1.0, "max_nodes": 2}
        self.target_file.write_text(yaml.safe_dump(document), encoding="utf-8")
        self.environment["HARNESS_TARGET"] = str(self.target_file)
        target = load_target(self.target_file)
        assert target.kubernetes != "none"
        direct = target.kubernetes.model_copy(update={"kubeconfig": variables["KUBECONFIG"]})
        target = target.model_copy(update={"kubernetes": direct})
        self.cluster = connect(target)
        self.site = Site(self.cluster, target)
        self.harness("reverter", "install", "--node-selector", "kubernetes.io/hostname=master-node")
        self.before = declared_state(self.site)

    def down(self) -> None:
        """End it and leave nothing."""
        if self._relay is not None:
            self._relay.close()
        self.harness("sandbox", "down", "--name", self.name, "--purge")

    def harness(self, *arguments: str, ok: bool = True) -> str:
        """Run the harness; return what it printed."""
        done = subprocess.run(
            [*HARNESS, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0 or not ok, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def _kubeconfig(self, real: Path) -> Path:
        """Write a kubeconfig that reaches the same server through the relay."""
        document = yaml.safe_load(real.read_text(encoding="utf-8"))
        cluster = document["clusters"][0]["cluster"]
        url = urlsplit(cluster["server"])
        self._relay = Relay((str(url.hostname), int(url.port or 443)), self.cut_off.__contains__)
        cluster["server"] = f"https://127.0.0.1:{self._relay.port}"
        cluster["tls-server-name"] = url.hostname
        file = self.folder / "kubeconfig"
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        file.chmod(0o600)
        return file
