"""What runs inside the sandbox's pods: one program per image.

The kubelet's warm spawner imports `PRELOAD` once and forks a process per container, in which it calls the
program of the container's image with a `PodContext`; the return value is the exit code. An image that is not
in `PROGRAMS` ends in ErrImagePull. A container whose `command` the host can run runs that instead. Modules of `PRELOAD` start no thread and create no gRPC object on import.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

PROGRAMS: dict[str, str] = {
    "focus-server": "harness.sandbox.pods.focus_server.program:main",
    "pzlinux": "harness.sandbox.pods.stream_server:main",
    "cleanup-grpc": "harness.sandbox.pods.cleanup:main",
    "mongodb": "harness.sandbox.pods.mongodb:main",
    "mongo": "harness.sandbox.pods.mongodb:main",
    "rabbitmq": "harness.sandbox.pods.broker:main",
    "player": "harness.sandbox.pods.player:main",
    "focus-harness": "harness.sandbox.pods.harness_program:main",
    "pause": "harness.sandbox.pods.idle:main",
    "hog": "harness.sandbox.pods.idle:main",
    "busybox": "harness.sandbox.pods.idle:main",
}
"""Image name (last path part, without tag) to "module:function"."""

HOST_COMMAND = "harness.sandbox.pods.host_command:main"
OWN_COMMANDS: dict[str, tuple[str, ...]] = {
    "harness.sandbox.pods.stream_server:main": ("python",),
    "harness.sandbox.pods.harness_program:main": ("python", "python3", "harness"),
}
"""First words of a `command` that mean the image's own program, whether or not the host has something of that name."""

PRELOAD: tuple[str, ...] = (
    "grpc",
    "grpc.aio",
    "google.protobuf.internal.api_implementation",
    "harness.wire.pandadatastream_pb2",
    "pymongo",
    "harness.sandbox.api",
    "harness.sandbox.pods.amqp",
    "harness.sandbox.pods.stream_server",
    "harness.sandbox.pods.cleanup",
    "harness.sandbox.pods.idle",
)
"""What nearly every pod needs; Focus Server's own libraries are imported in its one process."""


def program_of(image: str) -> str | None:
    """Return "module:function" for a full image name such as `registry/pzlinux:10.7.122`; None when unknown."""
    name = image.rsplit("/", 1)[-1].partition("@")[0].partition(":")[0]
    return PROGRAMS.get(name)


def program_for(program: str, command: Sequence[str]) -> str:
    """Return what a container runs: its image's program, or the host's if `command` names something the host has."""
    if not command or command[0] in OWN_COMMANDS.get(program, ()) or shutil.which(command[0]) is None:
        return program
    return HOST_COMMAND


def needs_kubeconfig(program: str) -> bool:
    """Say whether a program is foreign to the sandbox and finds the API by a kubeconfig."""
    return program in (HOST_COMMAND, PROGRAMS["focus-harness"])
