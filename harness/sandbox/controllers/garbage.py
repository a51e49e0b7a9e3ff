"""The garbage collector: what has owners lives as long as one of them does.

Also carries out how an owner wants to go: `foregroundDeletion` waits for its dependents, `orphan` sets them free. It
knows owners by uid over all resources it watches, and asks the server before it believes an owner to be absent.
"""

from __future__ import annotations

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controllers.controller import Controller, ignoring_absence
from harness.sandbox.controllers.informer import Informer, Key, World, key_of
from harness.sandbox.controllers.podfacts import is_going
from harness.sandbox.controlplane.resources import BY_KIND, RESOURCES
from harness.sandbox.recorder import Recorder

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_UNOWNED = {"events"}
COLLECTED = tuple(
    resource.key
    for resource in RESOURCES
    if {"delete", "watch"} <= set(resource.verbs)
    and not resource.stored_as
    and resource.plural not in _UNOWNED
)


class GarbageCollector(Controller):
    """Reconciles objects with their owners; a key here is (resource, "namespace/name")."""

    name = "garbage-collector"

    def __init__(self, world: World, recorder: Recorder) -> None:
        super().__init__(world, recorder)
        self._informers = {resource: world.informer(resource) for resource in COLLECTED}
        self._uids: set[str] = set()
        for resource, informer in self._informers.items():
            self._follow(resource, informer)

    def _follow(self, resource: str, informer: Informer) -> None:
        def on_event(kind: str, obj: Obj, _before: Obj | None) -> None:
            uid = obj["metadata"]["uid"]
            if kind == "DELETED":
                self._uids.discard(uid)
                self._wake_dependents(uid)
            else:
                self._uids.add(uid)
                held = {FOREGROUND, ORPHAN} & set(obj["metadata"].get("finalizers") or [])
                if (is_going(obj) and held) or kind == "ADDED":
                    self.wake((resource, "/".join(key_of(obj))))
            for owner in obj["metadata"].get("ownerReferences") or []:
                self._wake_owner(owner, obj)

        informer.on_event(on_event)

    def _wake_dependents(self, uid: str) -> None:
        for resource, informer in self._informers.items():
            for dependent in informer.owned_by(uid):
                self.wake((resource, "/".join(key_of(dependent))))

    def _wake_owner(self, owner: Obj, dependent: Obj) -> None:
        """An owner that waits for its dependents looks again when one of them changes or goes."""
        found = self._find(owner, dependent["metadata"].get("namespace") or "")
        if found is not None and is_going(found[1]):
            self.wake((found[0], "/".join(key_of(found[1]))))

    def _find(self, owner: Obj, namespace: str) -> tuple[str, Obj] | None:
        group = owner["apiVersion"].partition("/")[0] if "/" in owner["apiVersion"] else ""
        resource = BY_KIND.get((group, owner["kind"]))
        if resource is None or resource.key not in self._informers:
            return None
        obj = self._informers[resource.key].get(namespace if resource.namespaced else "", owner["name"])
        if obj is None or obj["metadata"]["uid"] != owner["uid"]:
            return None
        return resource.key, obj

    async def reconcile(self, key: Key) -> None:
        """Bring one object in line: as a dependent of its owners and as an owner of its dependents."""
        resource, path = key
        namespace, _, name = path.partition("/")
        obj = self._informers[resource].get(namespace, name)
        if obj is None:
            return
        if is_going(obj):
            await self._let_go(resource, obj)
        elif obj["metadata"].get("ownerReferences"):
            await self._check_owners(resource, obj)

    def _dependents(self, uid: str) -> list[tuple[str, Obj]]:
        return [
            (resource, obj)
            for resource, informer in self._informers.items()
            for obj in informer.owned_by(uid)
        ]

    async def _let_go(self, resource: str, owner: Obj) -> None:
        finalizers = owner["metadata"].get("finalizers") or []
        uid = owner["metadata"]["uid"]
        if ORPHAN in finalizers:
            for kind, dependent in self._dependents(uid):
                await self._drop_owners(kind, dependent, {uid})
            await self._unhold(resource, owner, ORPHAN)
        elif FOREGROUND in finalizers:
            blocking = 0
            for kind, dependent in self._dependents(uid):
                reference = next(one for one in dependent["metadata"]["ownerReferences"] if one["uid"] == uid)
                blocking += bool(reference.get("blockOwnerDeletion"))
                if not is_going(dependent) and not await self._has_other_owner(dependent, uid):
                    await self._delete(kind, dependent, "Foreground")
            if not blocking:
                await self._unhold(resource, owner, FOREGROUND)

    async def _has_other_owner(self, dependent: Obj, uid: str) -> bool:
        """With an owner that stays the dependent stays too, without the reference to the one that goes."""
        others = [one for one in dependent["metadata"]["ownerReferences"] if one["uid"] != uid]
        for other in others:
            found = self._find(other, dependent["metadata"].get("namespace") or "")
            if found is not None and not is_going(found[1]):
                return True
        return False

    async def _unhold(self, resource: str, owner: Obj, finalizer: str) -> None:
        namespace, name = key_of(owner)
        kept = [one for one in owner["metadata"].get("finalizers") or [] if one != finalizer]
        meta = {"uid": owner["metadata"]["uid"], "finalizers": kept or None}
        await ignoring_absence(self.api.patch(resource, name, {"metadata": meta}, namespace or None))

    async def _drop_owners(self, resource: str, dependent: Obj, uids: set[str]) -> None:
        namespace, name = key_of(dependent)
        kept = [one for one in dependent["metadata"]["ownerReferences"] if one["uid"] not in uids]
        meta = {"uid": dependent["metadata"]["uid"], "ownerReferences": kept or None}
        await ignoring_absence(self.api.patch(resource, name, {"metadata": meta}, namespace or None))

    async def _check_owners(self, resource: str, dependent: Obj) -> None:
        absent, waiting, solid = set(), False, False
        for owner in dependent["metadata"]["ownerReferences"]:
            found = self._find(owner, dependent["metadata"].get("namespace") or "")
            if found is None and owner["uid"] not in self._uids and await self._is_absent(owner, dependent):
                absent.add(owner["uid"])
            elif (
                found is not None
                and is_going(found[1])
                and FOREGROUND in (found[1]["metadata"].get("finalizers") or [])
            ):
                waiting = True
            else:
                solid = True
        if solid:
            if absent:
                await self._drop_owners(resource, dependent, absent)
        elif absent or waiting:
            await self._delete(resource, dependent, "Foreground" if waiting else "Background")

    async def _is_absent(self, owner: Obj, dependent: Obj) -> bool:
        """Ask the server: a picture may lag behind, and an unknown kind is never believed to be absent."""
        group = owner["apiVersion"].partition("/")[0] if "/" in owner["apiVersion"] else ""
        resource = BY_KIND.get((group, owner["kind"]))
        if resource is None:
            return False
        namespace = dependent["metadata"].get("namespace") if resource.namespaced else None
        try:
            found = await self.api.get(resource.key, owner["name"], namespace)
        except ApiStatus as refusal:
            return refusal.code == 404
        return bool(found["metadata"]["uid"] != owner["uid"])

    async def _delete(self, resource: str, dependent: Obj, policy: str) -> None:
        namespace, name = key_of(dependent)
        finalizers = dependent["metadata"].get("finalizers") or []
        if ORPHAN in finalizers:
            policy = "Orphan"
        elif FOREGROUND in finalizers:
            policy = "Foreground"
        elif resource == "pods":
            policy = "Background"  # nothing hangs on a pod
        uid = dependent["metadata"]["uid"]
        await ignoring_absence(
            self.api.delete(resource, name, namespace or None, propagation=policy, uid=uid)
        )
