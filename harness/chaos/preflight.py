"""Look before anything moves: leftovers of an earlier run, missing rights. Identity was checked on connecting.

The conductor calls it once for all experiments of a campaign, a lone experiment for its own. It changes nothing but creating
the harness' namespace (the lock and the undo entries live there).
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.chaos.copies import copies_in_words, ensure_namespace
from harness.chaos.faults import Fault, fault_named
from harness.chaos.faults.alteration import PLURAL
from harness.chaos.faults.fault import refuse_losses
from harness.chaos.registry import registered
from harness.chaos.story import planned_faults, read_story, variables
from harness.chaos.sweep import marks
from harness.chaos.world import Site, thaw
from harness.cluster import Cluster, ClusterRefused, Right, labels_of, missing_rights, refuse_if_in_use
from harness.cluster.kinds import annotations_of
from harness.errors import AccessDenied, HarnessError, InjectionFailed, TargetBusy, TargetError
from harness.target import Target

MOST_NAMED = 6


def preflight(target: Target, cluster: Cluster, experiments: Iterable[Path]) -> None:
    """Look before a run that plays these experiment files; raises what `preflight_faults` raises, and InputError."""
    preflight_faults(target, cluster, {kind for file in experiments for kind in read_story(file).faults})


def check_settings(experiment: Path, settings: Mapping[str, object]) -> None:
    """Raise InputError for an experiment file that is none, or settings it does not take; contacts nothing."""
    variables(read_story(experiment), {key: str(value) for key, value in settings.items()}, None)


def rehearse(target: Target, cluster: Cluster, experiment: Path, settings: Mapping[str, str]) -> None:
    """Let the faults of an experiment choose their victims with these settings, and write nothing.

    Raises TargetError for a limit of the target that would be broken, with the numbers, and InputError for victims that do
    not exist. What depends on the moment (shares are all taken now) is left to the moment.
    """
    site = Site(cluster, target)
    story = read_story(experiment)
    if story.unverified and not target.is_sandbox:
        raise TargetError(
            f"experiment {story.name}: {', '.join(story.unverified)}: nobody undoes these actions; they run on the sandbox only"
        )
    for kind, arguments in planned_faults(story, settings, target.faults):
        fault = fault_named(kind, target.faults)
        refuse_losses(fault, target)
        try:
            fault.look(site, arguments)
        except InjectionFailed:
            continue


def unverified_actions(experiments: Iterable[Path]) -> tuple[str, ...]:
    """Return the actions that nobody undoes, as `experiment: action`; raises InputError for files that are none."""
    return tuple(f"{file.stem}: {name}" for file in experiments for name in read_story(file).unverified)


GITOPS = {
    "argocd.argoproj.io/instance": "Argo CD",
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
    "fluxcd.io/sync-checksum": "Flux",
}
"""Labels and annotations of those who put a changed object back."""


def fighters(target: Target, cluster: Cluster) -> tuple[str, ...]:
    """Return in words who will fight back when a role's workload is changed: operators, GitOps, autoscalers."""
    site = Site(cluster, target)
    found: list[str] = []
    autoscaled: set[tuple[str, str]] = set()
    try:
        for scaler in site.world.objects("horizontalpodautoscalers"):
            of = scaler["spec"]["scaleTargetRef"]
            autoscaled.add((of["kind"], of["name"]))
    except (AccessDenied, ClusterRefused):
        pass  # no right to look, or a cluster without autoscalers
    for name, role in site.kubernetes.roles.items():
        workload = site.world.find(PLURAL[role.kind], role.name)
        if workload is None:
            continue
        what = f"{role.kind} {role.name} (role {name.value})"
        found += [
            f"{what} is owned by {owner['kind']} {owner['name']}, whose operator will put it back"
            for owner in workload["metadata"].get("ownerReferences") or ()
        ]
        told = {**labels_of(workload), **annotations_of(workload)}
        found += sorted(
            {f"{what} is kept by {by}, which will put it back" for key, by in GITOPS.items() if key in told}
        )
        if (role.kind, role.name) in autoscaled:
            found.append(f"{what} is scaled by a HorizontalPodAutoscaler, which will scale it back")
    return tuple(found)


def preflight_faults(target: Target, cluster: Cluster, faults: Iterable[str]) -> None:
    """Raise TargetBusy for leftovers and AccessDenied with every missing right; `faults` are kinds."""
    site = Site(cluster, target)
    chosen = [fault_named(kind, target.faults) for kind in faults]
    missing = missing_rights(cluster, needed_rights(site, chosen))
    if missing:
        user = cluster.whoami() or "this user"
        raise AccessDenied(
            f"target {target.name!r}: {user} lacks what the faults need: {'; '.join(map(str, missing))}; "
            "grant it (docs/faults.md lists the rights per fault), or use a context that has it"
        )
    ensure_namespace(site)
    left = leftovers(site)
    if left:
        refuse_if_in_use(cluster)  # then they are no leftovers, and undoing them is nobody's business
        raise TargetBusy(
            f"target {target.name!r}: an earlier run left behind: {'; '.join(left)}; "
            f"undo it first: harness undo --target {target.name}"
        )


def needed_rights(site: Site, faults: Iterable[Fault[Any, Any]]) -> tuple[Right, ...]:
    """Return what the journal, the lock and these faults need."""
    ours = site.kubernetes.harness_namespace
    rights = {
        Right("get", "namespaces"),
        *(Right(verb, "configmaps", ours) for verb in ("get", "create", "delete", "list")),
        *(Right(verb, "leases", ours) for verb in ("get", "create", "patch", "delete")),
    }
    if site.world.find("namespaces", ours) is None:
        rights.add(Right("create", "namespaces"))
    for fault in faults:
        rights.update(fault.rights(site))
    return tuple(sorted(rights))


def leftovers(site: Site) -> list[str]:
    """Return in words what a run left on the target: entries, marked nodes, labelled pods, open journals here."""
    left = copies_in_words(site)
    marked = [str(mark) for mark in marks(site)]
    if len(marked) > MOST_NAMED:
        marked = [*marked[:MOST_NAMED], f"{len(marked) - MOST_NAMED} more"]
    left += [f"{mark} carries a fault's mark" for mark in marked]
    return left + open_journals(site.kubernetes.identity)


def open_journals(identity: str) -> list[str]:
    """Return in words the open entries of journals on this host that belong to the cluster `identity`."""
    found: list[str] = []
    for journal in registered():
        contents = journal.read()
        if contents.header is None or not contents.open_entries:
            continue
        try:
            kubernetes = thaw(contents.header.target).kubernetes
        except (HarnessError, ValueError):
            continue
        if kubernetes != "none" and kubernetes.identity == identity:
            found += [f"{progress.entry.fault} open in {journal.path}" for progress in contents.open_entries]
    return found
