"""Give a run a sandbox of its own: started before it, stopped after it, whatever happens in between.

The sandbox is reached through its command line only, as any person would; it ends by itself if this process is killed.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness.errors import Exit, HarnessError, Unreachable

NAME_VARIABLE = "HARNESS_SANDBOX"


@contextmanager
def sandbox_of_its_own(options: Sequence[str]) -> Iterator[str]:
    """Start a sandbox for the length of the block; yields its name. `options` go to `harness sandbox up`."""
    name = f"run-{os.getpid()}"
    up = _sandbox("up", "--name", name, "--bound-to", str(os.getpid()), *options)
    if up != Exit.OK:
        raise Unreachable(
            f"the sandbox did not start (exit code {up}); see: harness sandbox status --name {name}"
        )
    before = os.environ.get(NAME_VARIABLE)
    os.environ[NAME_VARIABLE] = name
    try:
        yield name
    finally:
        if before is None:
            del os.environ[NAME_VARIABLE]
        else:
            os.environ[NAME_VARIABLE] = before
        down = _sandbox("down", "--name", name)
        if down != Exit.OK:
            raise HarnessError(
                f"the sandbox {name} did not stop (exit code {down}); try: harness sandbox down --name {name}"
            )


def _sandbox(*arguments: str) -> int:
    """Run `harness sandbox`, out of reach of the terminal's Ctrl-C: it must be able to stop what it started."""
    command = [sys.executable, "-m", "harness", "sandbox", *arguments]
    return subprocess.run(command, start_new_session=True, check=False).returncode
