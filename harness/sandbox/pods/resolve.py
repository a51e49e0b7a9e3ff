"""Service names to addresses: what DNS is in a cluster, asked from the control plane.

Used by pods that talk to another service (Focus Server, stream servers, player, cleanup). Keeps nothing: callers
resolve again whenever they connect again, so a service that was made anew is found.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.sandbox.api import Api, RestApi
from harness.sandbox.pods.context import PodContext


def api_of(pod: PodContext, timeout_s: float = 10.0) -> RestApi:
    """Return a client of the control plane as the pod's own service account."""
    return RestApi(pod.api_url, pod.token, pod.ca_file, timeout_s=timeout_s)


async def service_address(api: Api, namespace: str, name: str) -> str:
    """Return the cluster address of a service; ApiStatus 404 where there is none."""
    spec = (await api.get("services", name, namespace))["spec"]
    return str(spec["clusterIP"])


def env_list(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Return environment as a container spec writes it."""
    return [{"name": name, "value": value} for name, value in values.items()]
