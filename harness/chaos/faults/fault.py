"""What a fault is: five verbs on a site, what it destroys, what it needs, what should be seen of it.

`look` decides and refuses, and changes nothing; `inject` does what `look` decided; `undo` brings the declared state back from what
`look` wrote down, whether or not anything was injected; `is_active` and `reading` only read. Every change of an object
goes through `change`, so that a late request of a dead process loses.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from harness.chaos.world import Site
from harness.cluster import Conflict, Missing, Object, Right, uid_of, version_of
from harness.errors import InjectionFailed, TargetError
from harness.target import Target

ENTRY_ANNOTATION = "focus-harness/entry"
"""On an object a fault has changed: the undo entry. Ours is what carries it."""
FENCE_ANNOTATION = "focus-harness/undoing"
ENTRY_LABEL = "focus-harness/entry"
MANAGED_BY = {"app.kubernetes.io/managed-by": "focus-harness"}
MANAGED_SELECTOR = "app.kubernetes.io/managed-by=focus-harness"
_TRIES = 20

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Loss:
    """Something a fault destroys for good: accepted by `name` in the target file, off the sandbox."""

    name: str
    what: str


@dataclass(frozen=True, slots=True)
class Signature:
    """What should be seen of a fault, where, and within how many seconds of the injection and of the undo."""

    seen: str
    where: str
    within_s: float
    gone_within_s: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the declared state: what still differs from before, and what was seen.

    Undo is verified by two readings without differences and with the same `seen`, at least a second apart.
    """

    differences: tuple[str, ...]
    seen: str
    notes: tuple[str, ...] = ()
    """What somebody else changed meanwhile and is left alone."""


def _nobody_else() -> None:
    """Stand in for the fence where the caller is the only one (undo)."""


@dataclass(frozen=True, slots=True)
class Case(Generic[A, B]):
    """One use of a fault: its entry, what was asked for, what was there before."""

    entry: str
    arguments: A
    before: B
    owner_uid: str = ""
    """uid of the entry's ConfigMap; created objects name it as their owner."""
    max_hold_s: float = 600.0
    still_mine: Callable[[], None] = _nobody_else
    """Raises if the entry has been taken over; called between reading an object and changing it."""


class Fault(ABC, Generic[A, B]):
    """One kind of fault. Stateless: everything it has to remember is in the case."""

    kind: ClassVar[str]
    title: ClassVar[str]
    undo_text: ClassVar[str]
    blast_radius: ClassVar[str]
    losses: ClassVar[tuple[Loss, ...]] = ()
    signature: ClassVar[Signature]
    restores_access: ClassVar[bool] = False
    """Undone before the others: they may need what it took away."""
    arguments: type[A]
    before: type[B]

    @abstractmethod
    def rights(self, site: Site) -> tuple[Right, ...]:
        """Return what it must be allowed to do on this target."""

    @abstractmethod
    def look(self, site: Site, arguments: A) -> B:
        """Choose the victims and return their state; raise TargetError or InjectionFailed to refuse."""

    @abstractmethod
    def describe(self, case: Case[A, B]) -> str:
        """Return the victims in words."""

    @abstractmethod
    def inject(self, site: Site, case: Case[A, B]) -> None:
        """Do it."""

    def lasts(self, arguments: A) -> bool:
        """Say whether the effect lasts until it is undone; if not, its passing is no surprise."""
        return True

    @abstractmethod
    def is_active(self, site: Site, case: Case[A, B]) -> bool:
        """Say whether the effect can be seen now."""

    def obstacle(self, site: Site, case: Case[A, B]) -> str:
        """Return why the effect does not come, if that can be seen; asked once the waiting is over."""
        return ""

    def sustain(self, site: Site, case: Case[A, B]) -> None:
        """Keep it effective; called about twice a second while it is held."""

    @abstractmethod
    def undo(self, site: Site, case: Case[A, B]) -> None:
        """Bring the declared state back; must be safe to repeat and without an injection."""

    @abstractmethod
    def reading(self, site: Site, case: Case[A, B]) -> Reading:
        """Compare the declared state with before."""

    @abstractmethod
    def mend(self, site: Site, case: Case[A, B]) -> str:
        """Return the command a person types to undo it by hand."""


def change(site: Site, case: Case[A, B], kind: str, name: str, uid: str, patch: Object) -> None:
    """Patch an object at the version just read, marked with the entry; a process that lost the entry fails here."""
    marked = {**patch, "metadata": {"annotations": {ENTRY_ANNOTATION: case.entry}}}
    for _ in range(_TRIES):
        found = site.world.find(kind, name)
        if found is None or uid_of(found) != uid:
            raise InjectionFailed(f"{kind}/{name} vanished before it could be changed")
        case.still_mine()
        try:
            site.world.patch(kind, name, marked, resource_version=version_of(found))
        except Conflict:
            continue  # changed in between: by its own controller, or by our undo (then it is no longer mine)
        return
    raise InjectionFailed(f"{kind}/{name} changes too often to be changed safely ({_TRIES} conflicts)")


def remove(site: Site, case: Case[A, B], name: str, uid: str) -> None:
    """Delete a pod without grace, at the version just read; a process that lost the entry fails here."""
    for _ in range(_TRIES):
        found = site.world.find("pods", name)
        if found is None or uid_of(found) != uid:
            return
        case.still_mine()
        try:
            site.world.delete("pods", name, grace_s=0, uid=uid, resource_version=version_of(found))
        except Conflict:
            continue  # changed in between: its status, or our undo's fence (then it is no longer mine)
        return
    raise InjectionFailed(f"pods/{name} changes too often to be deleted safely ({_TRIES} conflicts)")


def fence(site: Site, case: Case[A, B], kind: str, name: str) -> None:
    """Move an object's version on without changing it, so that a late request for it conflicts."""
    try:
        site.world.patch(kind, name, {"metadata": {"annotations": {FENCE_ANNOTATION: case.entry}}})
        site.world.patch(kind, name, {"metadata": {"annotations": {FENCE_ANNOTATION: None}}})
    except Missing:
        pass  # gone: nothing can be done to it any more


def unmark(site: Site, case: Case[A, B], kind: str, name: str, patch: Object) -> None:
    """Patch an object back, in two writes: even if nothing differs its version moves on, so late requests conflict."""
    annotations = {ENTRY_ANNOTATION: None, FENCE_ANNOTATION: case.entry}
    site.world.patch(kind, name, {**patch, "metadata": {"annotations": annotations}})
    site.world.patch(kind, name, {"metadata": {"annotations": {FENCE_ANNOTATION: None}}})


def refuse_losses(fault: Fault[Any, Any], target: Target) -> None:
    """Raise TargetError if the fault destroys something for good that the target file does not accept by name."""
    lost = [loss for loss in fault.losses if loss.name not in target.accept]
    if lost and not target.is_sandbox:
        raise TargetError(
            f"{fault.kind} destroys for good: {'; '.join(loss.what for loss in lost)}; "
            f"if that is acceptable here, write `accept: [{', '.join(loss.name for loss in lost)}]` in the target file"
        )
