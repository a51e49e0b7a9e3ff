"""A cluster and a target's hands that write down what is asked of them, and pass it on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.chaos.windows import open_window
from harness.chaos.world import World, run_hand
from harness.cluster import Object, Right, name_of
from harness.cluster.kinds import KINDS
from harness.target import Target

READING = frozenset({"get", "list"})


@dataclass(frozen=True, slots=True)
class Call:
    """One request: the right it takes, and the object's name."""

    right: Right
    name: str = ""

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.right.verb not in READING

    def __str__(self) -> str:
        return f"{self.right} ({self.name})" if self.name else str(self.right)


@dataclass(frozen=True, slots=True)
class Reach:
    """One use of a hand, or of its timer."""

    hand: str
    fills: tuple[tuple[str, str], ...]

    @property
    def writes(self) -> bool:
        """Whether it changes anything: always."""
        return True

    @property
    def timer(self) -> tuple[str, str] | None:
        """Which timer this arms or forgets, None if it is no timer's."""
        return (self.hand, dict(self.fills).get("node", "")) if self.hand.endswith("_timer") else None

    @property
    def arms(self) -> bool:
        """Whether it arms its timer."""
        return dict(self.fills).get("after_s", "0") != "0"

    def __str__(self) -> str:
        return f"hands.{self.hand} {' '.join(value for _, value in self.fills if value)}"


@dataclass(frozen=True, slots=True)
class Asking:
    """One request for a window."""

    @property
    def writes(self) -> bool:
        """Whether it changes anything: always."""
        return True

    def __str__(self) -> str:
        return "POST /configure"


Asked = Call | Reach | Asking


@dataclass
class Watched:
    """A world that keeps a list of what is asked of it."""

    world: World
    namespace: str
    """The system's, where none is named."""
    asked: list[Asked] = field(default_factory=list)
    before_asking: Callable[[], None] = lambda: None
    before_write: Callable[[], None] = lambda: None

    @contextmanager
    def listening(self) -> Iterator[list[Asked]]:
        """Collect in the list what is asked inside."""
        heard: list[Asked] = []
        before = len(self.asked)
        try:
            yield heard
        finally:
            heard += self.asked[before:]

    # --- World ------------------------------------------------------------------------------------

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return one object, or None."""
        self._call("get", kind, namespace, name)
        return self.world.find(kind, name, namespace)

    def objects(
        self, kind: str, namespace: str | None = None, selector: str = "", fields: str = ""
    ) -> list[Object]:
        """Return all that match."""
        self._call("list", kind, namespace)
        return self.world.objects(kind, namespace, selector, fields)

    def create(self, kind: str, obj: Object, namespace: str | None = None) -> Object:
        """Create one."""
        self._call("create", kind, namespace, name_of(obj))
        return self.world.create(kind, obj, namespace)

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
        """Patch one."""
        self._call("patch", kind, namespace, name)
        return self.world.patch(kind, name, patch, namespace, resource_version=resource_version, how=how)

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
        """Delete one."""
        self._call("delete", kind, namespace, name)
        return self.world.delete(
            kind,
            name,
            namespace,
            grace_s=grace_s,
            uid=uid,
            resource_version=resource_version,
            propagation=propagation,
        )

    def evict(self, pod: str, namespace: str | None = None, *, uid: str, resource_version: str) -> bool:
        """Ask for a pod's eviction."""
        self._call("create", "pods", namespace, pod, "eviction")
        return self.world.evict(pod, namespace, uid=uid, resource_version=resource_version)

    def answers(self) -> bool:
        """Say whether the API server answers."""
        return self.world.answers()

    # --- beside it --------------------------------------------------------------------------------

    def hand(self, target: Target, name: str, fills: dict[str, str]) -> None:
        """Run one of the target's hands."""
        self._note(Reach(name, tuple(fills.items())))
        run_hand(target, name, fills)

    def open_window(self, target: Target) -> str:
        """Ask for a window."""
        self._note(Asking())
        return open_window(target)

    def _call(
        self, verb: str, kind: str, namespace: str | None, name: str = "", subresource: str = ""
    ) -> None:
        where = namespace or self.namespace if KINDS[kind].namespaced else ""
        self._note(Call(Right(verb, kind, "" if where == "*" else where, subresource), name))

    def _note(self, asked: Asked) -> None:
        self.before_asking()
        if asked.writes:
            self.before_write()
        self.asked.append(asked)
