"""What faults see of the world: objects of a cluster to read and change, and the target's names for them.

`Cluster` is the real world; tests hold an in-memory one against the same protocol. A `Site` is a world plus the target file,
which can be frozen (without credentials) into a journal and thawed by whoever undoes later.
"""

import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from harness.cluster import Object
from harness.errors import TargetError, Unreachable
from harness.target import Kubernetes, Role, RoleName, Target

HAND_TIMEOUT_S = 20.0


class World(Protocol):
    """Objects by kind (plural), name and namespace (default: the system's; `*`: all); errors as in harness.cluster."""

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return one object, or None."""
        ...

    def objects(
        self, kind: str, namespace: str | None = None, selector: str = "", fields: str = ""
    ) -> list[Object]:
        """Return all that match."""
        ...

    def create(self, kind: str, obj: Object, namespace: str | None = None) -> Object:
        """Create one; raise Conflict if the name is taken."""
        ...

    def patch(
        self,
        kind: str,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        resource_version: str | None = None,
        how: Literal["merge", "json", "strategic"] = "merge",
    ) -> Object:
        """Patch one; raise Conflict if it is no longer at `resource_version`, Missing if there is none."""
        ...

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        grace_s: int | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] | None = None,
    ) -> bool:
        """Delete one; False if it (with that uid) is gone already; raise Conflict if not at `resource_version`."""
        ...


def run_hand(target: Target, node: str, verb: str) -> None:
    """Run the target's `hands.node` command; raises TargetError if it has none, Unreachable if it fails."""
    command = target.hands.node
    if command is None:
        raise TargetError(f"target {target.name!r} names no hands.node: {node} cannot be reached")
    argv = shlex.split(command.format(node=shlex.quote(node), verb=verb))
    if argv and argv[0] == "harness":  # ours: the same installation, whatever PATH says
        argv = [sys.executable, "-m", "harness", *argv[1:]]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=HAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"hands.node {shlex.join(argv)}: {error}") from error
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        raise Unreachable(f"hands.node {shlex.join(argv)} ended with {done.returncode}: {said}")


@dataclass(frozen=True, slots=True)
class Site:
    """A world, and what the target file calls things there."""

    world: World
    target: Target
    hand: Callable[[Target, str, str], None] = run_hand
    """Reaches a node's hardware: (target, node, verb)."""

    def reach_node(self, node: str, verb: str) -> None:
        """Do `verb` to a node's hardware; raises Unreachable if the target's command fails."""
        self.hand(self.target, node, verb)

    @property
    def kubernetes(self) -> Kubernetes:
        """The target's cluster section; raises TargetError for `kube: none`."""
        if self.target.kubernetes == "none":
            raise TargetError(f"target {self.target.name!r} has `kube: none`: faults need a cluster")
        return self.target.kubernetes

    def role(self, name: RoleName) -> Role:
        """Return the workload that plays a role; raises TargetError if the target file names none."""
        role = self.kubernetes.roles.get(name)
        if role is None:
            raise TargetError(
                f"target {self.target.name!r} names no role {name.value!r}; add it under kube.roles"
            )
        return role


def freeze(target: Target) -> msgspec.Raw:
    """Return the part of a target that undo needs, as JSON without credentials."""
    kubernetes = target.kubernetes
    kube: Any = "none"
    if kubernetes != "none":
        kube = kubernetes.model_dump(mode="json", exclude_none=True)
        if kubernetes.kubeconfig:
            kube["kubeconfig"] = str(Path(kubernetes.kubeconfig).expanduser().absolute())
    limits = target.limits
    frozen = {
        "schema": 1,
        "name": target.name,
        "sandbox": target.is_sandbox,
        "url": "",
        "kube": kube,
        "gpu_resource": target.gpu_resource,
        "max_windows": target.max_windows,
        "hands": target.hands.model_dump(mode="json", exclude_none=True),
        "limits": {
            "max_nodes": limits.max_nodes,
            "max_gpu_share": limits.max_gpu_share,
            "max_hold": f"{limits.max_hold_s:.3f}s",
        },
        "accept": list(target.accept),
    }
    return msgspec.Raw(msgspec.json.encode(frozen))


def thaw(frozen: msgspec.Raw) -> Target:
    """Return the target that was frozen."""
    return Target.model_validate(msgspec.json.decode(frozen))
