"""Look before anything moves: leftovers of an earlier run, missing rights. Identity was checked on connecting.

The conductor calls it once for all experiments of a campaign, a lone experiment for its own. It changes nothing but creating
the harness' namespace (the lock and the undo entries live there).
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.chaos.copies import copies_in_words, ensure_namespace
from harness.chaos.faults import Fault, fault_named
from harness.chaos.faults.fault import ENTRY_ANNOTATION, MANAGED_SELECTOR, refuse_losses
from harness.chaos.registry import registered
from harness.chaos.story import planned_faults, read_story, variables
from harness.chaos.world import Site, thaw
from harness.cluster import Cluster, Right, missing_rights, name_of, refuse_if_in_use
from harness.cluster.kinds import annotations_of
from harness.errors import AccessDenied, HarnessError, InjectionFailed, TargetBusy
from harness.target import Target


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
    for kind, arguments in planned_faults(read_story(experiment), settings):
        refuse_losses(fault_named(kind), target)
        try:
            fault_named(kind).look(site, arguments)
        except InjectionFailed:
            continue


def preflight_faults(target: Target, cluster: Cluster, faults: Iterable[str]) -> None:
    """Raise TargetBusy for leftovers and AccessDenied with every missing right; `faults` are kinds."""
    site = Site(cluster, target)
    chosen = [fault_named(kind) for kind in faults]
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
        *(Right(verb, "configmaps", ours) for verb in ("create", "delete", "list")),
        *(Right(verb, "leases", ours) for verb in ("get", "create", "patch")),
    }
    if site.world.find("namespaces", ours) is None:
        rights.add(Right("create", "namespaces"))
    for fault in faults:
        rights.update(fault.rights(site))
    return tuple(sorted(rights))


def leftovers(site: Site) -> list[str]:
    """Return in words what a run left on the target: entries, marked nodes, labelled pods, open journals here."""
    namespace = site.kubernetes.harness_namespace
    left = copies_in_words(site)
    left += [f"node {name_of(node)} carries a fault's mark" for node in marked_nodes(site)]
    hogs = site.world.objects("pods", namespace, MANAGED_SELECTOR)
    if hogs:
        left.append(f"{len(hogs)} pods of ours in {namespace} ({name_of(hogs[0])}...)")
    return left + open_journals(site.kubernetes.identity)


def marked_nodes(site: Site) -> list[Any]:
    """Return the nodes that carry a fault's mark."""
    return [node for node in site.world.objects("nodes") if ENTRY_ANNOTATION in annotations_of(node)]


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
