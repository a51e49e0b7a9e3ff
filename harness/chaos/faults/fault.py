"""What a fault is: five verbs on a site, what it destroys, what it needs, what should be seen of it.

`look` decides and refuses, and changes nothing; `inject` does what `look` decided; `undo` brings the declared state back from what
`look` wrote down, whether or not anything was injected; `is_active` and `reading` only read. Every change of an object
goes through `change`, so that a late request of a dead process loses.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from harness.chaos.world import Site
from harness.cluster import Conflict, Missing, Object, Right, name_of, uid_of, version_of
from harness.cluster.kinds import labels_of
from harness.errors import InjectionFailed, TargetError
from harness.target import Target

ENTRY_LABEL = "focus-harness/entry"
"""On everything a fault has changed or made: the undo entry. Ours is what carries it."""
BACK_ANNOTATION = "focus-harness/way-back"
"""On an object a fault has changed: the merge patch that takes it back, or `delete`; for a sweep that has no entry."""
SET_ANNOTATION = "focus-harness/as-set"
"""Beside it: the merge patch that made the fault. What is no longer so has been changed by somebody else."""
FENCE_ANNOTATION = "focus-harness/undoing"
MARKS = ("run", "operator", "ends", "stop")
"""What else a touched object says of itself, each under `focus-harness/`."""
DELETE = "delete"
MANAGED_BY = {"app.kubernetes.io/managed-by": "focus-harness"}
MANAGED_SELECTOR = "app.kubernetes.io/managed-by=focus-harness"
_TRIES = 20

A = TypeVar("A")
B = TypeVar("B")


class Ref(msgspec.Struct, frozen=True):
    """One object, this very one: its uid tells it from a successor of the same name."""

    kind: str
    name: str
    uid: str
    namespace: str = ""
    """Empty: the system's, or none for kinds that have none."""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


def ref_of(kind: str, obj: Object) -> Ref:
    """Return what names an object."""
    return Ref(kind, name_of(obj), uid_of(obj), str(obj["metadata"].get("namespace") or ""))


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
    marks: tuple[tuple[str, str], ...] = ()
    """What touched objects say of themselves: `MARKS` and their values."""
    waits: bool = True
    """False in a rehearsal: nothing that was made will ever become ready."""
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
    blinds: ClassVar[bool] = False
    """Takes the API server away: that it does not answer is what is wanted."""
    undone_inside: ClassVar[bool] = True
    """Can be undone by API calls alone, so by the reverter in the cluster."""
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

    def settle(self, site: Site, case: Case[A, B]) -> None:
        """Tidy up what was only there in case the undo did not happen; called once it is verified. Nothing by default."""

    @abstractmethod
    def reading(self, site: Site, case: Case[A, B]) -> Reading:
        """Compare the declared state with before."""

    def touched(self, case: Case[A, B]) -> tuple[Ref, ...]:
        """Return the objects that an event about this fault belongs to."""
        return ()

    @abstractmethod
    def mend(self, site: Site, case: Case[A, B]) -> str:
        """Return the command a person types to undo it by hand."""


def change(site: Site, case: Case[A, B], ref: Ref, patch: Object, back: Object | str) -> None:
    """Patch an object at the version just read, marked with the entry; a process that lost the entry fails here.

    Raises InjectionFailed if the object is no longer as it was looked at: taking it back would take somebody else's change back.
    """
    marked = {**patch, "metadata": marks(case, patch, back)}
    for _ in range(_TRIES):
        found = site.world.find(ref.kind, ref.name, ref.namespace or None)
        if found is None or uid_of(found) != ref.uid:
            raise InjectionFailed(f"{ref} vanished before it could be changed")
        if isinstance(back, dict) and not holds(found, back):
            raise InjectionFailed(f"{ref} was changed by somebody else just now; look again")
        case.still_mine()
        try:
            site.world.patch(
                ref.kind, ref.name, marked, ref.namespace or None, resource_version=version_of(found)
            )
        except Conflict:
            continue  # changed in between: by its own controller, or by our undo (then it is no longer mine)
        return
    raise InjectionFailed(f"{ref} changes too often to be changed safely ({_TRIES} conflicts)")


def holds(found: Any, patch: Any) -> bool:
    """Say whether an object is as a merge patch would make it."""
    if not isinstance(patch, dict):
        return bool(found == patch)
    if not isinstance(found, dict):
        return all(value is None for value in patch.values())
    return all(
        found.get(key) in (None, {}, []) if value in (None, {}, []) else holds(found.get(key), value)
        for key, value in patch.items()
    )


def marks(case: Case[A, B], there: Object, back: Object | str) -> Object:
    """Return the label and annotations of an object that the case touches."""
    said = {f"focus-harness/{key}": value for key, value in case.marks}
    way_back = back if isinstance(back, str) else json.dumps(back)
    as_set = {} if isinstance(back, str) else {SET_ANNOTATION: json.dumps(there)}
    return {"labels": {ENTRY_LABEL: case.entry}, "annotations": {**said, **as_set, BACK_ANNOTATION: way_back}}


def remove(site: Site, case: Case[A, B], pod: Ref) -> None:
    """Delete a pod without grace, at the version just read; a process that lost the entry fails here."""
    for _ in range(_TRIES):
        found = site.world.find("pods", pod.name, pod.namespace or None)
        if found is None or uid_of(found) != pod.uid:
            return
        case.still_mine()
        try:
            site.world.delete(
                "pods",
                pod.name,
                pod.namespace or None,
                grace_s=0,
                uid=pod.uid,
                resource_version=version_of(found),
            )
        except Conflict:
            continue  # changed in between: its status, or our undo's fence (then it is no longer mine)
        return
    raise InjectionFailed(f"{pod} changes too often to be deleted safely ({_TRIES} conflicts)")


def fence(site: Site, case: Case[A, B], ref: Ref) -> None:
    """Move an object's version on without changing it, so that a late request for it conflicts."""
    try:
        for value in (case.entry, None):
            patch = {"metadata": {"annotations": {FENCE_ANNOTATION: value}}}
            site.world.patch(ref.kind, ref.name, patch, ref.namespace or None)
    except Missing:
        pass  # gone: nothing can be done to it any more


def is_marked(obj: Object, entry: str) -> bool:
    """Say whether an object carries the mark of that entry."""
    return labels_of(obj).get(ENTRY_LABEL) == entry


def take_back(site: Site, case: Case[A, B], ref: Ref, back: Callable[[Object], Object]) -> None:
    """Patch an object back and take the marks off, at the version that `back` has seen: who changes it in between is not overwritten.

    In two writes: even if nothing differs its version moves on, so late requests conflict. What carries another entry's mark
    is only fenced, and what is gone is left.
    """
    namespace = ref.namespace or None
    for _ in range(_TRIES):
        found = site.world.find(ref.kind, ref.name, namespace)
        if found is None or uid_of(found) != ref.uid:
            return  # its successor was never ours
        if labels_of(found).get(ENTRY_LABEL, case.entry) != case.entry:
            fence(site, case, ref)
            return
        patch = {**back(found), "metadata": unmarked(FENCE_ANNOTATION, case.entry)}
        try:
            site.world.patch(ref.kind, ref.name, patch, namespace, resource_version=version_of(found))
            site.world.patch(
                ref.kind, ref.name, {"metadata": {"annotations": {FENCE_ANNOTATION: None}}}, namespace
            )
        except Conflict:
            continue
        except Missing:
            return
        return
    raise InjectionFailed(f"{ref} changes too often to be taken back safely ({_TRIES} conflicts)")


def unmarked(key: str | None = None, value: str | None = None) -> Object:
    """Return the metadata patch that takes all our marks off, and sets one annotation."""
    gone: dict[str, str | None] = {f"focus-harness/{name}": None for name in MARKS}
    gone |= {BACK_ANNOTATION: None, SET_ANNOTATION: None} | ({key: value} if key else {})
    return {"labels": {ENTRY_LABEL: None}, "annotations": gone}


def refuse_losses(fault: Fault[Any, Any], target: Target) -> None:
    """Raise TargetError if the fault destroys something for good that the target file does not accept by name."""
    lost = [loss for loss in fault.losses if loss.name not in target.accept]
    if lost and not target.is_sandbox:
        raise TargetError(
            f"{fault.kind} destroys for good: {'; '.join(loss.what for loss in lost)}; "
            f"if that is acceptable here, write `accept: [{', '.join(loss.name for loss in lost)}]` in the target file"
        )
