"""Find what faults left on a cluster by its marks alone, and take it back: with no journal and no entry.

`harness undo` and the preflight look here. Every object that a fault touches carries the entry's label and the patch that takes it
back; what it created carries that label and ours. What belongs to a live run is explained by its entries and is left alone.
"""

import json
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.chaos.copies import COPY_PREFIX
from harness.chaos.faults.fault import (
    BACK_ANNOTATION,
    DELETE,
    ENTRY_LABEL,
    MANAGED_BY,
    SET_ANNOTATION,
    holds,
    unmarked,
)
from harness.chaos.world import Site
from harness.cluster import ClusterRefused, Object, labels_of, name_of, uid_of, version_of
from harness.cluster.kinds import KINDS, annotations_of
from harness.errors import AccessDenied, HarnessError

KINDS_TOUCHED = (
    "clusterrolebindings",
    "rolebindings",
    "nodes",
    "deployments",
    "statefulsets",
    "services",
    "jobs",
)
"""What faults change; those that restore access come first."""
KINDS_CREATED = ("pods", "networkpolicies", "configmaps")


@dataclass(frozen=True, slots=True)
class Mark:
    """One object that carries a fault's mark."""

    kind: str
    obj: Object
    namespace: str
    """Empty for kinds that have none."""

    @property
    def entry(self) -> str:
        """The undo entry it belongs to."""
        return labels_of(self.obj)[ENTRY_LABEL]

    @property
    def run(self) -> str:
        """The run that touched it, where it says so."""
        return annotations_of(self.obj).get("focus-harness/run", "")

    @property
    def way_back(self) -> str:
        """The patch that takes it back, or `delete`."""
        created = MANAGED_BY.items() <= labels_of(self.obj).items()
        return DELETE if created else annotations_of(self.obj).get(BACK_ANNOTATION, "{}")

    def expired(self, now: datetime) -> bool:
        """Say whether the planned end has passed; what does not say its end has none."""
        try:
            return datetime.fromisoformat(annotations_of(self.obj).get("focus-harness/ends", "")) <= now
        except ValueError:
            return True

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind.removesuffix('s')} {where}{name_of(self.obj)}"


def marks(site: Site) -> Iterator[Mark]:
    """Yield everything on the target that carries a fault's mark, but the entries; kinds we may not list are left out."""
    kubernetes = site.kubernetes
    for kind in (*KINDS_TOUCHED, *KINDS_CREATED):
        namespaced = KINDS[kind].namespaced
        for namespace in (kubernetes.namespace, kubernetes.harness_namespace) if namespaced else ("",):
            try:
                found = site.world.objects(kind, namespace or None, ENTRY_LABEL)
            except (AccessDenied, ClusterRefused):
                continue
            for obj in found:
                if not (kind == "configmaps" and name_of(obj).startswith(COPY_PREFIX)):
                    yield Mark(kind, obj, namespace)


def sweep(site: Site, explained: AbstractSet[str], live_run: str = "") -> Iterator[tuple[Mark, str]]:
    """Take back every mark whose entry is not `explained`; yield each with what was done or went wrong.

    What says it belongs to `live_run`, whose planned end has not passed, is left alone.
    """
    now = datetime.now(UTC)
    for mark in marks(site):
        if mark.entry in explained:
            continue
        if live_run and mark.run == live_run and not mark.expired(now):
            continue
        try:
            yield mark, _take_back(site, mark)
        except (
            HarnessError,
            ValueError,
        ) as error:  # ValueError: a way back that is no JSON, written by somebody else
            yield mark, f"STILL BROKEN: {error}"


def _take_back(site: Site, mark: Mark) -> str:
    name, namespace = name_of(mark.obj), mark.namespace or None
    if mark.way_back == DELETE:
        grace_s = 0 if mark.kind == "pods" else None
        site.world.delete(
            mark.kind, name, namespace, grace_s=grace_s, uid=uid_of(mark.obj), propagation="Background"
        )
        return "deleted (no entry explains it)"
    as_set = json.loads(annotations_of(mark.obj).get(SET_ANNOTATION, "{}"))
    still = holds(mark.obj, as_set)
    patch = {**(json.loads(mark.way_back) if still else {}), "metadata": unmarked()}
    site.world.patch(mark.kind, name, patch, namespace, resource_version=version_of(mark.obj))
    if not still:
        return "changed by somebody else meanwhile; left so, only the mark is taken off"
    done = "uncordoned" if mark.kind == "nodes" else f"put back ({mark.way_back})"
    return f"{done} (it carried a mark that no entry explains)"
