"""A sandbox for the length of a benchmark, and what its processes cost."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

HARNESS = [sys.executable, "-m", "harness"]


@dataclass(frozen=True, slots=True)
class World:
    """A running sandbox."""

    name: str
    ready_s: float
    environment: dict[str, str]

    @property
    def url(self) -> str:
        """Focus Server behind the ingress."""
        return self.environment["FOCUS_URL"]

    def pss_bytes(self) -> int:
        """Return the proportional set size of all its processes."""
        total = 0
        for process in self._processes():
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue  # a pod that ended meanwhile
        return total

    def _processes(self) -> list[psutil.Process]:
        supervisor = psutil.Process(int(self.environment["HARNESS_SANDBOX_PID"]))
        return [supervisor, *supervisor.children(recursive=True)]


@contextmanager
def world(*options: str) -> Iterator[World]:
    """Start a sandbox, yield it with the time it took to be ready, stop it."""
    name = f"bench-{os.getpid()}"
    started = time.monotonic()
    subprocess.run([*HARNESS, "sandbox", "up", "--name", name, *options], check=True, stdout=sys.stderr)
    ready_s = time.monotonic() - started
    try:
        printed = subprocess.run(
            [*HARNESS, "sandbox", "env", "--name", name, "--format", "json"],
            check=True,
            capture_output=True,
            text=True,
        )
        yield World(name, ready_s, json.loads(printed.stdout))
    finally:
        subprocess.run([*HARNESS, "sandbox", "down", "--name", name], check=True, stdout=sys.stderr)
