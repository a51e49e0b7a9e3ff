"""The service proxy of a node: makes Services reachable at node ports, and on the master at their ClusterIPs.

The supervisor forks one per node (`main`), apart from the kubelet, so that either can be frozen or killed alone. It
follows Services and EndpointSlices and holds a listening socket for every port that has a ready endpoint; a
port without one refuses connections, as on a real node. What passes through it is subject to NetworkPolicies and to what
the hands do to the node's network. It never changes an object.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import uvloop

from harness.sandbox import impairments
from harness.sandbox.api import Api, Obj, load_rest_api
from harness.sandbox.node.forwarding import Forwarder
from harness.sandbox.node.policies import Policies
from harness.sandbox.node.traffic import Backend, Traffic
from harness.sandbox.state import Sandbox

log = logging.getLogger(__name__)

SLICES = "endpointslices.discovery.k8s.io"
POLICIES = "networkpolicies.networking.k8s.io"
SERVICE_LABEL = "kubernetes.io/service-name"
SETTLE_S = 0.01
RETRY_S = 1.0
Name = tuple[str, str]


@dataclass(frozen=True)
class Entrance:
    """One address at which a service port is reached."""

    host: str
    port: int
    service: Name
    port_name: str
    local_only: bool = False


class Tables:
    """What is known of Services and EndpointSlices. Pure."""

    def __init__(self, node: str, node_ip: str, *, cluster_ips: bool) -> None:
        self._node, self._node_ip, self._cluster_ips = node, node_ip, cluster_ips
        self._services: dict[Name, Obj] = {}
        self._slices: dict[Name, dict[str, Obj]] = {}

    def service(self, kind: str, obj: Obj) -> None:
        """Take over an event about a Service."""
        name = _name(obj)
        if kind == "DELETED":
            self._services.pop(name, None)
        else:
            self._services[name] = obj

    def slice(self, kind: str, obj: Obj) -> None:
        """Take over an event about an EndpointSlice."""
        meta = obj["metadata"]
        service = meta["namespace"], (meta.get("labels") or {}).get(SERVICE_LABEL, "")
        if kind == "DELETED":
            self._slices.get(service, {}).pop(meta["name"], None)
        else:
            self._slices.setdefault(service, {})[meta["name"]] = obj

    def entrances(self) -> Iterator[Entrance]:
        """Give every address that this node shall serve, with or without endpoints."""
        for name, service in self._services.items():
            spec = service["spec"]
            local = spec.get("externalTrafficPolicy") == "Local"
            for port in spec.get("ports") or []:
                if port.get("protocol", "TCP") != "TCP":
                    continue
                port_name = port.get("name", "")
                if port.get("nodePort") and spec.get("type") in ("NodePort", "LoadBalancer"):
                    yield Entrance(self._node_ip, port["nodePort"], name, port_name, local)
                ip = spec.get("clusterIP")
                if self._cluster_ips and ip and ip != "None":
                    yield Entrance(ip, port["port"], name, port_name)

    def backends(self, entrance: Entrance) -> list[Backend]:
        """Return where a new connection to an entrance may go: ready endpoints, or else serving ones that end."""
        ready: list[Backend] = []
        ending: list[Backend] = []
        for slice_ in self._slices.get(entrance.service, {}).values():
            ports = {port.get("name") or "": port.get("port") for port in slice_.get("ports") or []}
            port = ports.get(entrance.port_name)
            if port is None:
                continue
            for endpoint in slice_.get("endpoints") or []:
                if entrance.local_only and endpoint.get("nodeName") != self._node:
                    continue
                conditions = endpoint.get("conditions") or {}
                if conditions.get("ready", True) is not False:
                    ready += [(ip, port) for ip in endpoint["addresses"]]
                elif conditions.get("serving") and conditions.get("terminating"):
                    ending += [(ip, port) for ip in endpoint["addresses"]]
        return ready or ending


def _name(obj: Obj) -> Name:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


class Proxy:
    """Keeps the listening sockets as the tables say."""

    def __init__(self, api: Api, tables: Tables, traffic: Traffic) -> None:
        self._api = api
        self._tables = tables
        self._traffic = traffic
        self._open: dict[Entrance, Forwarder] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow the world until killed."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow("services"))
            group.create_task(self._follow(SLICES))
            group.create_task(self._keep())

    async def _follow(self, resource: str) -> None:
        take = self._tables.service if resource == "services" else self._tables.slice
        async for kind, obj in self._api.watch(resource):
            if kind != "SYNCED":
                take(kind, obj)
                self._changed.set()

    async def _keep(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(SETTLE_S)  # several objects change at once
            self._changed.clear()
            if not await self._sync():
                await asyncio.sleep(RETRY_S)
                self._changed.set()

    async def _sync(self) -> bool:
        """Open and close what has changed; say whether everything is as it should be."""
        wanted = {entrance for entrance in self._tables.entrances() if self._tables.backends(entrance)}
        for entrance in list(self._open):
            if entrance not in wanted:
                self._open.pop(entrance).close()
        complete = True
        for entrance in wanted - self._open.keys():
            forwarder = Forwarder(
                entrance.host, entrance.port, partial(self._choose, entrance), self._traffic
            )
            try:
                await forwarder.open()
            except OSError as error:
                log.warning(
                    "cannot serve %s at %s:%s: %s", entrance.service, entrance.host, entrance.port, error
                )
                complete = False
            else:
                self._open[entrance] = forwarder
        return complete

    def _choose(self, entrance: Entrance) -> Backend | None:
        backends = self._tables.backends(entrance)
        return random.choice(backends) if backends else None


class Police:
    """Enforces NetworkPolicies on the traffic; follows pods and namespaces only while there is a policy."""

    def __init__(self, api: Api, traffic: Traffic) -> None:
        self._api = api
        self._traffic = traffic
        self._policies = Policies()
        traffic.police(self._policies.allows)

    async def run(self) -> None:
        """Follow policies until killed."""
        people: asyncio.Task[None] | None = None
        async for kind, obj in self._api.watch(POLICIES):
            if kind == "SYNCED":
                continue
            self._policies.policy(kind, obj)
            if self._policies and people is None:
                people = asyncio.create_task(self._follow_people())
            elif not self._policies and people is not None:
                people.cancel()
                people = None
                self._policies.forget_pods()
            self._traffic.changed()

    async def _follow_people(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow("pods", self._policies.pod))
            group.create_task(self._follow("namespaces", self._policies.namespace))

    async def _follow(self, resource: str, take: Callable[[str, Obj], None]) -> None:
        synced = False
        async for kind, obj in self._api.watch(resource):
            if kind == "SYNCED":
                synced = True
            else:
                take(kind, obj)
            if synced:  # the first list is looked at once, when it is whole
                self._traffic.changed()


def main(sandbox: Sandbox, node: str) -> None:
    """Be the service proxy of `node` until killed."""

    async def run() -> None:
        tables = Tables(node, sandbox.node_ip(node), cluster_ips=node == sandbox.settings.master_node)
        traffic = Traffic()
        async with load_rest_api(sandbox.root) as api, asyncio.TaskGroup() as group:
            group.create_task(impairments.follow(sandbox.root, f"proxy/{node}", traffic.impair))
            group.create_task(Police(api, traffic).run())
            group.create_task(Proxy(api, tables, traffic).run())

    try:
        uvloop.run(run())
    finally:
        os._exit(1)
