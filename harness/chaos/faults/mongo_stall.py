"""mongo-stall: MongoDB runs and answers nothing, a grey failure. Cause of a 503: mongodb.

A NetworkPolicy drops what is sent to its pods. It needs a network plugin that enforces policies; one that leaves established
connections alone (by connection tracking) lets them go on until their clients connect anew.
"""

from typing import ClassVar

from harness.chaos.faults.alteration import Alteration, Altered, Creation, created, workload_of
from harness.chaos.faults.fault import Case, Signature
from harness.chaos.faults.network_policy import policy
from harness.chaos.faults.outage import NoArguments, scale_rights
from harness.chaos.world import Site
from harness.cluster import Right
from harness.errors import InjectionFailed
from harness.target import RoleName

NAME = "focus-harness-$ENTRY"


class MongoStall(Alteration[NoArguments]):
    """Drop everything sent to MongoDB's pods."""

    kind: ClassVar[str] = "mongo-stall"
    title: ClassVar[str] = (
        "drops all traffic to MongoDB's pods by a NetworkPolicy: connections stand still, nothing is refused"
    )
    undo_text: ClassVar[str] = (
        "deletes the policy; its owner (a ConfigMap made for it) would take it along too"
    )
    blast_radius: ClassVar[str] = "the pods of the role `mongodb`, for everybody who talks to them"
    signature: ClassVar[Signature] = Signature(
        seen="MongoDB's pods are ready, nobody gets an answer; 503 mongodb after the server's timeout",
        where="ping, POST /configure and how long it takes",
        within_s=5.0,
        gone_within_s=10.0,
    )
    arguments = NoArguments

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Make and remove policies and their owner."""
        return policy_rights(site)

    def look(self, site: Site, arguments: NoArguments) -> Altered:
        """Find MongoDB."""
        workload, _ = workload_of(site, RoleName.MONGODB)
        if not workload.ready:
            raise InjectionFailed(f"{workload.ref} has no ready pod already; it is down before the fault")
        selector = site.role(RoleName.MONGODB).selector
        creation = Creation("networkpolicies", policy(NAME, selector), site.kubernetes.namespace)
        return Altered(f"pods {selector}", creations=(creation,), workloads=(workload,))

    def is_active(self, site: Site, case: Case[NoArguments, Altered]) -> bool:
        """The policy is there; that it acts is the network plugin's part, and the watchers see it."""
        return bool(created(site, case, (("networkpolicies", site.kubernetes.namespace),)))


def policy_rights(site: Site) -> tuple[Right, ...]:
    """Return what it takes to make and remove NetworkPolicies and their owner in the system's namespace."""
    namespace = site.kubernetes.namespace
    return (
        *(Right(verb, "networkpolicies", namespace) for verb in ("create", "list", "delete")),
        *(Right(verb, "configmaps", namespace) for verb in ("get", "create", "list", "delete")),
        *scale_rights(site, RoleName.MONGODB, change=False),
    )
