"""A container whose `command` the host can run: becomes that command, with its arguments, in the container's surroundings.

Started by the kubelet instead of the image's program, because there are no images with file systems of their own. The
command keeps the container's environment, directory, process group, log and lifeline, has a kubeconfig of the pod's own
identity like a command of `kubectl exec`, and ends as it will: `false` makes a crash loop.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping

from harness.sandbox.pods.context import PodContext
from harness.sandbox.pods.mongodb import die_with_parent


def become(pod: PodContext, argv: list[str], env: Mapping[str, str]) -> int:
    """Become another program with the pod's environment and `env`; return only when that cannot be started."""
    # What Python ignores stays ignored across exec, and a program that is written for a shell does not expect it.
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    die_with_parent()
    sys.stdout.flush()
    try:
        os.execvpe(argv[0], argv, {**os.environ, "HOME": str(pod.volume), **env})  # noqa: S606 - no shell
    except OSError as error:
        sys.stderr.write(f'exec: "{argv[0]}": {(error.strerror or str(error)).lower()}\n')
    return 127


def main(pod: PodContext) -> int:
    """Become the container's command."""
    return become(pod, list(pod.args), {})
