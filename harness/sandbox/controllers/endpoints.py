"""The Endpoints and EndpointSlice controllers: which pods stand behind a service.

One reconciliation writes both. A pod is an endpoint once it has an address; it is ready when its Ready condition
holds and it is not being deleted. Services without a selector keep what others wrote.
"""

from __future__ import annotations

import asyncio
from typing import Any

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controllers.controller import Controller, ignoring_absence
from harness.sandbox.controllers.informer import Key, World, key_of
from harness.sandbox.controllers.podfacts import is_going, is_over, is_ready, reference
from harness.sandbox.controlplane import selectors
from harness.sandbox.recorder import Recorder

SLICES = "endpointslices.discovery.k8s.io"
SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SLICE_CONTROLLER = "endpointslice-controller.k8s.io"
ENDPOINTS_CONTROLLER = "endpoint-controller"
PortKey = tuple[tuple[str, str, int], ...]


class EndpointsController(Controller):
    """Reconciles services into Endpoints and EndpointSlices."""

    name = "endpoint-controller"

    def __init__(self, world: World, recorder: Recorder) -> None:
        super().__init__(world, recorder)
        self._services = world.informer("services")
        self._pods = world.informer("pods")
        self._slices = world.informer(SLICES)
        self._endpoints = world.informer("endpoints")
        self.wakes_itself("services")
        self.wakes_itself("endpoints")
        self._pods.on_event(self._pod_changed)
        self._slices.on_event(self._slice_changed)

    def _pod_changed(self, kind: str, pod: Obj, before: Obj | None) -> None:
        if kind == "MODIFIED" and before is not None and _matters(pod) == _matters(before):
            return
        for service in self._services.within(pod["metadata"]["namespace"]):
            selector = selectors.from_map(service["spec"].get("selector"))
            if any(
                one is not None and selector.holds(one["metadata"].get("labels")) for one in (pod, before)
            ):
                self.wake(key_of(service))

    def _slice_changed(self, _kind: str, obj: Obj, _before: Obj | None) -> None:
        labels = obj["metadata"].get("labels") or {}
        if labels.get(MANAGED_BY) == SLICE_CONTROLLER and labels.get(SERVICE_LABEL):
            self.wake((obj["metadata"]["namespace"], labels[SERVICE_LABEL]))

    async def reconcile(self, key: Key) -> None:
        """Write the slices and the Endpoints object of one service."""
        service = self._services.get(*key)
        if service is None:
            await self._remove(key)
            return
        if (
            is_going(service)
            or not service["spec"].get("selector")
            or service["spec"].get("type") == "ExternalName"
        ):
            return
        selector = selectors.from_map(service["spec"]["selector"])
        pods = [pod for pod in self._pods.within(key[0]) if selector.holds(pod["metadata"].get("labels"))]
        pods = [pod for pod in pods if (pod.get("status") or {}).get("podIP") and not is_over(pod)]
        groups: dict[PortKey, list[Obj]] = {}
        for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
            groups.setdefault(_ports_for(service, pod), []).append(pod)
        if not groups:
            groups[()] = []
        await asyncio.gather(self._write_slices(service, groups), self._write_endpoints(service, groups))

    async def _remove(self, key: Key) -> None:
        """Take away what belonged to a service that is gone."""
        if self._endpoints.get(*key) is not None and _is_ours(self._endpoints.get(*key)):
            await ignoring_absence(self.api.delete("endpoints", key[1], key[0]))
        for slice_ in self._slices_of(key):
            await ignoring_absence(self.api.delete(SLICES, slice_["metadata"]["name"], key[0]))

    def _slices_of(self, key: Key) -> list[Obj]:
        return [
            slice_
            for slice_ in self._slices.within(key[0])
            if (slice_["metadata"].get("labels") or {}).get(SERVICE_LABEL) == key[1]
            and slice_["metadata"]["labels"].get(MANAGED_BY) == SLICE_CONTROLLER
        ]

    async def _write_slices(self, service: Obj, groups: dict[PortKey, list[Obj]]) -> None:
        publish = bool(service["spec"].get("publishNotReadyAddresses"))
        present = self._slices_of(key_of(service))
        spare = [slice_ for slice_ in present if _port_key(slice_.get("ports")) not in groups]
        for ports, pods in groups.items():
            slice_ = next((one for one in present if _port_key(one.get("ports")) == ports), None)
            if slice_ is None and spare:
                slice_ = spare.pop()
            body = {
                "endpoints": [_endpoint(pod, publish=publish) for pod in pods],
                "ports": _port_list(ports),
            }
            await self._write_slice(service, slice_, body)
        for slice_ in spare:
            await ignoring_absence(
                self.api.delete(SLICES, slice_["metadata"]["name"], slice_["metadata"]["namespace"])
            )

    async def _write_slice(self, service: Obj, slice_: Obj | None, body: Obj) -> None:
        meta = service["metadata"]
        if slice_ is not None:
            if (slice_.get("endpoints") or [], slice_.get("ports") or []) == (
                body["endpoints"],
                body["ports"],
            ):
                return
            changed = await self.api.patch(SLICES, slice_["metadata"]["name"], body, meta["namespace"])
        else:
            labels = {**(meta.get("labels") or {}), SERVICE_LABEL: meta["name"], MANAGED_BY: SLICE_CONTROLLER}
            if service["spec"].get("clusterIP") == "None":
                labels["service.kubernetes.io/headless"] = ""
            slice_ = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "generateName": meta["name"] + "-",
                    "namespace": meta["namespace"],
                    "labels": labels,
                    "ownerReferences": [reference(service)],
                },
                "addressType": "IPv4",
                **body,
            }
            changed = await self.api.create(SLICES, slice_, meta["namespace"])
        await self._slices.until_seen(changed)

    async def _write_endpoints(self, service: Obj, groups: dict[PortKey, list[Obj]]) -> None:
        meta = service["metadata"]
        publish = bool(service["spec"].get("publishNotReadyAddresses"))
        subsets = [
            subset for ports, pods in groups.items() if (subset := _subset(ports, pods, publish=publish))
        ]
        known = self._endpoints.get(*key_of(service))
        if known is not None and (known.get("subsets") or []) == subsets:
            return
        if known is not None:
            changed = await self.api.patch(
                "endpoints", meta["name"], {"subsets": subsets or None}, meta["namespace"]
            )
        else:
            labels = {
                **(meta.get("labels") or {}),
                "endpoints.kubernetes.io/managed-by": ENDPOINTS_CONTROLLER,
            }
            body = {
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": {"name": meta["name"], "namespace": meta["namespace"], "labels": labels},
                **({"subsets": subsets} if subsets else {}),
            }
            try:
                changed = await self.api.create("endpoints", body, meta["namespace"])
            except ApiStatus as refusal:
                if refusal.code != 409:
                    raise
                return
        await self._endpoints.until_seen(changed)


def _is_ours(endpoints: Obj | None) -> bool:
    labels = (endpoints or {}).get("metadata", {}).get("labels") or {}
    return bool(labels.get("endpoints.kubernetes.io/managed-by") == ENDPOINTS_CONTROLLER)


def _matters(pod: Obj) -> tuple[Any, ...]:
    """What of a pod decides whether and how it is an endpoint."""
    status, meta = pod.get("status") or {}, pod["metadata"]
    return status.get("podIP"), is_ready(pod), is_going(pod), is_over(pod), meta.get("labels"), meta["uid"]


def _ports_for(service: Obj, pod: Obj) -> PortKey:
    """Return the service's ports as the pod has them: name, protocol, number."""
    found = []
    for port in service["spec"].get("ports") or []:
        number = _target(port, pod)
        if number is not None:
            found.append((port.get("name") or "", port.get("protocol") or "TCP", number))
    return tuple(found)


def _target(port: Obj, pod: Obj) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for container in pod["spec"].get("containers") or []:
        for one in container.get("ports") or []:
            if one.get("name") == target:
                number: int = one["containerPort"]
                return number
    return None


def _port_key(ports: list[Obj] | None) -> PortKey:
    return tuple(
        (port.get("name") or "", port.get("protocol") or "TCP", port["port"]) for port in ports or []
    )


def _port_list(ports: PortKey) -> list[Obj]:
    return [{"name": name, "protocol": protocol, "port": number} for name, protocol, number in ports]


def _target_ref(pod: Obj) -> Obj:
    meta = pod["metadata"]
    return {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}


def _endpoint(pod: Obj, *, publish: bool) -> Obj:
    ready = is_ready(pod)
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": publish or (ready and not is_going(pod)),
            "serving": publish or ready,
            "terminating": is_going(pod),
        },
        "nodeName": pod["spec"].get("nodeName"),
        "targetRef": _target_ref(pod),
    }


def _subset(ports: PortKey, pods: list[Obj], *, publish: bool) -> Obj | None:
    ready: list[Obj] = []
    unready: list[Obj] = []
    for pod in pods:
        if is_going(pod) and not publish:
            continue
        address = {
            "ip": pod["status"]["podIP"],
            "nodeName": pod["spec"].get("nodeName"),
            "targetRef": _target_ref(pod),
        }
        (ready if publish or is_ready(pod) else unready).append(address)
    if not ready and not unready:
        return None
    subset: Obj = {
        "ports": [{key: value for key, value in port.items() if value} for port in _port_list(ports)]
    }
    if ready:
        subset["addresses"] = ready
    if unready:
        subset["notReadyAddresses"] = unready
    return subset
