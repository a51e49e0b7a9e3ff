"""Commands that run in a container's surroundings: `kubectl exec` and exec probes.

There is no image, so a command is one of the host's, started with the container's environment, directory and
identity (a kubeconfig with the pod's own token, so that `kubectl get nodes` inside a pod has the pod's rights).
A command dies with the kubelet and is killed when its time is up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from harness.sandbox.node.kubeconfig import write_kubeconfig
from harness.sandbox.pods.context import PodContext
from harness.sandbox.processes import MARK

if TYPE_CHECKING:
    from harness.sandbox.node.kubelet import Kubelet
    from harness.sandbox.node.podworker import PodWorker


class CannotRun(Exception):
    """The command cannot be started; the text is what a container runtime would say."""


async def start_command(
    kubelet: Kubelet, worker: PodWorker, container: str, argv: list[str]
) -> asyncio.subprocess.Process:
    """Start a command with pipes on its standard files."""
    context = worker.contexts.get(container)
    if context is None or container not in worker.processes:
        raise CannotRun(f"container not found ({container!r})")

    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(worker, context),
            cwd=context.volume,
            close_fds=False,
            preexec_fn=kubelet.lifeline.tie,
        )
    except OSError as error:
        raise CannotRun(
            f'exec failed: unable to start container process: exec: "{argv[0]}": {(error.strerror or str(error)).lower()}'
        ) from error


def end_command(process: asyncio.subprocess.Process) -> None:
    """Kill a command and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def run_quietly(
    kubelet: Kubelet, worker: PodWorker, container: str, argv: list[str], timeout_s: float
) -> str:
    """Run a command to its end; give "" or what went wrong."""
    try:
        process = await start_command(kubelet, worker, container, argv)
    except CannotRun as error:
        return str(error)
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except TimeoutError:
        return f"command timed out: {argv!r} timed out after {timeout_s:g}s"
    finally:
        end_command(process)
    if process.returncode == 0:
        return ""
    return (out + err).decode("utf-8", "replace") or f"exit status {process.returncode}"


def _environment(worker: PodWorker, context: PodContext) -> dict[str, str]:
    kubeconfig = write_kubeconfig(context, worker.directory / "kubeconfig")
    kept = {key: os.environ[key] for key in ("PATH", "LANG", MARK) if key in os.environ}
    return {
        **kept,
        **context.env,
        "HOSTNAME": context.name,
        "HOME": str(context.volume),
        "KUBECONFIG": str(kubeconfig),
    }
