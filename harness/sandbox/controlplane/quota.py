"""Resource quotas: what an object counts for, what a namespace uses, and the refusal when it would be too much.

`check` is called by admission for every write; `Keeper` follows the store and keeps the status of quotas true when
objects go or quotas change. Scopes of quotas are not looked at.
"""

from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import quantity, statuses
from harness.sandbox.controlplane.resources import BY_KEY, Resource
from harness.sandbox.controlplane.store import Change, Store

COUNTED = ("configmaps", "persistentvolumeclaims", "pods", "resourcequotas", "secrets", "services")
NATIVE = ("cpu", "memory", "ephemeral-storage")
Usage = dict[str, Fraction]


def usage(obj: Obj, resource: Resource) -> Usage:
    """What one object counts for, by the names a quota's `hard` may have."""
    found: Usage = defaultdict(Fraction)
    found[f"count/{resource.key}"] = Fraction(1)
    if resource.key == "pods":
        if (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return {f"count/{resource.key}": Fraction(1)}
        _pod(obj, found)
    elif resource.key == "services" and obj["spec"].get("type") in ("NodePort", "LoadBalancer"):
        found["services.nodeports"] = Fraction(len(obj["spec"].get("ports") or []))
    if resource.key in COUNTED:
        found[resource.key] = Fraction(1)
    return dict(found)


def _pod(obj: Obj, found: Usage) -> None:
    for box in obj["spec"].get("containers") or []:
        resources = box.get("resources") or {}
        for name, amount in (resources.get("requests") or {}).items():
            found[f"requests.{name}"] += quantity.parse(amount)
            if name in NATIVE:
                found[name] += quantity.parse(amount)
        for name, amount in (resources.get("limits") or {}).items():
            if name in NATIVE:
                found[f"limits.{name}"] += quantity.parse(amount)


def _counted_resources(names: Iterable[str]) -> list[Resource]:
    """The resources that can add to any of a quota's names."""
    keys = set()
    for name in names:
        if name.startswith("count/"):
            keys.add(name.removeprefix("count/"))
        else:
            keys.add(name.partition(".")[0] if name.partition(".")[0] in COUNTED else "pods")
    return [BY_KEY[key] for key in sorted(keys) if key in BY_KEY and BY_KEY[key].stored]


def used(store: Store, namespace: str, names: Iterable[str]) -> Usage:
    """What a namespace uses of the named amounts."""
    names = list(names)
    total: Usage = dict.fromkeys(names, Fraction(0))
    for resource in _counted_resources(names):
        for record in store.each(resource.shelf, namespace):
            for name, amount in usage(record.obj, resource).items():
                if name in total:
                    total[name] += amount
    return total


def _shown(amounts: Usage) -> Obj:
    return {name: quantity.show(amount) for name, amount in sorted(amounts.items())}


def write_status(store: Store, key: tuple[str, str], amounts: Usage) -> None:
    """Write what is used into a quota's status, if it says otherwise."""
    before = store.get("resourcequotas", key)
    if before is None:
        return
    hard = (before.obj.get("spec") or {}).get("hard") or {}
    status = {"hard": hard, "used": _shown(amounts)}
    if before.obj.get("status") != status:
        new = before.copy()
        new["status"] = status
        store.put("resourcequotas", key, new, before)


def check(store: Store, obj: Obj, resource: Resource, old: Obj | None, *, dry_run: bool) -> None:
    """Raise ApiStatus 403 where a write would exceed a quota; else count it in."""
    namespace = obj["metadata"].get("namespace", "")
    quotas = [r.obj for r in store.each("resourcequotas", namespace)] if namespace else []
    if not quotas or resource.kind == "Event":
        return
    wanted, had = usage(obj, resource), usage(old, resource) if old else {}
    delta = {name: amount - had.get(name, 0) for name, amount in wanted.items()}
    writes = []
    for quota in quotas:
        hard = (quota.get("spec") or {}).get("hard") or {}
        asked = {name: amount for name, amount in delta.items() if name in hard and amount > 0}
        if not asked:
            continue
        now = used(store, namespace, hard)
        over = sorted(
            name for name, amount in asked.items() if now[name] + amount > quantity.parse(hard[name])
        )
        if over:
            raise _exceeded(quota, over, asked, now, hard, obj, resource)
        writes.append((quota["metadata"]["name"], {n: now[n] + asked.get(n, 0) for n in hard}))
    if not dry_run:
        for name, amounts in writes:
            write_status(store, (namespace, name), amounts)


def _exceeded(
    quota: Obj, over: list[str], asked: Usage, now: Usage, hard: Obj, obj: Obj, resource: Resource
) -> Exception:
    def listed(amounts: dict[str, str]) -> str:
        return ",".join(f"{name}={amounts[name]}" for name in over)

    requested = {name: quantity.show(amount) for name, amount in asked.items()}
    present = {name: quantity.show(amount) for name, amount in now.items()}
    text = (
        f"exceeded quota: {quota['metadata']['name']}, requested: {listed(requested)}, "
        f"used: {listed(present)}, limited: {listed(hard)}"
    )
    return statuses.forbidden(resource.plural, resource.group, obj["metadata"].get("name", ""), text)


class Keeper:
    """Keeps quota statuses true; `run_once` writes what has become untrue since the last time."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.dirty: set[str] = set()
        for key in (*COUNTED, *(k for k, r in BY_KEY.items() if r.stored and r.group in ("apps", "batch"))):
            store.shelf(key).listeners.append(self._changed)

    def _changed(self, change: Change) -> None:
        self.dirty.add(change.key[0])

    def run_once(self) -> None:
        """Recount every namespace that changed and has a quota."""
        dirty, self.dirty = self.dirty, set()
        for namespace in dirty:
            for record in list(self.store.each("resourcequotas", namespace)) if namespace else []:
                hard = (record.obj.get("spec") or {}).get("hard") or {}
                key = (namespace, record.obj["metadata"]["name"])
                write_status(self.store, key, used(self.store, namespace, hard))
