"""A fault that is made of changed objects, created objects and ended pods; most faults are, and say only which.

`look` returns all of it as data (`Altered`): the patch that makes the fault beside the patch that takes it back, the objects to create,
the pods to end, the workloads that must be as ready as before. What is done with it, and how it is undone and
compared, stands here once. `$ENTRY` in patches and bodies becomes the entry's id.
"""

import json
import shlex
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, TypeVar

import msgspec

from harness.chaos.faults.fault import (
    DELETE,
    ENTRY_LABEL,
    MANAGED_BY,
    Case,
    Fault,
    Reading,
    Ref,
    change,
    fence,
    holds,
    is_marked,
    marks,
    remove,
    take_back,
)
from harness.chaos.world import Site
from harness.cluster import Conflict, Object, is_ready, name_of, uid_of
from harness.errors import HarnessError, InjectionFailed, TargetError
from harness.target import RoleName

PLURAL = {"Deployment": "deployments", "StatefulSet": "statefulsets"}
ENTRY = "$ENTRY"


class Change(msgspec.Struct, frozen=True):
    """An object to change: `there` makes the fault, `back` is how it was; both are merge patches."""

    ref: Ref
    there: dict[str, Any]
    back: dict[str, Any]


class Creation(msgspec.Struct, frozen=True):
    """An object to create, without its labels and owner; an empty namespace is ours."""

    kind: str
    body: dict[str, Any]
    namespace: str = ""


class Workload(msgspec.Struct, frozen=True):
    """A workload that must be as ready as before once the fault is undone."""

    ref: Ref
    replicas: int
    ready: int


class Altered(msgspec.Struct, frozen=True):
    """What a fault alters, and how it was before."""

    what: str
    """The victims in words."""
    changes: tuple[Change, ...] = ()
    creations: tuple[Creation, ...] = ()
    ended: tuple[Ref, ...] = ()
    """Pods that are ended."""
    workloads: tuple[Workload, ...] = ()
    facts: dict[str, Any] = {}
    """Whatever else the fault has to remember."""


A = TypeVar("A")


class Alteration(Fault[A, Altered]):
    """The shared life of a fault that alters objects. It is no fault by itself."""

    before = Altered
    rolls_out: ClassVar[bool] = False
    """Its workloads get new pods by the undo: ready means ready and of the newest template."""

    def describe(self, case: Case[A, Altered]) -> str:
        """Return the victims in words."""
        return case.before.what

    def touched(self, case: Case[A, Altered]) -> tuple[Ref, ...]:
        """Return what is changed, or else the workloads that are hit."""
        changed = tuple(change.ref for change in case.before.changes)
        return changed or tuple(workload.ref for workload in case.before.workloads)

    def inject(self, site: Site, case: Case[A, Altered]) -> None:
        """Create, change, end: each at the version just read."""
        for creation in case.before.creations:
            create(site, case, creation)
        for altered in case.before.changes:
            there, back = _filled(altered.there, case.entry), _filled(altered.back, case.entry)
            change(site, case, altered.ref, there, back)
        for pod in case.before.ended:
            remove(site, case, pod)

    def undo(self, site: Site, case: Case[A, Altered]) -> None:
        """Take back what carries our mark and is still as we set it; write to the others too, so that a late request conflicts."""
        failures: list[Exception] = []
        steps: list[Callable[[], None]] = []
        steps += [partial(self._take_back, site, case, altered) for altered in case.before.changes]
        if case.before.creations:
            steps.append(partial(remove_created, site, case, _places(case.before)))
        steps += [partial(fence, site, case, pod) for pod in case.before.ended]
        for step in steps:
            try:
                step()
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _take_back(self, site: Site, case: Case[A, Altered], altered: Change) -> None:
        there, back = _filled(altered.there, case.entry), _filled(altered.back, case.entry)

        def patch(found: Object) -> Object:
            if not is_marked(found, case.entry):
                return {}
            return back if holds(found, there) else self.rescue(found, altered)

        take_back(site, case, altered.ref, patch)

    def rescue(self, found: Object, altered: Change) -> Object:
        """Return what may still be put back into an object that somebody else has changed meanwhile. Nothing by default."""
        return {}

    def reading(self, site: Site, case: Case[A, Altered]) -> Reading:
        """Compare every changed object, look for what was created, and compare how ready workloads are."""
        differences: list[str] = []
        notes: list[str] = []
        seen: list[str] = []
        for altered in case.before.changes:
            found = find(site, altered.ref)
            if found is None:
                notes.append(f"{altered.ref} is gone")
                continue
            seen.append(self.seen(altered.ref, found))
            if is_marked(found, case.entry):
                differences.append(f"{altered.ref} still carries the fault's mark")
            elif not holds(found, _filled(altered.back, case.entry)) and (
                note := self.meanwhile(altered, found)
            ):
                notes.append(note)
        left = created(site, case, _places(case.before)) if case.before.creations else []
        differences += [f"{name} still exists" for name in left]
        for workload in case.before.workloads:
            self._compare(site, workload, differences, notes, seen)
        return Reading(tuple(differences), "; ".join(filter(None, seen)) or "as before", tuple(notes))

    def seen(self, ref: Ref, found: Object) -> str:
        """Return what is seen of a changed object, in a word; two readings that verify an undo see the same."""
        return ""

    def meanwhile(self, altered: Change, found: Object) -> str:
        """Return what to say of an object that somebody else changed meanwhile, or nothing."""
        if list(altered.back.get("spec", {})) == ["replicas"]:
            return ""  # said with the workload
        where = ", ".join(sorted(_paths(altered.back)))
        return f"{altered.ref}: {where} was changed by somebody else meanwhile; left so"

    def _compare(
        self, site: Site, before: Workload, differences: list[str], notes: list[str], seen: list[str]
    ) -> None:
        found = find(site, before.ref)
        if found is None:
            notes.append(f"{before.ref} was removed by somebody else")
            return
        wanted = replicas_of(found)
        ready = ready_of(found, newest=self.rolls_out)
        said = f"{before.ref.name}: {ready} ready of {wanted}"
        seen.append(said)
        if wanted != before.replicas and not _is_ours(found):
            notes.append(f"{before.ref} was scaled from {before.replicas} to {wanted} by somebody else")
        if ready < min(before.ready, wanted):
            differences.append(f"{said}, {before.ready} before")

    def mend(self, site: Site, case: Case[A, Altered]) -> str:
        """Return the kubectl lines."""
        lines = [
            _patch_line(site, altered.ref, _filled(altered.back, case.entry))
            for altered in case.before.changes
        ]
        for kind, namespace in sorted(
            {(c.kind, c.namespace or site.kubernetes.harness_namespace) for c in case.before.creations}
        ):
            lines.append(f"kubectl -n {namespace} delete {kind} -l {ENTRY_LABEL}={case.entry}")
        if not lines:
            lines = [
                f"kubectl -n {site.kubernetes.namespace} rollout status {workload.ref.kind}/{workload.ref.name}"
                for workload in case.before.workloads
            ]
        return "; ".join(lines) or f"kubectl -n {site.kubernetes.namespace} get pods"


# --- objects ----------------------------------------------------------------------------------------


def find(site: Site, ref: Ref) -> Object | None:
    """Return that very object, or None if it is gone (a successor of its name does not count)."""
    found = site.world.find(ref.kind, ref.name, ref.namespace or None)
    return found if found is not None and uid_of(found) == ref.uid else None


def workload_of(site: Site, name: RoleName) -> tuple[Workload, Object]:
    """Return a role's workload as it is, and the object; raises TargetError if there is none."""
    role = site.role(name)
    found = site.world.find(PLURAL[role.kind], role.name)
    if found is None:
        raise TargetError(
            f"{role.kind} {role.name!r} (role {name.value}) does not exist; correct the target file"
        )
    ref = Ref(PLURAL[role.kind], name_of(found), uid_of(found))
    return Workload(ref, replicas_of(found), ready_of(found)), found


def refuse_if_marked(ref: Ref, found: Object) -> None:
    """Raise InjectionFailed if a fault is in this object already."""
    entry = (found["metadata"].get("labels") or {}).get(ENTRY_LABEL)
    if entry:
        raise InjectionFailed(f"{ref}: changed by a fault already ({entry}); `harness undo` ends it")


def serving(site: Site, name: RoleName) -> int:
    """Return how many pods of a role are ready and not on their way out."""
    return sum(1 for pod in site.world.objects("pods", selector=site.role(name).selector) if serves(pod))


def serves(pod: Object) -> bool:
    """Say whether a pod is ready and not on its way out."""
    return is_ready(pod) and "deletionTimestamp" not in pod["metadata"]


def replicas_of(workload: Object) -> int:
    """Return how many replicas are wanted."""
    return int(workload.get("spec", {}).get("replicas", 1))


def ready_of(workload: Object, *, newest: bool = False) -> int:
    """Return how many replicas are ready; with `newest` only if the controller has seen the newest template."""
    status = workload.get("status", {})
    ready = int(status.get("readyReplicas") or 0)
    if not newest:
        return ready
    seen = int(status.get("observedGeneration") or 0) >= int(workload["metadata"].get("generation") or 0)
    return min(ready, int(status.get("updatedReplicas") or 0)) if seen else 0


# --- what a fault creates -----------------------------------------------------------------------------


def create(site: Site, case: Case[Any, Any], creation: Creation) -> None:
    """Create an object, labelled and owned, so that it goes when its entry goes; one that exists is an earlier try's."""
    namespace = creation.namespace or site.kubernetes.harness_namespace
    body = _filled(creation.body, case.entry)
    metadata = body["metadata"]
    said = marks(case, {}, DELETE)
    metadata["labels"] = {**metadata.get("labels", {}), **MANAGED_BY, **said["labels"]}
    metadata["annotations"] = {**metadata.get("annotations", {}), **said["annotations"]}
    metadata["ownerReferences"] = [_owner(site, case, namespace)]
    case.still_mine()
    try:
        site.world.create(creation.kind, body, namespace)
    except Conflict:
        pass


def _owner(site: Site, case: Case[Any, Any], namespace: str) -> Object:
    """Return the owner of what is created in a namespace: the entry's ConfigMap, or, elsewhere, one made for it."""
    if namespace == site.kubernetes.harness_namespace:
        name, uid = f"undo-{case.entry}", case.owner_uid
    else:  # an owner must live in the namespace of what it owns
        name = f"focus-harness-{case.entry}"
        found = site.world.find("configmaps", name, namespace)
        if found is None:
            case.still_mine()
            marked = marks(case, {}, DELETE)
            metadata = {"name": name, **marked, "labels": {**MANAGED_BY, **marked["labels"]}}
            said = "Owns what a fault created here; deleting it deletes that."
            found = site.world.create(
                "configmaps", {"metadata": metadata, "data": {"about": said}}, namespace
            )
            try:
                case.still_mine()
            except HarnessError:  # it came late: whoever undid the entry has not seen it
                site.world.delete("configmaps", name, namespace, uid=uid_of(found), propagation="Background")
                raise
        uid = uid_of(found)
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid}


def created(site: Site, case: Case[Any, Any], places: tuple[tuple[str, str], ...]) -> list[str]:
    """Return in words what a case created and is still there; places are (kind, namespace), empty for ours."""
    return [
        f"{kind}/{name_of(obj)}"
        for kind, namespace in places
        for obj in site.world.objects(
            kind, namespace or site.kubernetes.harness_namespace, f"{ENTRY_LABEL}={case.entry}"
        )
        if not (kind == "configmaps" and name_of(obj) == f"undo-{case.entry}")
    ]


def remove_created(site: Site, case: Case[Any, Any], places: tuple[tuple[str, str], ...]) -> None:
    """Delete everything a case created; pods without grace, and owners first, so that what comes late goes too."""
    for kind, namespace in places:
        where = namespace or site.kubernetes.harness_namespace
        for obj in site.world.objects(kind, where, f"{ENTRY_LABEL}={case.entry}"):
            if kind == "configmaps" and name_of(obj) == f"undo-{case.entry}":
                continue
            site.world.delete(
                kind, name_of(obj), where, grace_s=0 if kind == "pods" else None, propagation="Background"
            )


def _places(before: Altered) -> tuple[tuple[str, str], ...]:
    owners = sorted(
        {("configmaps", creation.namespace) for creation in before.creations if creation.namespace}
    )
    return (*owners, *sorted({(creation.kind, creation.namespace) for creation in before.creations}))


# --- words ----------------------------------------------------------------------------------------------


def _filled(value: Any, entry: str) -> Any:
    return json.loads(json.dumps(value).replace(ENTRY, entry))


def _is_ours(found: Object) -> bool:
    return ENTRY_LABEL in (found["metadata"].get("labels") or {})


def _paths(patch: Any, at: str = "") -> list[str]:
    if not isinstance(patch, dict) or not patch:
        return [at]
    return [path for key, value in patch.items() for path in _paths(value, f"{at}.{key}" if at else key)]


def _patch_line(site: Site, ref: Ref, back: Object) -> str:
    where = (
        ""
        if ref.kind in {"nodes", "clusterrolebindings"}
        else f" -n {ref.namespace or site.kubernetes.namespace}"
    )
    patch = shlex.quote(json.dumps(back, separators=(",", ":")))
    return f"kubectl{where} patch {ref.kind}/{ref.name} --type merge -p {patch}"
