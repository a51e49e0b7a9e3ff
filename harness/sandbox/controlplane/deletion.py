"""How objects go: preconditions, grace of pods, finalizers of owners, and when an object is really over.

Pure but for the clock; called by the verbs. Dependents are the garbage collector's business, the contents of a
namespace the namespace controller's: here are only the marks they act on.
"""

import time
from dataclasses import dataclass

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import statuses
from harness.sandbox.controlplane.resources import Resource
from harness.sandbox.controlplane.store import Record

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
POLICIES = ("Background", "Foreground", "Orphan")


@dataclass(frozen=True)
class Options:
    """DeleteOptions, as far as they matter."""

    grace_s: int | None = None
    propagation: str | None = None
    uid: str | None = None
    resource_version: str | None = None


def check(before: Record, resource: Resource, options: Options) -> None:
    """Raise ApiStatus 409 where a precondition does not hold."""
    meta = before.obj["metadata"]
    if options.uid and options.uid != meta["uid"]:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({meta['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise statuses.conflict(resource.kind, resource.group, meta["name"], why)
    if options.resource_version and options.resource_version != meta["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the "
            f"ResourceVersion in record ({meta['resourceVersion']}). The object might have been modified"
        )
        raise statuses.conflict(resource.kind, resource.group, meta["name"], why)


def _later(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def _grace(obj: Obj, options: Options) -> int:
    """Seconds a pod gets to end: none where no kubelet has it or where it is over already."""
    spec, status = obj["spec"], obj.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    asked = options.grace_s
    return spec.get("terminationGracePeriodSeconds", 30) if asked is None else max(asked, 0)


def _finalizers(obj: Obj, resource: Resource, options: Options) -> list[str]:
    """The finalizers after the wish about dependents is written into them."""
    held = [f for f in obj["metadata"].get("finalizers") or [] if f not in (ORPHAN, FOREGROUND)]
    policy = options.propagation
    if policy is None:
        current = obj["metadata"].get("finalizers") or []
        if ORPHAN in current or (resource.orphans and FOREGROUND not in current):
            policy = "Orphan"
        elif FOREGROUND in current:
            policy = "Foreground"
    if policy == "Orphan":
        return [*held, ORPHAN]
    return [*held, FOREGROUND] if policy == "Foreground" else held


def mark(obj: Obj, resource: Resource, options: Options) -> Obj | None:
    """Mark an own copy of an object as going; None where nothing holds it and it can go at once."""
    meta = obj["metadata"]
    finalizers = _finalizers(obj, resource, options)
    grace = _grace(obj, options) if resource.kind == "Pod" else 0
    held = bool(finalizers) or grace > 0 or (resource.kind == "Namespace" and obj["spec"].get("finalizers"))
    if not held:
        return None
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)
    if "deletionTimestamp" in meta:
        if grace < meta.get("deletionGracePeriodSeconds", 0):
            meta.update(deletionTimestamp=_later(grace), deletionGracePeriodSeconds=grace)
    else:
        meta.update(deletionTimestamp=_later(grace))
        if resource.kind != "Namespace":
            meta["deletionGracePeriodSeconds"] = grace
        if meta.get("generation"):
            meta["generation"] += 1
    if resource.kind == "Namespace":
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
    return obj


def is_over(obj: Obj, resource: Resource) -> bool:
    """Whether an object that is going has nothing left to wait for."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers"):
        return False
    if resource.kind == "Namespace":
        return not (obj.get("spec") or {}).get("finalizers")
    return not meta.get("deletionGracePeriodSeconds")
