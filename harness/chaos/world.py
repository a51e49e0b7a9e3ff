"""What faults see of the world: objects of a cluster to read and change, and the target's names for them.

`Cluster` is the real world; tests hold an in-memory one against the same protocol. A `Site` is a world plus the target file,
which can be frozen (without credentials) into a journal and thawed by whoever undoes later.
"""

import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from harness.chaos.windows import open_window
from harness.cluster import Object
from harness.errors import TargetError, Unreachable
from harness.target import Kubernetes, Role, RoleName, Target

HAND_TIMEOUT_S = 20.0
PROGRESS_S = 0.2


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

    def evict(self, pod: str, namespace: str | None = None, *, uid: str, resource_version: str) -> bool:
        """Ask for a pod's eviction; False if a disruption budget refuses it; raise Conflict as `delete` does."""
        ...

    def answers(self) -> bool:
        """Say whether the API server is there and ready, within a second or two; never raises."""
        ...


HandName = Literal["node", "network", "api"]
Hand = Callable[[Target, str, dict[str, str]], None]
"""Runs one of the target's commands: (target, key under `hands`, what is filled in)."""


def run_hand(target: Target, name: str, fills: dict[str, str]) -> None:
    """Run a command of the target's `hands`; raises TargetError if it names none, Unreachable if it fails."""
    argv = hand_command(target, name, fills)
    if argv[0] == "harness":  # ours: the same installation, whatever PATH says
        argv = [sys.executable, "-m", "harness", *argv[1:]]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=HAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"hands.{name} {shlex.join(argv)}: {error}") from error
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        raise Unreachable(f"hands.{name} {shlex.join(argv)} ended with {done.returncode}: {said}")


def hand_command(target: Target, name: str, fills: dict[str, str]) -> list[str]:
    """Return the words of a command of the target's `hands`; raises TargetError if it names none."""
    command: str | None = getattr(target.hands, name)
    if not command:
        raise TargetError(f"target {target.name!r} names no command hands.{name}; add it to the target file")
    return shlex.split(
        command.format(**{key: shlex.quote(value) if value else "" for key, value in fills.items()})
    )


@dataclass(frozen=True, slots=True)
class Site:
    """A world, and what the target file calls things there."""

    world: World
    target: Target
    hand: Hand = run_hand
    open_window: Callable[[Target], str] = open_window
    """Asks Focus Server for a window and returns its job id."""

    progress: Callable[[], object] = lambda: None
    """Called while a command of the target runs: waiting for it, which is bounded, is no hang."""

    def reach(self, name: HandName, verb: str, node: str = "", amount: str = "") -> None:
        """Do `verb` by one of the target's hands; raises Unreachable if the command fails."""
        self.hand(self.target, name, _filled(name, verb, node, amount))

    def later(self, name: HandName, verb: str, after_s: int, node: str = "") -> None:
        """Arm a hand's timer, which does `verb` after so many seconds whoever is left by then; 0 forgets it."""
        self.hand(self.target, f"{name}_timer", _filled(name, verb, node, "") | {"after_s": str(after_s)})

    def at_once(self, steps: Sequence[Callable[[], None]]) -> None:
        """Take steps that wait for commands side by side, and show progress meanwhile; the first failure is raised in the end."""
        with ThreadPoolExecutor(max(1, len(steps))) as pool:
            running = [pool.submit(step) for step in steps]
            while wait(running, timeout=PROGRESS_S).not_done:
                self.progress()
        for one in running:
            one.result()

    def hand_in_words(self, name: HandName, verb: str, node: str = "", amount: str = "") -> str:
        """Return the command line of a hand, for people."""
        return shlex.join(hand_command(self.target, name, _filled(name, verb, node, amount)))

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


def _filled(name: HandName, verb: str, node: str, amount: str) -> dict[str, str]:
    every = {"node": node, "verb": verb, "amount": amount}
    return {key: every[key] for key in {"node": ("node", "verb"), "api": ("verb", "amount")}.get(name, every)}


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
            "max_window_share": limits.max_window_share,
            "max_pods": limits.max_pods,
            "namespaces": list(limits.namespaces),
            "max_hold": f"{limits.max_hold_s:.3f}s",
        },
        "faults": list(target.faults),
        "accept": list(target.accept),
    }
    return msgspec.Raw(msgspec.json.encode(frozen))


def thaw(frozen: msgspec.Raw) -> Target:
    """Return the target that was frozen."""
    return Target.model_validate(msgspec.json.decode(frozen))
