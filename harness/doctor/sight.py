"""What all checks of one examination look at: the target, its cluster's objects (each kind listed once), and how to ask the rest.

Made by `examine` and, anew for each step, by `mend`. Reading what may not be read raises `CannotLook` with the reason.
"""

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from harness.cluster import Object, labels_of
from harness.doctor.asking import Asking, NoAnswer
from harness.doctor.result import CannotLook
from harness.errors import HarnessError, TargetError
from harness.target import Kubernetes, Role, RoleName, Target

PLURAL = {"Deployment": "deployments", "StatefulSet": "statefulsets"}


class World(Protocol):
    """The part of a cluster that the doctor reads; errors as in harness.cluster."""

    def objects(
        self, kind: str, namespace: str | None = None, selector: str = "", fields: str = ""
    ) -> list[Object]:
        """Return all that match."""
        ...

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return one object, or None."""
        ...

    def create(self, kind: str, obj: Object, namespace: str | None = None) -> Object:
        """Create one."""
        ...

    def patch(
        self,
        kind: str,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        resource_version: str | None = None,
    ) -> Object:
        """Patch one; raise Conflict if it has changed since `resource_version`."""
        ...

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] | None = None,
    ) -> bool:
        """Delete one; False if it is gone already; raise Conflict if it has changed since `resource_version`."""
        ...

    def logs(
        self, pod: str, *, since_s: int | None = None, tail_lines: int | None = None, timestamps: bool = False
    ) -> str:
        """Return a pod's log."""
        ...


@dataclass(slots=True)
class Sight:
    """One look at a target; safe to use from several threads."""

    target: Target
    world: World | None
    asking: Asking
    blind: str = ""
    """Why there is no world."""
    unreachable: bool = False
    """Whether that is because the API server did not answer."""
    older_than_s: float = 60.0
    """Younger objects are nobody's leftovers yet."""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    ahead_s: float = 0.0
    """How much later our clock is than the API server's: ages are of its clock."""
    source: str = ""
    """The file the target was read from."""
    _seen: dict[tuple[str, str], list[Object] | CannotLook] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _locks: dict[tuple[str, str], threading.Lock] = field(default_factory=dict)

    def again(self) -> "Sight":
        """Return a fresh look at the same target."""
        return Sight(
            self.target,
            self.world,
            self.asking,
            self.blind,
            self.unreachable,
            self.older_than_s,
            ahead_s=self.ahead_s,
            source=self.source,
        )

    @property
    def kubernetes(self) -> Kubernetes:
        """The target's cluster section; raises CannotLook for `kube: none`."""
        if self.target.kubernetes == "none":
            raise CannotLook("the target has `kube: none`")
        return self.target.kubernetes

    @property
    def namespace(self) -> str:
        """The system's namespace."""
        return self.kubernetes.namespace

    def reach(self) -> World:
        """Return the world; raises CannotLook where there is none."""
        if self.world is None:
            raise CannotLook(self.blind or "the cluster is out of reach")
        return self.world

    def objects(self, kind: str, namespace: str = "") -> list[Object]:
        """Return all objects of a kind in the system's namespace (or `namespace`), listed once; raises CannotLook."""
        key = (kind, namespace)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._seen:
                try:
                    self._seen[key] = self.reach().objects(kind, namespace or None)
                except CannotLook as error:
                    self._seen[key] = error
                except HarnessError as error:
                    self._seen[key] = CannotLook(f"cannot list {kind}: {error}")
            seen = self._seen[key]
        if isinstance(seen, CannotLook):
            raise CannotLook(str(seen))
        return seen

    def find(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """Return one object as it is now; raises CannotLook."""
        try:
            return self.reach().find(kind, name, namespace or None)
        except HarnessError as error:
            raise CannotLook(f"cannot read {kind.removesuffix('s')} {name}: {error}") from error

    def role(self, name: RoleName) -> Role:
        """Return the workload that plays a role; raises CannotLook if the target file names none."""
        role = self.kubernetes.roles.get(name)
        if role is None:
            raise CannotLook(f"the target file names no role {name.value!r} under kube.roles")
        return role

    def workload(self, name: RoleName) -> Object | None:
        """Return the workload of a role, None if it does not exist; raises CannotLook."""
        role = self.role(name)
        return self.find(PLURAL[role.kind], role.name)

    def pods_of(self, name: RoleName) -> list[Object]:
        """Return the pods of a role; raises CannotLook."""
        role = self.role(name)
        try:
            return self.reach().objects("pods", None, role.selector)
        except HarnessError as error:
            raise CannotLook(f"cannot list pods of {role.name}: {error}") from error

    def workers(self) -> list[Object]:
        """Return the nodes that can run windows; raises CannotLook."""
        selector = self.kubernetes.worker_selector
        try:
            return self.reach().objects("nodes", None, selector)
        except HarnessError as error:
            raise CannotLook(f"cannot list nodes: {error}") from error

    def age_s(self, obj: Object) -> float:
        """Return how old an object is."""
        return self.since_s(obj["metadata"].get("creationTimestamp", ""))

    def since_s(self, instant: str) -> float:
        """Return how long ago an instant of the API was; 0 for none."""
        try:
            then = datetime.fromisoformat(instant)
        except (TypeError, ValueError):
            return 0.0
        return max(0.0, (self.now - then).total_seconds() - self.ahead_s)

    def account(self) -> str:
        """Return the service account that Focus Server runs as; raises CannotLook."""
        workload = self.workload(RoleName.FOCUS_SERVER)
        if workload is None:
            raise CannotLook("Focus Server's workload does not exist")
        return str(workload["spec"]["template"]["spec"].get("serviceAccountName") or "default")


def marked(obj: Object) -> bool:
    """Say whether a fault of ours has touched the object."""
    return ENTRY_LABEL in labels_of(obj)


ENTRY_LABEL = "focus-harness/entry"
RUN_ANNOTATION = "focus-harness/run"
COPY_PREFIX = "undo-"

__all__ = ["ENTRY_LABEL", "PLURAL", "NoAnswer", "Sight", "TargetError", "World", "marked"]
