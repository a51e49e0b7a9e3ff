"""exhaust-pod-ips: idle pods take the pod addresses of workers, until a new pod gets none. Cause of a 503: pod network exhausted.

How many addresses a node has stands nowhere in the API, so pods are added until one stays without, and a few wait in line: what
becomes free is taken too. A node whose number of pods is limited lower (kubelet's maxPods) fills up that way instead.
"""

from typing import ClassVar

import msgspec

from harness.chaos.faults.fault import Case, Fault, Reading, Signature
from harness.chaos.faults.idle_pods import (
    PAUSE_IMAGE,
    create_idle_pod,
    idle_pods,
    removal_line,
    remove_idle_pods,
)
from harness.chaos.faults.workers import choose_workers, is_sound, refuse_too_many
from harness.chaos.world import Site
from harness.cluster import Object, Right, is_ready, name_of
from harness.errors import InjectionFailed

LABEL = "focus-harness/filler"
STEP = 10
IN_LINE = 2
NO_ADDRESS = ("no IP addresses available", "FailedCreatePodSandBox")


class ExhaustArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`nodes` as for cordon-worker; `image` of the pods."""

    nodes: str = "all"
    image: str = PAUSE_IMAGE


class ExhaustBefore(msgspec.Struct, frozen=True):
    """The workers whose addresses are taken, and how many pods that may cost."""

    nodes: tuple[str, ...]
    most: int


class ExhaustPodIps(Fault[ExhaustArguments, ExhaustBefore]):
    """Take all pod addresses."""

    kind: ClassVar[str] = "exhaust-pod-ips"
    title: ClassVar[str] = "creates idle pods on the chosen workers until new pods get no address there"
    undo_text: ClassVar[str] = (
        "deletes them with grace 0; their owner (the entry's ConfigMap) and deadline would too"
    )
    blast_radius: ClassVar[str] = "`limits.max_nodes`, `limits.max_pods`"
    signature: ClassVar[Signature] = Signature(
        seen="new pods stay in ContainerCreating, FailedCreatePodSandBox `no IP addresses available`; 200 and a window that never starts",
        where="pods, events, streams that never become ready",
        within_s=45.0,
        gone_within_s=30.0,
    )
    arguments = ExhaustArguments
    before = ExhaustBefore

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read nodes; create, list and delete pods in our namespace."""
        ours = site.kubernetes.harness_namespace
        return (
            Right("list", "nodes"),
            Right("list", "events", ours),
            *(Right(verb, "pods", ours) for verb in ("create", "delete", "list")),
        )

    def look(self, site: Site, arguments: ExhaustArguments) -> ExhaustBefore:
        """Choose sound workers."""
        nodes = tuple(name_of(node) for node in choose_workers(site, arguments.nodes) if is_sound(node))
        if not nodes:
            raise InjectionFailed(f"nodes: {arguments.nodes!r}: none of them takes pods now")
        refuse_too_many(site, self.kind, "fill", list(nodes))
        return ExhaustBefore(nodes, site.target.limits.max_pods)

    def describe(self, case: Case[ExhaustArguments, ExhaustBefore]) -> str:
        """Name the nodes."""
        return f"pod addresses of {', '.join(case.before.nodes)}"

    def inject(self, site: Site, case: Case[ExhaustArguments, ExhaustBefore]) -> None:
        """Begin on every node."""
        for node in case.before.nodes:
            self._add(
                site, case, node, idle_pods(site, case), min(STEP, case.before.most // len(case.before.nodes))
            )

    def is_active(self, site: Site, case: Case[ExhaustArguments, ExhaustBefore]) -> bool:
        """On every node a pod of ours got no address."""
        stuck = self._without_address(site, case)
        return all(any(node == of for _, of in stuck) for node in case.before.nodes)

    def obstacle(self, site: Site, case: Case[ExhaustArguments, ExhaustBefore]) -> str:
        """Say how many pods were not enough."""
        running = sum(1 for pod in idle_pods(site, case) if is_ready(pod))
        return f"{running} idle pods all got an address, limits.max_pods is {case.before.most}"

    def sustain(self, site: Site, case: Case[ExhaustArguments, ExhaustBefore]) -> None:
        """Add pods where all of ours have got an address; keep a few waiting in line."""
        pods = idle_pods(site, case)
        room = case.before.most - len(pods)
        for node in case.before.nodes:
            here = [pod for pod in pods if _number(pod, case, node) is not None]
            waiting = sum(1 for pod in here if not is_ready(pod))
            if waiting < IN_LINE:
                added = min(room, STEP if waiting == 0 else IN_LINE - waiting)
                room -= added
                self._add(site, case, node, pods, added)

    def undo(self, site: Site, case: Case[ExhaustArguments, ExhaustBefore]) -> None:
        """Delete them."""
        remove_idle_pods(site, case)

    def reading(self, site: Site, case: Case[ExhaustArguments, ExhaustBefore]) -> Reading:
        """Look for pods of the entry."""
        left = idle_pods(site, case)
        return Reading((f"{len(left)} filler pods still exist",) if left else (), f"{len(left)} fillers")

    def mend(self, site: Site, case: Case[ExhaustArguments, ExhaustBefore]) -> str:
        """Return the kubectl line."""
        return removal_line(site, case)

    def _add(
        self,
        site: Site,
        case: Case[ExhaustArguments, ExhaustBefore],
        node: str,
        pods: list[Object],
        count: int,
    ) -> None:
        used = {number for pod in pods if (number := _number(pod, case, node)) is not None}
        free = (number for number in range(10_000) if number not in used)
        for number, _ in zip(free, range(count), strict=False):
            name = f"{_prefix(case, node)}{number}"
            create_idle_pod(site, case, name, (node,), image=case.arguments.image, label=LABEL)

    def _without_address(
        self, site: Site, case: Case[ExhaustArguments, ExhaustBefore]
    ) -> list[tuple[str, str]]:
        """Return (pod, node) of our pods that were placed, do not run, and of which an event says why."""
        said = {
            event["involvedObject"].get("name")
            for event in site.world.objects("events", site.kubernetes.harness_namespace)
            if any(word in f"{event.get('reason')} {event.get('message')}" for word in NO_ADDRESS)
        }
        return [
            (name_of(pod), str(pod["spec"]["nodeName"]))
            for pod in idle_pods(site, case)
            if name_of(pod) in said and pod["spec"].get("nodeName") and not is_ready(pod)
        ]


def _prefix(case: Case[ExhaustArguments, ExhaustBefore], node: str) -> str:
    return f"filler-{case.entry.rpartition('-')[2]}-{case.before.nodes.index(node)}-"


def _number(pod: Object, case: Case[ExhaustArguments, ExhaustBefore], node: str) -> int | None:
    prefix = _prefix(case, node)
    return int(name_of(pod).removeprefix(prefix)) if name_of(pod).startswith(prefix) else None
