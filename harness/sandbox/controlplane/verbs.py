"""The verbs on stored objects: get, list, create, update, patch, delete, each as one atomic step over the store.

Called by the HTTP layer (after rights were looked at) and by the in-process `LocalApi`. It refuses with `ApiStatus`
in the server's words. Order of a write: read the body as its type, metadata, defaults, admission, validation,
allocation, quota, store. Subresources with a logic of their own (binding, eviction, scale, token) are `subresources`.
"""

import copy
import random
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import (
    addresses,
    admission,
    apply,
    defaults,
    deletion,
    fields,
    patches,
    statuses,
    validation,
    views,
)
from harness.sandbox.controlplane.identity import SYSTEM, User
from harness.sandbox.controlplane.resources import BY_KEY, RESOURCES, Resource
from harness.sandbox.controlplane.selectors import EVERYTHING, FieldTerm, LabelSelector
from harness.sandbox.controlplane.store import Key, Record, Store

SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
KEPT_META = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
)
CONDITIONAL_ONLY = {"Lease", "PodDisruptionBudget"}  # a PUT of these must name the version it rests on


def now() -> str:
    """The time as objects carry it: UTC, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@dataclass(frozen=True)
class Ask:
    """Who asks for a write and how: dry run, what to do about unknown fields, field manager."""

    user: User = SYSTEM
    dry_run: bool = False
    validation: str = "Ignore"
    manager: str = "unknown"
    force: bool = False
    warnings: list[str] = field(default_factory=list)


class Verbs:
    """Reads and writes of one store; also opens its shelves."""

    def __init__(self, store: Store, ranges: addresses.Ranges) -> None:
        self.store = store
        self.ranges = ranges
        for resource in RESOURCES:
            if resource.stored and not resource.stored_as:
                store.open_shelf(resource.key, resource.kind, resource.api_version)

    # ---- reading

    def find(self, resource: Resource, namespace: str, name: str) -> Record:
        """One object; raise ApiStatus 404."""
        record = self.store.get(resource.shelf, (namespace if resource.namespaced else "", name))
        if record is None:
            raise statuses.not_found(resource.plural, resource.group, name)
        return record

    def select(
        self,
        resource: Resource,
        namespace: str | None,
        labels: LabelSelector = EVERYTHING,
        terms: tuple[FieldTerm, ...] = (),
        records: Iterable[Record] | None = None,
    ) -> list[Record]:
        """Objects that match, in order of namespace and name."""
        if records is None:
            records = self.store.each(resource.shelf, namespace)
        if labels is EVERYTHING and not terms:
            return list(records)
        return [r for r in records if views.matches(resource, r.obj, labels, terms)]

    # ---- create

    def create(self, resource: Resource, namespace: str, body: Any, ask: Ask) -> Record:
        """Create an object; raise ApiStatus where it is refused."""
        obj = self.read_body(resource, body, ask)
        meta = obj.setdefault("metadata", {})
        self._place(meta, resource, namespace)
        if meta.get("resourceVersion"):
            raise statuses.refusal(500, "", "resourceVersion should not be set on objects to be created")
        self._name(meta, resource)
        for word in ("deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"):
            meta.pop(word, None)
        meta.update(uid=str(uuid.uuid4()), creationTimestamp=now())
        admission.prepare_create(obj, resource)
        admission.admit_create(self.store, obj, resource, ask.user)
        if resource.kind in defaults.DEFAULTS:
            defaults.DEFAULTS[resource.kind](obj)
        admission.finish_create(self.store, obj, resource)
        self._refuse(resource, meta.get("name", ""), validation.create_causes(obj, resource))
        key = (meta.get("namespace", ""), meta["name"])
        if self.store.get(resource.shelf, key) is not None:
            raise statuses.already_exists(resource.plural, resource.group, meta["name"])
        self._allocate(resource, key, obj)
        admission.check_quota(self.store, obj, resource, None, dry_run=ask.dry_run)
        if ask.dry_run:
            return self.store.encode(resource.shelf, obj, 0)
        return self.store.put(resource.shelf, key, obj, None)

    def read_body(self, resource: Resource, body: Any, ask: Ask, *, patched: bool = False) -> Obj:
        """A body as its type; raise ApiStatus for another kind, wrong types, and unknown fields under Strict."""
        if not isinstance(body, dict):
            raise statuses.bad_request(f"couldn't get version/kind; json parse error: {resource.kind}")
        self._check_kind(resource, body)
        try:
            obj, unknown = fields.tidy(body, resource.type_name)
        except fields.WrongType as error:
            words = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
            raise statuses.bad_request(f"{words}: {error}") from error
        obj.pop("kind", None)
        obj.pop("apiVersion", None)
        if unknown:
            self._unknown(resource, unknown, ask, patched=patched)
        if resource.stored_as:
            obj = views.to_stored(resource, obj)
        return {"kind": resource.kind, "apiVersion": BY_KEY.get(resource.shelf, resource).api_version, **obj}

    @staticmethod
    def _check_kind(resource: Resource, body: Obj) -> None:
        kind, version = body.get("kind"), body.get("apiVersion")
        if version and version != resource.api_version:
            raise statuses.bad_request(
                f"the API version in the data ({version}) does not match the expected API version "
                f"({resource.api_version})"
            )
        if kind and kind != resource.kind:
            raise statuses.bad_request(
                f'{kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
                f"converting (v1.{kind}) to (core.{resource.kind}): unknown conversion"
            )

    @staticmethod
    def _unknown(resource: Resource, unknown: list[str], ask: Ask, *, patched: bool) -> None:
        words = [f'unknown field "{path}"' for path in unknown]
        if ask.validation == "Warn":
            ask.warnings.extend(words)
        elif ask.validation == "Strict":
            text = "strict decoding error: " + ", ".join(words)
            if patched:
                cause = statuses.invalid_value("patch", "", text)
                raise statuses.invalid("", "", "", [cause])
            handled = (
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
            )
            raise statuses.bad_request(f"{handled}: {text}")

    @staticmethod
    def _place(meta: Obj, resource: Resource, namespace: str) -> None:
        if not resource.namespaced:
            meta.pop("namespace", None)
        elif meta.setdefault("namespace", namespace) != namespace:
            raise statuses.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )

    def _name(self, meta: Obj, resource: Resource) -> None:
        base = meta.get("generateName")
        if meta.get("name") or not base:
            return
        for _ in range(8):
            meta["name"] = base[:58] + "".join(random.choices(SUFFIX_LETTERS, k=5))
            if self.store.get(resource.shelf, (meta.get("namespace", ""), meta["name"])) is None:
                return

    @staticmethod
    def _refuse(resource: Resource, name: str, causes: list[statuses.Cause]) -> None:
        if causes:
            raise statuses.invalid(resource.kind, resource.group, name, causes)

    def _allocate(self, resource: Resource, key: Key, obj: Obj) -> None:
        if resource.kind == "Service":
            taken = addresses.taken_by_others(self.store, key)
            causes = addresses.allocate(obj, self.ranges, taken)
            self._refuse(resource, obj["metadata"]["name"], causes)

    # ---- update

    def update(
        self, resource: Resource, namespace: str, name: str, body: Any, ask: Ask, sub: str = ""
    ) -> tuple[Record, bool]:
        """Put an object (or its status); give the record and whether it was created (upsert kinds only)."""
        obj = self.read_body(resource, body, ask)
        meta = obj.setdefault("metadata", {})
        if meta.setdefault("name", name) != name:
            text = f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
            raise statuses.bad_request(text)
        self._place(meta, resource, namespace)
        before = self.store.get(resource.shelf, (meta.get("namespace", ""), name))
        if before is None:
            if resource.upsert:
                return self.create(resource, namespace, obj, ask), True
            raise statuses.not_found(resource.plural, resource.group, name)
        if resource.kind in CONDITIONAL_ONLY and not meta.get("resourceVersion"):
            cause = statuses.invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            self._refuse(resource, name, [cause])
        return self.store_update(resource, before, obj, ask, sub), False

    def store_update(self, resource: Resource, before: Record, obj: Obj, ask: Ask, sub: str = "") -> Record:
        """Write a changed object over `before`: status or the rest, defaults, rules, generation, end of deletion."""
        meta, old = obj["metadata"], before.obj
        name = old["metadata"]["name"]
        self._check_preconditions(resource, before, meta)
        if sub == "status":
            obj = _with_status(obj, old)
        else:
            _keep_status(obj, old, resource)
        meta = obj["metadata"]
        _keep_meta(meta, old["metadata"])
        if sub == "finalize":
            obj = {**copy.deepcopy(old), "spec": obj.get("spec") or {}}
            meta = obj["metadata"]
        elif not sub:
            admission.prepare_update(obj, old, resource)
            if resource.kind in defaults.DEFAULTS:
                defaults.DEFAULTS[resource.kind](obj)
            self._refuse(resource, name, validation.update_causes(obj, old, resource))
            self._allocate(resource, (meta.get("namespace", ""), name), obj)
            admission.check_quota(self.store, obj, resource, old, dry_run=ask.dry_run)
        meta["resourceVersion"] = old["metadata"]["resourceVersion"]
        _count_generation(obj, old, resource, sub)
        key = (meta.get("namespace", ""), name)
        if deletion.is_over(obj, resource):
            return before if ask.dry_run else self.store.remove(resource.shelf, key, before)
        if _same(obj, old):
            return before
        if ask.dry_run:
            return self.store.encode(resource.shelf, obj, before.version)
        return self.store.put(resource.shelf, key, obj, before)

    @staticmethod
    def _check_preconditions(resource: Resource, before: Record, meta: Obj) -> None:
        name, old = before.obj["metadata"]["name"], before.obj["metadata"]
        if meta.get("uid") and meta["uid"] != old["uid"]:
            text = (
                f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {old['uid']}"
            )
            raise statuses.conflict(resource.plural, resource.group, name, text)
        asked = meta.get("resourceVersion")
        if asked and asked != old["resourceVersion"]:
            if not asked.isdigit():
                cause = statuses.invalid_value(
                    "metadata.resourceVersion", asked, f'strconv.ParseUint: parsing "{asked}": invalid syntax'
                )
                raise statuses.invalid(resource.kind, resource.group, name, [cause])
            raise statuses.conflict(resource.plural, resource.group, name)

    # ---- patch

    def patch(
        self, resource: Resource, namespace: str, name: str, how: str, patch: Any, ask: Ask, sub: str = ""
    ) -> tuple[Record, bool]:
        """Change parts of an object by one of the four kinds of patch; apply may create it."""
        key = (namespace if resource.namespaced else "", name)
        before = self.store.get(resource.shelf, key)
        if how == "apply":
            return self._apply(resource, key, before, patch, ask, sub)
        if before is None:
            raise statuses.not_found(resource.plural, resource.group, name)
        current = before.copy()
        if resource.stored_as:
            current = views.from_stored(resource, current)
        changed = patched(current, how, patch, resource.type_name)
        obj = self.read_body(resource, changed, ask, patched=True)
        meta = obj.setdefault("metadata", {})
        if meta.get("name") != name:
            text = f"the name of the object ({meta.get('name')}) does not match the name on the URL ({name})"
            raise statuses.bad_request(text)
        self._place(meta, resource, namespace)
        return self.store_update(resource, before, obj, ask, sub), False

    def _apply(
        self, resource: Resource, key: Key, before: Record | None, config: Any, ask: Ask, sub: str
    ) -> tuple[Record, bool]:
        wanted = self.read_body(resource, config, ask)
        wanted.setdefault("metadata", {})["name"] = key[1]
        if before is None:
            if sub:
                raise statuses.not_found(resource.plural, resource.group, key[1])
            new = apply.first(wanted, resource, ask.manager, now())
            return self.create(resource, key[0], new, ask), True
        try:
            merged = apply.merged(
                before.copy(), wanted, resource, ask.manager, now(), force=ask.force, sub=sub
            )
        except apply.Conflicts as conflicts:
            raise conflicts.status() from conflicts
        obj = self.read_body(resource, merged, ask)
        self._place(obj["metadata"], resource, key[0])
        return self.store_update(resource, before, obj, ask, sub), False

    # ---- delete

    def delete(
        self, resource: Resource, namespace: str, name: str, options: deletion.Options, ask: Ask
    ) -> tuple[Record, bool]:
        """Delete an object or mark it as going; give the record and whether it is gone."""
        before = self.find(resource, namespace, name)
        deletion.check(before, resource, options)
        marked = deletion.mark(before.copy(), resource, options)
        key = (before.obj["metadata"].get("namespace", ""), name)
        if marked is None or deletion.is_over(marked, resource):
            if ask.dry_run:
                return before, True
            return self.store.remove(resource.shelf, key, before), True
        if ask.dry_run or _same(marked, before.obj):
            return self.store.encode(resource.shelf, marked, before.version), False
        return self.store.put(resource.shelf, key, marked, before), False


def patched(current: Obj, how: str, patch: Any, type_name: str) -> Any:
    """An object changed by a json, merge or strategic patch; raise ApiStatus where the patch is unusable."""
    try:
        if how == "json":
            return patches.json_patch(current, patch)
        if how == "merge":
            return patches.merge_object(current, patch)
        return patches.strategic_patch(current, patch, type_name)
    except patches.PatchError as error:
        if error.malformed:
            raise statuses.bad_request(f"error decoding patch: {error}") from error
        text = "the server rejected our request due to an error in our request"
        raise statuses.refusal(422, "Invalid", text, {}) from error


def _same(one: Obj, other: Obj) -> bool:
    return all(one.get(key) == other.get(key) for key in {*one, *other} - {"metadata"}) and _comparable(
        one["metadata"]
    ) == _comparable(other["metadata"])


def _comparable(meta: Obj) -> Obj:
    found = {key: value for key, value in meta.items() if key != "managedFields"}
    found["managedFields"] = [
        {key: value for key, value in entry.items() if key != "time"}
        for entry in meta.get("managedFields") or []
    ]
    return found


def _keep_meta(meta: Obj, old: Obj) -> None:
    for key in KEPT_META:
        if key in old:
            meta[key] = old[key]
        else:
            meta.pop(key, None)
    if "managedFields" not in meta and "managedFields" in old:
        meta["managedFields"] = old["managedFields"]
    if "generateName" in old:
        meta.setdefault("generateName", old["generateName"])


def _keep_status(obj: Obj, old: Obj, resource: Resource) -> None:
    if resource.sub("status") is None:
        return
    if "status" in old:
        obj["status"] = old["status"]
    else:
        obj.pop("status", None)


def _with_status(obj: Obj, old: Obj) -> Obj:
    """The old object with the new status; annotations and finalizers may change along, labels of pods and nodes too."""
    new = {**old, "metadata": dict(old["metadata"]), "status": obj.get("status") or {}}
    free = ["annotations", "finalizers", "managedFields"]
    if old["kind"] in ("Pod", "Node"):
        free.append("labels")
    for key in free:
        if key in obj["metadata"]:
            new["metadata"][key] = obj["metadata"][key]
        elif key != "managedFields":
            new["metadata"].pop(key, None)
    return new


def _count_generation(obj: Obj, old: Obj, resource: Resource, sub: str) -> None:
    if not resource.generation or sub == "status":
        return
    changed = any(obj.get(k) != old.get(k) for k in {*obj, *old} - {"metadata", "status"})
    if resource.kind == "Deployment":
        changed |= obj["metadata"].get("annotations") != old["metadata"].get("annotations")
    if changed:
        obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
