"""Where a sandbox lives: its directory, its addresses, and how to find it again.

Everything of the sandbox NAME is below `$XDG_STATE_HOME/focus-harness/sandboxes/NAME/`; its addresses lie in
one block 127.S.0.0/16. `sandbox.json` says what the rest of the sandbox needs to know and is written once, by
the supervisor. The command line and every sandbox process read it through here. Nothing here starts or ends a
process.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError
from harness.sandbox.settings import Settings, SettingsError

SCHEMA = 1
FIRST_BLOCK, LAST_BLOCK = 16, 250
API_PORT, INGRESS_PORT, LOCK_PORT = 6443, 8080, 6442
DEFAULT_NAME = "default"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def sandboxes_dir() -> Path:
    """Return the directory that holds all sandboxes of this user."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "focus-harness" / "sandboxes"


def sandbox_root(name: str) -> Path:
    """Return the directory of the sandbox NAME; InputError for a name that cannot be one."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"sandbox name {name!r}: use up to 32 of a-z, 0-9 and '-', beginning and ending with none '-'"
        )
    return sandboxes_dir() / name


@dataclass(frozen=True)
class Addresses:
    """The addresses of block S."""

    block: int

    def __getitem__(self, rest: str) -> str:
        return f"127.{self.block}.{rest}"

    @property
    def api_host(self) -> str:
        """Where the API server listens."""
        return self["0.1"]

    @property
    def ingress_host(self) -> str:
        """Where the ingress listens."""
        return self["0.2"]

    def node(self, index: int) -> str:
        """Return the address of node `index`, the master being 0."""
        return self[f"1.{index + 1}"]

    def pod_network(self, index: int) -> ipaddress.IPv4Network:
        """Return the range of the pods of node `index`."""
        return ipaddress.IPv4Network(self[f"{10 + index + 1}.0/24"])

    @property
    def service_network(self) -> ipaddress.IPv4Network:
        """Return the range of the ClusterIPs."""
        return ipaddress.IPv4Network(self["200.0/24"])


@dataclass(frozen=True)
class Sandbox:
    """One sandbox: what `sandbox.json` says and what follows from it."""

    name: str
    root: Path
    block: int
    settings: Settings
    supervisor_pid: int = 0

    @property
    def addresses(self) -> Addresses:
        """The addresses of its block."""
        return Addresses(self.block)

    @property
    def api_url(self) -> str:
        """The API server's URL."""
        return f"https://{self.addresses.api_host}:{API_PORT}"

    @property
    def ingress_url(self) -> str:
        """The ingress' URL without a prefix."""
        return f"http://{self.addresses.ingress_host}:{INGRESS_PORT}"

    @property
    def focus_url(self) -> str:
        """The URL under which Focus Server answers."""
        return self.ingress_url + self.settings.ingress_prefix

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes, the master first."""
        return (self.settings.master_node, *self.settings.worker_nodes)

    def node_index(self, name: str) -> int:
        """Return a node's place; InputError for a name that no node has."""
        if name not in self.nodes:
            raise InputError(f"no node {name!r} in sandbox {self.name!r}: it has {', '.join(self.nodes)}")
        return self.nodes.index(name)

    def node_ip(self, name: str) -> str:
        """Return a node's address."""
        return self.addresses.node(self.node_index(name))

    @property
    def ca_file(self) -> Path:
        """The certificate authority of the API server."""
        return self.root / "ca.pem"

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig."""
        return self.root / "kubeconfig"

    @property
    def logs_dir(self) -> Path:
        """One log file per sandbox process."""
        return self.root / "logs"

    @property
    def truth_dir(self) -> Path:
        """The truth log, which no part of the harness reads."""
        return self.root / "truth"

    @property
    def volumes_dir(self) -> Path:
        """Persistent volumes by claim name."""
        return self.root / "volumes"

    def node_dir(self, name: str) -> Path:
        """The directory of a node: container table, pods' directories and logs."""
        return self.root / "nodes" / name

    def write(self) -> None:
        """Write sandbox.json (atomically)."""
        said = {
            "schema": SCHEMA,
            "name": self.name,
            "block": self.block,
            "supervisor_pid": self.supervisor_pid,
            "settings": self.settings.to_json(),
        }
        aside = self.root / "sandbox.json.new"
        aside.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
        aside.replace(self.root / "sandbox.json")


def read_sandbox(name: str) -> Sandbox:
    """Return the sandbox NAME as its files say; InputError if there is none, running or not."""
    root = sandbox_root(name)
    try:
        said = json.loads((root / "sandbox.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = ", ".join(sandbox_names()) or "none"
        raise InputError(
            f"no sandbox {name!r} (there: {there}); start it with `harness sandbox up --name {name}`"
        ) from None
    try:
        settings = Settings.from_json(said["settings"])
    except SettingsError as error:
        raise InputError(
            f"sandbox {name!r} was started by another version of the harness ({error}); "
            f"end it with `harness sandbox down --name {name}` and start it again"
        ) from error
    return Sandbox(said["name"], root, said["block"], settings, said["supervisor_pid"])


def sandbox_names() -> list[str]:
    """Return the names of all sandboxes that have a directory, running or not."""
    return sorted(path.parent.name for path in sandboxes_dir().glob("*/sandbox.json"))


def clear(root: Path, but: tuple[str, ...]) -> None:
    """Remove everything in a sandbox's directory but what is named."""
    for entry in root.iterdir():
        if entry.name not in but:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def take_name(root: Path) -> int | None:
    """Lock a sandbox's name and give the lock's fd; None while a supervisor holds it."""
    root.mkdir(parents=True, exist_ok=True)
    # The lock file stands beside the directory: cleaning the directory must not lose the lock.
    fd = os.open(root.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def is_running(name: str) -> bool:
    """Say whether a supervisor holds the sandbox's name."""
    root = sandbox_root(name)
    if not root.exists():
        return False
    fd = take_name(root)
    if fd is None:
        return True
    os.close(fd)
    return False


def take_block(preferred: int | None = None) -> tuple[int, socket.socket]:
    """Take a free block and give its number and the socket that holds it; InputError when all are taken.

    The lock is a listening socket: the kernel frees it however its holder ends, and it is one for all users.
    A block on whose API or ingress port somebody listens is passed over.
    """
    blocks = range(FIRST_BLOCK, LAST_BLOCK + 1) if preferred is None else (preferred,)
    for block in blocks:
        addresses = Addresses(block)
        lock = _listen(addresses.api_host, LOCK_PORT)
        if lock is None:
            continue
        probes = [_listen(addresses.api_host, API_PORT), _listen(addresses.ingress_host, INGRESS_PORT)]
        for probe in probes:
            if probe is not None:
                probe.close()
        if None not in probes:
            return block, lock
        lock.close()
    raise InputError(
        f"no free block 127.{FIRST_BLOCK}-{LAST_BLOCK}.0.0/16: end a sandbox with `harness sandbox down`"
    )


def _listen(host: str, port: int) -> socket.socket | None:
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, port))
        held.listen(1)
    except OSError:
        held.close()
        return None
    return held
