"""The program of image `focus-harness`: becomes this very harness, as the pod's own service account.

For what a harness leaves running inside a cluster. The sandbox shares no code with the harness: it only executes `python -m
harness` with the container's arguments, or the module that they name. It knows nothing of what that does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import harness
from harness.sandbox.pods.context import PodContext
from harness.sandbox.pods.host_command import become


def command(args: tuple[str, ...]) -> list[str]:
    """Return what to execute for the container's command and arguments."""
    if args and args[0] in ("python", "python3"):
        return [sys.executable, *args[1:]]
    return [sys.executable, "-m", "harness", *(args[1:] if args and args[0] == "harness" else args)]


def environment(pod: PodContext) -> dict[str, str]:
    """Return what the harness finds of its pod: who and where it is, and where its own code lies."""
    own = str(Path(harness.__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (own, pod.env.get("PYTHONPATH"))))
    facts = {"POD_NAME": pod.name, "POD_NAMESPACE": pod.namespace, "POD_IP": pod.ip, "NODE_NAME": pod.node}
    return {**facts, **pod.env, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def main(pod: PodContext) -> int:
    """Become the harness."""
    return become(pod, command(pod.args), environment(pod))
