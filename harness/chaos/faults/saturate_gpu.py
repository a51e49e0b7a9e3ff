"""saturate-gpu: pods that do nothing hold the GPU shares that are free. Cause of a 503: no free GPU.

One hog per share, placed by the scheduler, labelled, owned by the undo entry's ConfigMap and limited by its own deadline. It
takes shares, not compute: what streams already is not slowed (use another image for that). While held, shares that
become free are taken too, up to the target's limit, unless only a part was asked for.
"""

from typing import ClassVar, Literal

import msgspec

from harness.chaos.faults.fault import Case, Fault, Reading, Signature
from harness.chaos.faults.idle_pods import (
    PAUSE_IMAGE,
    create_idle_pod,
    idle_pods,
    removal_line,
    remove_idle_pods,
)
from harness.chaos.faults.workers import choose_workers, refuse_foreign
from harness.chaos.world import Site
from harness.cluster import Object, Right, gpu_request, is_ready, name_of
from harness.cluster.kinds import holds_resources
from harness.errors import InjectionFailed, InputError, TargetError

HOG_LABEL = "focus-harness/hog"
MEMORY_LOSS = "gpu-memory"
IN_LINE = 4


class SaturateArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`fill`: a percentage of the free shares; `leave`: how many stay free (instead of `fill`); `nodes` as for cordon-worker.

    `image` of the hogs, and `load`, which it reads from `HOG_LOAD`: an image that burns does `compute`, or fills the GPU's
    `memory`, which may take its neighbours down.
    """

    fill: str = "100%"
    leave: int | None = None
    nodes: str = "all"
    image: str = PAUSE_IMAGE
    load: Literal["idle", "compute", "memory"] = "idle"


class SaturateBefore(msgspec.Struct, frozen=True):
    """The shares as they were, and how many hogs are meant to hold at first and at most."""

    resource: str
    total: int
    free: int
    hogs: int
    most: int
    leave: int
    nodes: tuple[str, ...]
    """The workers; other nodes may offer the resource too and are none of ours."""


class SaturateGpu(Fault[SaturateArguments, SaturateBefore]):
    """Hold free GPU shares."""

    kind: ClassVar[str] = "saturate-gpu"
    title: ClassVar[str] = (
        "creates hog pods that hold free GPU shares (`fill: 100%`, or `leave: 2`), of all workers or of `nodes`"
    )
    undo_text: ClassVar[str] = (
        "deletes the hogs with grace 0; their owner (the entry's ConfigMap) and deadline would too"
    )
    blast_radius: ClassVar[str] = (
        "`limits.max_gpu_share` of all shares of the workers, `limits.max_pods`; `load: memory` only with `accept: [gpu-memory]`"
    )
    signature: ClassVar[Signature] = Signature(
        seen="no free share on schedulable Ready workers; 503 gpu_exhausted",
        where="pods' GPU limits against nodes' allocatable, POST /configure",
        within_s=10.0,
        gone_within_s=5.0,
    )
    arguments = SaturateArguments
    before = SaturateBefore

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read nodes and all pods; create and delete pods in our namespace."""
        ours = site.kubernetes.harness_namespace
        return (
            Right("list", "nodes"),
            Right("list", "pods"),
            *(Right(verb, "pods", ours) for verb in ("create", "delete", "list")),
        )

    def look(self, site: Site, arguments: SaturateArguments) -> SaturateBefore:
        """Count the shares and decide how many hogs to make."""
        resource = site.target.gpu_resource
        if arguments.load == "memory" and MEMORY_LOSS not in site.target.accept:
            raise TargetError(
                f"load: memory can take down whatever shares the GPU; if that is acceptable here, write "
                f"`accept: [{MEMORY_LOSS}]` in the target file"
            )
        workers = choose_workers(site, arguments.nodes)
        nodes = tuple(sorted(name_of(node) for node in workers))
        waiting = [
            pod
            for pod in site.world.objects("pods", "*")
            if gpu_request(pod, resource) and not pod["spec"].get("nodeName") and not _is_over(pod)
        ]
        refuse_foreign(site, self.kind, "take shares from waiting", waiting)
        total, free = _shares(site, resource, nodes)
        if not total:
            raise TargetError(
                f"no Ready, schedulable worker offers {resource}; correct `gpu_resource` or `worker_selector`"
            )
        if not free:
            raise InjectionFailed(
                f"all {total} shares of {resource} are held already; there is nothing to take"
            )
        hogs = _wanted(arguments, free)
        if not hogs:
            raise InjectionFailed(
                f"{free} shares are free and {arguments.leave} are to be left; nothing to take"
            )
        limit = site.target.limits.max_gpu_share
        everywhere = site.world.objects("nodes", selector=site.kubernetes.worker_selector)
        registered = sum(_offered(node, resource) for node in everywhere)
        most = min(int(registered * limit), site.target.limits.max_pods)
        if hogs > most:
            raise TargetError(
                f"saturate-gpu would hold {hogs} of {registered} shares, the target allows {most} "
                f"(limits.max_gpu_share {limit:g}, limits.max_pods {site.target.limits.max_pods}); raise it in the "
                "target file, or fill less"
            )
        return SaturateBefore(resource, total, free, hogs, most, free - hogs, nodes)

    def describe(self, case: Case[SaturateArguments, SaturateBefore]) -> str:
        """Say how many shares."""
        before = case.before
        return f"{before.hogs} of {before.free} free shares ({before.total} in all) of {before.resource}"

    def inject(self, site: Site, case: Case[SaturateArguments, SaturateBefore]) -> None:
        """Create the hogs."""
        for number in range(case.before.hogs):
            self._create(site, case, number)

    def is_active(self, site: Site, case: Case[SaturateArguments, SaturateBefore]) -> bool:
        """No more shares are free than were to be left; a part is held when its hogs have a place."""
        hogs = idle_pods(site, case)
        if not _takes_what_comes(case.arguments):
            return sum(1 for hog in hogs if holds_resources(hog)) >= case.before.hogs
        _, free = _shares(site, case.before.resource, case.before.nodes)
        return free <= case.before.leave and bool(hogs)

    def obstacle(self, site: Site, case: Case[SaturateArguments, SaturateBefore]) -> str:
        """Return what the scheduler or the kubelet says of hogs that wait."""
        said = {reason for hog in idle_pods(site, case) if (reason := _why_waiting(hog))}
        return "; ".join(sorted(said))

    def sustain(self, site: Site, case: Case[SaturateArguments, SaturateBefore]) -> None:
        """Take what became free since, unless only a part is to be held.

        Where nothing is to be left, a few hogs wait in line: the scheduler gives them a share the moment it is free.
        """
        if not _takes_what_comes(case.arguments):
            return
        hogs = idle_pods(site, case)
        waiting = sum(1 for hog in hogs if not hog.get("spec", {}).get("nodeName"))
        total, free = _shares(site, case.before.resource, case.before.nodes)
        held_by_others = total - free - (len(hogs) - waiting)
        in_line = min(IN_LINE, max(0, held_by_others)) if case.before.leave == 0 else 0
        missing = min(free - case.before.leave + in_line - waiting, case.before.most - len(hogs))
        used = {name_of(hog) for hog in hogs}
        number = 0
        while missing > 0:
            if _hog_name(case.entry, number) not in used:
                self._create(site, case, number)
                missing -= 1
            number += 1

    def undo(self, site: Site, case: Case[SaturateArguments, SaturateBefore]) -> None:
        """Delete every hog of the entry."""
        remove_idle_pods(site, case)

    def reading(self, site: Site, case: Case[SaturateArguments, SaturateBefore]) -> Reading:
        """Look for hogs of the entry."""
        hogs = idle_pods(site, case)
        differences = (f"{len(hogs)} hog pods still exist",) if hogs else ()
        return Reading(differences, f"{len(hogs)} hogs")

    def mend(self, site: Site, case: Case[SaturateArguments, SaturateBefore]) -> str:
        """Return the kubectl line."""
        return removal_line(site, case)

    def _create(self, site: Site, case: Case[SaturateArguments, SaturateBefore], number: int) -> None:
        create_idle_pod(
            site,
            case,
            _hog_name(case.entry, number),
            case.before.nodes,
            image=case.arguments.image,
            label=HOG_LABEL,
            limits={case.before.resource: "1"},
            env={"HOG_LOAD": case.arguments.load},
        )


def _why_waiting(pod: Object) -> str:
    status = pod.get("status", {})
    if status.get("phase") != "Pending":
        return ""
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return f"{waiting['reason']} {waiting.get('message', '')}".strip()
    for item in status.get("conditions") or ():
        if item.get("type") == "PodScheduled" and item.get("status") == "False":
            return str(item.get("message", ""))
    return ""


def _hog_name(entry: str, number: int) -> str:
    return f"hog-{entry}-{number}"


def _takes_what_comes(arguments: SaturateArguments) -> bool:
    """Say whether shares that become free later are to be taken too: not if a part of them was asked for."""
    return arguments.leave is not None or float(arguments.fill.removesuffix("%")) == 100


def _wanted(arguments: SaturateArguments, free: int) -> int:
    if arguments.leave is not None:
        if arguments.leave < 0:
            raise InputError(f"leave: {arguments.leave} is negative")
        return max(0, free - arguments.leave)
    try:
        percent = float(arguments.fill.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not arguments.fill.endswith("%") or not 0 < percent <= 100:
        raise InputError(f"fill: {arguments.fill!r} is not a percentage from above 0% to 100%")
    return max(1, round(free * percent / 100))


def _is_over(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def _offered(node: Object, resource: str) -> int:
    return int(node.get("status", {}).get("allocatable", {}).get(resource, 0))


def _shares(site: Site, resource: str, nodes: tuple[str, ...]) -> tuple[int, int]:
    """Return all shares and the free ones on those of the `nodes` that are Ready and schedulable."""
    workers = [node for node in site.world.objects("nodes") if name_of(node) in nodes]
    usable = {
        name_of(node): _offered(node, resource)
        for node in workers
        if is_ready(node) and not node.get("spec", {}).get("unschedulable")
    }
    used = dict.fromkeys(usable, 0)
    for pod in site.world.objects("pods", "*"):
        node = pod.get("spec", {}).get("nodeName")
        if node in used and holds_resources(pod):
            used[node] += gpu_request(pod, resource)
    return sum(usable.values()), sum(max(0, usable[node] - used[node]) for node in usable)
