"""The table of a node's running containers, as the kubelet writes it for the hands on the hardware.

The supervisor reads it to freeze or kill a pod's processes by role, also while the kubelet is frozen; the
kubelet after a new start learns from it nothing: it starts from an empty table. A process id counts only
with its start time.
"""

from __future__ import annotations

import msgspec

from harness.sandbox.processes import started_at
from harness.sandbox.state import Sandbox


class Container(msgspec.Struct, frozen=True):
    """One running container: leader of a process group."""

    pid: int
    started: float
    pod: str
    namespace: str
    container: str
    role: str
    """What it does: the last word of its image name (`focus-server`, `mongodb`, `pzlinux`)."""

    def plays(self, role: str) -> bool:
        """Say whether `role` means this container: its role, or its pod's name."""
        return role.replace("_", "-") in (self.role, self.pod, f"{self.namespace}/{self.pod}")


def write_containers(sandbox: Sandbox, node: str, containers: list[Container]) -> None:
    """Replace the node's table (atomically)."""
    directory = sandbox.node_dir(node)
    directory.mkdir(parents=True, exist_ok=True)
    aside = directory / "containers.json.new"
    aside.write_bytes(msgspec.json.encode(containers))
    aside.replace(directory / "containers.json")


def containers_of(sandbox: Sandbox, node: str) -> list[Container]:
    """Return the containers of a node whose processes live."""
    try:
        table = (sandbox.node_dir(node) / "containers.json").read_bytes()
    except FileNotFoundError:
        return []
    found = msgspec.json.decode(table, type=list[Container])
    return [container for container in found if started_at(container.pid) == container.started]
