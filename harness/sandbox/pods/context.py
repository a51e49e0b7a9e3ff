"""What a pod's program is told about itself.

The kubelet builds a PodContext for every container it starts and hands it to the program named for
the image (`PROGRAMS` in this package). A program reads nothing else about its surroundings: no
process-wide environment of the kubelet, no file of the sandbox, no other pod. It is plain data, so
that a test can start a program without any kubelet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.sandbox.settings import Settings


@dataclass(frozen=True)
class PodContext:
    """One container of one pod, as its program sees it. Paths exist before the program starts."""

    name: str
    namespace: str
    uid: str
    node: str
    ip: str
    node_ip: str
    image: str
    container: str
    args: tuple[str, ...]
    """`command` and `args` of the container, in this order."""
    env: Mapping[str, str]
    """Literals and resolved references to config maps, secrets and fields; nothing inherited."""
    volume: Path
    """The directory of the first persistent volume claim by its name, else one of the pod's own."""
    api_url: str
    ca_file: Path
    token: str
    """The bearer token of the pod's service account; empty if the pod mounts none."""
    settings: Settings
    truth_dir: Path
    labels: Mapping[str, str] = field(default_factory=dict)
    restarts: int = 0
    """How often this container was started before in this pod."""


Program = Callable[[PodContext], int]
"""A pod's program: runs in a process of its own until the exit code is known."""
