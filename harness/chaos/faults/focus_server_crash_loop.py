"""focus-server-crash-loop: Focus Server's container ends as soon as it starts. Cause of a 503: Focus Server down, the seed's first.

Its pod template gets a command that fails, and the Deployment's strategy becomes Recreate, or the old pod would go on serving
while the new one crashes. The undo puts template and strategy back as they were, which makes pods anew.
"""

from typing import Any, ClassVar

from harness.chaos.faults.alteration import (
    Alteration,
    Altered,
    Change,
    refuse_if_marked,
    serving,
    workload_of,
)
from harness.chaos.faults.fault import Case, Loss, Signature
from harness.chaos.faults.outage import NoArguments, scale_rights
from harness.chaos.world import Site
from harness.cluster import Right
from harness.errors import InjectionFailed, TargetError
from harness.target import RoleName

FAILS = "false"
"""A command that every image with a shell has, and that ends with 1."""


class FocusServerCrashLoop(Alteration[NoArguments]):
    """Make Focus Server crash."""

    kind: ClassVar[str] = "focus-server-crash-loop"
    rolls_out: ClassVar[bool] = True
    title: ClassVar[str] = (
        "gives Focus Server's containers a command that fails, and its Deployment the strategy Recreate"
    )
    undo_text: ClassVar[str] = (
        "puts template and strategy back, unless somebody else has changed them; waits until new pods are ready"
    )
    blast_radius: ClassVar[str] = (
        "the workload of the role `focus_server`, nothing else; it gets two revisions more"
    )
    losses: ClassVar[tuple[Loss, ...]] = (
        Loss("focus-server-pod", "the pods themselves, requests in flight, what they kept in memory only"),
    )
    signature: ClassVar[Signature] = Signature(
        seen="Focus Server restarts again and again, CrashLoopBackOff; 503 from the ingress; running streams go on",
        where="Focus Server's pods, restarts and endpoints, POST /configure",
        within_s=15.0,
        gone_within_s=45.0,
    )
    arguments = NoArguments

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read and patch the workload, list its pods."""
        return scale_rights(site, RoleName.FOCUS_SERVER)

    def look(self, site: Site, arguments: NoArguments) -> Altered:
        """Remember template and strategy."""
        workload, found = workload_of(site, RoleName.FOCUS_SERVER)
        refuse_if_marked(workload.ref, found)
        if workload.ref.kind != "deployments":
            raise TargetError(
                f"{self.kind} is for Deployments; role focus_server is one of {workload.ref.kind}"
            )
        if not workload.ready:
            raise InjectionFailed(f"{workload.ref} has no ready pod already; it is down before the fault")
        containers = found["spec"]["template"]["spec"]["containers"]
        broken = [
            {key: value for key, value in c.items() if key != "args"} | {"command": [FAILS]}
            for c in containers
        ]
        strategy = found["spec"].get("strategy") or {"type": "RollingUpdate"}
        change = Change(
            workload.ref,
            _spec(broken, {"type": "Recreate", "rollingUpdate": None}),
            _spec(containers, {"rollingUpdate": None} | strategy),
        )
        return Altered(str(workload.ref), changes=(change,), workloads=(workload,))

    def is_active(self, site: Site, case: Case[NoArguments, Altered]) -> bool:
        """No pod serves, and one has crashed."""
        pods = site.world.objects("pods", selector=site.role(RoleName.FOCUS_SERVER).selector)
        crashed = any(
            _has_crashed(status)
            for pod in pods
            for status in pod.get("status", {}).get("containerStatuses") or ()
        )
        return serving(site, RoleName.FOCUS_SERVER) == 0 and crashed


def _has_crashed(status: dict[str, Any]) -> bool:
    """Return whether a container has ended; before its first restart only its state says so, while it waits only the reason."""
    state = status.get("state") or {}
    waits = (state.get("waiting") or {}).get("reason") == "CrashLoopBackOff"
    return bool(status.get("restartCount") or "terminated" in state or waits)


def _spec(containers: list[Any], strategy: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"strategy": strategy, "template": {"spec": {"containers": containers}}}}
