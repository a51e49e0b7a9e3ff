"""What is installed in a new sandbox: namespace, rights, configuration and the long-lived workloads.

The supervisor's starter calls `apply` once with an admin's `Api`; applying again leaves alone what is there. It
waits for nothing: what `ready` means is asked elsewhere, with `workloads_wanted`.
"""

from __future__ import annotations

from typing import Any

from harness.sandbox.api import Api, ApiStatus
from harness.sandbox.manifests.access import access_objects
from harness.sandbox.manifests.configuration import configuration_objects
from harness.sandbox.manifests.workloads import broker_kind, workload_objects
from harness.sandbox.pods.analyzer_arguments import Assignment
from harness.sandbox.pods.derived import View
from harness.sandbox.pods.focus_server.objects import service
from harness.sandbox.settings import Settings

__all__ = ["apply", "broker_kind", "workloads_wanted"]


async def apply(api: Api, settings: Settings) -> None:
    """Create everything that is not there yet; ApiStatus for what the API refuses."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": settings.namespace}}
    await _create(api, "namespaces", namespace)
    for resource, obj in (
        *access_objects(settings),
        *configuration_objects(settings),
        *workload_objects(settings),
    ):
        await _create(api, resource, obj)
    for slot in range(1, settings.leaked_slots + 1):
        view = View(0, 0, settings.default_nfft, 0, 1, 1, 1)
        await _create(api, "services", service(Assignment(f"{slot}-{slot}", view), slot, settings))


def workloads_wanted(settings: Settings) -> list[tuple[str, str]]:
    """Return (resource, name) of the Deployments and StatefulSets that must be ready for a ready sandbox."""
    return [
        (resource, obj["metadata"]["name"])
        for resource, obj in workload_objects(settings)
        if resource in ("deployments.apps", "statefulsets.apps")
    ]


async def _create(api: Api, resource: str, obj: dict[str, Any]) -> None:
    try:
        await api.create(resource, obj, obj["metadata"].get("namespace"))
    except ApiStatus as error:
        if error.code != 409:
            raise
