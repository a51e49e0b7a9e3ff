"""The declared state: what an undo promises to bring back, read from the cluster and compared in words.

Called by the contract suite and by the crash campaign, before the first fault and after the last undo. It holds nodes,
workloads, access, Services and policies as people declared them, and whatever carries our labels. Names, uids and times of pods
are not in it: controllers make those anew. It only reads, and a kind it may not list is an error, never an absence.
"""

import json
from collections.abc import Iterator
from typing import Any

from harness.chaos.faults.fault import (
    BACK_ANNOTATION,
    ENTRY_LABEL,
    FENCE_ANNOTATION,
    MANAGED_BY,
    MARKS,
    SET_ANNOTATION,
)
from harness.chaos.faults.workers import REVERTER_LABELS, is_cordoned
from harness.chaos.world import Site
from harness.cluster import Object, name_of
from harness.cluster.kinds import KINDS, annotations_of, condition, labels_of
from harness.errors import HarnessError

WINDOW_SERVICE = "grpc-service-"
"""Services of windows: they come and go with the load."""
SELF_MADE_TAINTS = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
"""Taints that node lifecycle adds and removes by itself."""
OUR_ANNOTATIONS = (
    BACK_ANNOTATION,
    SET_ANNOTATION,
    FENCE_ANNOTATION,
    *(f"focus-harness/{mark}" for mark in MARKS),
)
WORKLOADS = ("deployments", "statefulsets")
ACCESS = {
    "roles": ("rules",),
    "rolebindings": ("subjects", "roleRef"),
    "clusterrolebindings": ("subjects", "roleRef"),
}
SPECS = ("services", "networkpolicies")
IN_FULL = ("nodes", *WORKLOADS, *ACCESS, *SPECS)
"""Kinds of which every object in the system's namespace counts."""
LABELLED = (*WORKLOADS, "services", "networkpolicies", "jobs", "pods", "configmaps", "roles", "rolebindings")
"""Kinds of which what carries our labels counts, in both namespaces."""
LONG = 160


def declared_state(site: Site) -> dict[str, object]:
    """Return what undo promises to bring back: what it is in words, and its value as JSON."""
    found = {kind: site.world.objects(kind) for kind in IN_FULL}
    autoscaled = _autoscaled(site)
    state: dict[str, object] = {}
    for node in found["nodes"]:
        state |= _node(node)
    for kind in WORKLOADS:
        for workload in found[kind]:
            state |= _workload(kind, workload, (KINDS[kind].name, name_of(workload)) in autoscaled)
    for kind, keys in ACCESS.items():
        for obj in found[kind]:
            state |= {f"{_what(kind, obj)}: {key}": obj.get(key) or [] for key in keys}
    for kind in SPECS:
        for obj in found[kind]:
            if not name_of(obj).startswith(WINDOW_SERVICE):
                state[f"{_what(kind, obj)}: spec"] = obj.get("spec") or {}
    for kind in IN_FULL:
        for obj in found[kind]:
            state |= _marks(kind, obj)
    for kind in LABELLED:
        for obj in _labelled(site, kind):
            state |= _marks(kind, obj)
    return state


def differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """Return in words what of the declared state is not as it was."""
    found: list[str] = []
    for what in sorted(before.keys() | after.keys()):
        if what not in after:
            found.append(f"{what}: gone, {_said(before[what])} before")
        elif what not in before:
            found.append(f"{what}: {_said(after[what])} now, not there before")
        else:
            found += _differing(what, before[what], after[what])
    return found


def _node(node: Object) -> dict[str, object]:
    spec, what = node.get("spec", {}), _what("nodes", node)
    taints = [
        {key: taint.get(key, "") for key in ("key", "value", "effect")}
        for taint in spec.get("taints") or ()
        if not str(taint.get("key", "")).startswith(SELF_MADE_TAINTS)
    ]
    return {
        f"{what}: unschedulable": is_cordoned(node),
        f"{what}: labels": labels_of(node),
        f"{what}: taints": sorted(taints, key=lambda taint: (taint["key"], taint["effect"])),
        f"{what}: Ready": condition(node, "Ready"),
    }


def _workload(kind: str, workload: Object, is_autoscaled: bool) -> dict[str, object]:
    what = _what(kind, workload)
    spec = dict(workload.get("spec") or {})
    if is_autoscaled:
        spec.pop("replicas", None)
        return {f"{what}: spec": spec}
    return {
        f"{what}: spec": spec,
        f"{what}: ready": int(workload.get("status", {}).get("readyReplicas") or 0),
    }


def _autoscaled(site: Site) -> set[tuple[str, str]]:
    """Return kind and name of workloads whose number an autoscaler owns."""
    try:
        scalers = site.world.objects("horizontalpodautoscalers")
    except HarnessError:
        return set()  # a cluster without autoscalers, or no right to look: then the number is declared
    targets = [scaler["spec"]["scaleTargetRef"] for scaler in scalers]
    return {(str(of["kind"]), str(of["name"])) for of in targets}


def _labelled(site: Site, kind: str) -> Iterator[Object]:
    """Yield what carries one of our labels in the system's namespace or in ours."""
    managed = ",".join(f"{key}={value}" for key, value in MANAGED_BY.items())
    for namespace in {site.kubernetes.namespace, site.kubernetes.harness_namespace}:
        for selector in (ENTRY_LABEL, managed):
            yield from site.world.objects(kind, namespace, selector)


def _marks(kind: str, obj: Object) -> dict[str, object]:
    """Return what an object carries of ours, if anything; the reverter is no fault's."""
    ours = (ENTRY_LABEL, *MANAGED_BY, *OUR_ANNOTATIONS)
    carried = {key: value for key, value in {**annotations_of(obj), **labels_of(obj)}.items() if key in ours}
    if MANAGED_BY.keys() & carried.keys() and not MANAGED_BY.items() <= carried.items():
        carried = {key: value for key, value in carried.items() if key not in MANAGED_BY}  # somebody else's
    if not carried or REVERTER_LABELS.items() <= labels_of(obj).items():
        return {}
    return {f"{_what(kind, obj)}: marks": carried}


def _what(kind: str, obj: Object) -> str:
    namespace = obj["metadata"].get("namespace")
    return f"{KINDS[kind].name} {f'{namespace}/' if namespace else ''}{name_of(obj)}"


def _differing(what: str, before: Any, after: Any) -> list[str]:
    if before == after:
        return []
    if not isinstance(before, dict) or not isinstance(after, dict):
        return [f"{what}: {_said(before)} before, {_said(after)} now"]
    found: list[str] = []
    for key in sorted(before.keys() | after.keys()):
        found += _differing(f"{what}.{key}", before.get(key), after.get(key))
    return found


def _said(value: object) -> str:
    text = "nothing" if value is None else json.dumps(value, separators=(",", ":"), sort_keys=True)
    return text if len(text) <= LONG else f"{text[:LONG]}..."
