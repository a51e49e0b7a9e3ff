"""Pods that only take something away: a GPU share, an address. Labelled, owned by the entry, limited by their own deadline."""

from typing import Any

from harness.chaos.faults.alteration import Creation, create
from harness.chaos.faults.fault import ENTRY_LABEL, Case
from harness.chaos.world import Site
from harness.cluster import Object, name_of

SPARE_DEADLINE_S = 60
PAUSE_IMAGE = "registry.k8s.io/pause:3.10"


def create_idle_pod(
    site: Site,
    case: Case[Any, Any],
    name: str,
    nodes: tuple[str, ...],
    *,
    image: str = PAUSE_IMAGE,
    label: str,
    limits: dict[str, str] | None = None,
    env: dict[str, str] | None = None,
) -> None:
    """Create a pod in our namespace that can only be placed on `nodes`; one that exists is an earlier try's."""
    container: Object = {"name": "idle", "image": image}
    if limits:
        container["resources"] = {"limits": limits, "requests": limits}
    if env:
        container["env"] = [{"name": key, "value": value} for key, value in env.items()]
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "activeDeadlineSeconds": int(case.max_hold_s) + SPARE_DEADLINE_S,
        "automountServiceAccountToken": False,
        "affinity": only_on(nodes),
        "containers": [container],
    }
    body = {"metadata": {"name": name, "labels": {label: "true"}}, "spec": spec}
    create(site, case, Creation("pods", body))


def idle_pods(site: Site, case: Case[Any, Any]) -> list[Object]:
    """Return the pods that a case has created in our namespace."""
    return site.world.objects("pods", site.kubernetes.harness_namespace, f"{ENTRY_LABEL}={case.entry}")


def remove_idle_pods(site: Site, case: Case[Any, Any]) -> None:
    """Delete them without grace."""
    for pod in idle_pods(site, case):
        site.world.delete("pods", name_of(pod), site.kubernetes.harness_namespace, grace_s=0)


def removal_line(site: Site, case: Case[Any, Any]) -> str:
    """Return the kubectl line that deletes them."""
    namespace = site.kubernetes.harness_namespace
    return f"kubectl -n {namespace} delete pods -l {ENTRY_LABEL}={case.entry} --grace-period=0 --force"


def only_on(nodes: tuple[str, ...]) -> Object:
    """Return the affinity that keeps a pod on these nodes; each is a term of its own, as the API wants it."""
    terms = [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]} for name in nodes
    ]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"nodeAffinity": required}
