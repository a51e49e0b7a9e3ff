"""mongo-slow: every answer of MongoDB comes late. Cause of slow or refused creates: mongodb.

A proxy pod that adds latency is put behind MongoDB's Service: the Service's selector is turned to it, and a NetworkPolicy keeps
everybody else from the pods, so that connections that exist do not go on past it. It passes on to the pods MongoDB had
when the fault began; one that is started anew meanwhile is reached again after the undo.
"""

import time
from typing import Any, ClassVar

import msgspec

from harness.chaos.faults.alteration import (
    Alteration,
    Altered,
    Change,
    Creation,
    create,
    refuse_if_marked,
    serves,
    workload_of,
)
from harness.chaos.faults.fault import ENTRY_LABEL, Case, Ref, Signature, change
from harness.chaos.faults.mongo_stall import NAME, policy_rights
from harness.chaos.faults.network_policy import policy
from harness.chaos.world import Site
from harness.cluster import Object, Right, uid_of
from harness.errors import InjectionFailed, InputError, TargetError
from harness.target import RoleName

PROXY_READY_S = 40.0


class SlowArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`delay_ms`: how much later everything arrives, in each direction."""

    delay_ms: int = 200


class MongoSlow(Alteration[SlowArguments]):
    """Put a slow proxy behind MongoDB's Service."""

    kind: ClassVar[str] = "mongo-slow"
    title: ClassVar[str] = (
        "turns MongoDB's Service to a proxy pod that adds `delay_ms` each way, and keeps others from the pods by a NetworkPolicy"
    )
    undo_text: ClassVar[str] = (
        "turns the Service back, unless somebody else has turned it; deletes proxy and policy"
    )
    blast_radius: ClassVar[str] = (
        "the Service and the pods of the role `mongodb`, for everybody who talks to them; one pod is created"
    )
    signature: ClassVar[Signature] = Signature(
        seen="ping and creates take longer; connections to MongoDB are made anew once; beyond the server's timeout 503 mongodb",
        where="ping, POST /configure and how long it takes",
        within_s=10.0,
        gone_within_s=15.0,
    )
    arguments = SlowArguments

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Turn the Service; make and remove proxy, policy and their owner."""
        namespace = site.kubernetes.namespace
        return (
            *policy_rights(site),
            *(Right(verb, "services", namespace) for verb in ("get", "patch")),
            *(Right(verb, "pods", namespace) for verb in ("create", "list", "delete")),
        )

    def look(self, site: Site, arguments: SlowArguments) -> Altered:
        """Find the Service, its port and the pods behind it."""
        if not 0 < arguments.delay_ms <= 60_000:
            raise InputError(f"delay_ms: {arguments.delay_ms} is not between 1 and 60000")
        role = site.role(RoleName.MONGODB)
        if role.service is None:
            raise TargetError(
                f"target {site.target.name!r} names no service of the role mongodb; add it under kube.roles"
            )
        service = site.world.find("services", role.service)
        if service is None:
            raise TargetError(
                f"Service {role.service!r} (role mongodb) does not exist; correct the target file"
            )
        workload, _ = workload_of(site, RoleName.MONGODB)
        ref = Ref("services", role.service, uid_of(service))
        refuse_if_marked(ref, service)
        selector = service["spec"].get("selector") or {}
        pods = [pod for pod in site.world.objects("pods", selector=role.selector) if serves(pod)]
        addresses = [pod["status"]["podIP"] for pod in pods if pod["status"].get("podIP")]
        if not addresses or not selector:
            raise InjectionFailed(
                f"{role.service}: no ready pod stands behind it; there is nothing to slow down"
            )
        turned = dict.fromkeys(selector) | {ENTRY_LABEL: "$ENTRY"}
        proxy = Creation(
            "pods",
            self._proxy(site, arguments, _target_port(service, pods[0]), addresses),
            site.kubernetes.namespace,
        )
        only_proxy = policy(NAME, role.selector, {"matchLabels": {ENTRY_LABEL: "$ENTRY"}})
        return Altered(
            f"Service {role.service} ({arguments.delay_ms} ms each way)",
            changes=(
                Change(
                    ref,
                    {"spec": {"selector": turned}},
                    {"spec": {"selector": {**selector, ENTRY_LABEL: None}}},
                ),
            ),
            creations=(proxy, Creation("networkpolicies", only_proxy, site.kubernetes.namespace)),
            workloads=(workload,),
        )

    def inject(self, site: Site, case: Case[SlowArguments, Altered]) -> None:
        """Start the proxy, wait until it is ready, then turn the Service and close the direct way."""
        proxy, only_proxy = case.before.creations
        create(site, case, proxy)
        until = time.monotonic() + PROXY_READY_S
        while case.waits and not self._proxies(site, case):
            if time.monotonic() > until:
                raise InjectionFailed(
                    f"the proxy pod was not ready within {PROXY_READY_S:g} s; is kube.harness_image right?"
                )
            case.still_mine()
            site.progress()
            time.sleep(0.2)
        (turn,) = case.before.changes
        there = msgspec.json.decode(msgspec.json.encode(turn.there).replace(b"$ENTRY", case.entry.encode()))
        change(site, case, turn.ref, there, turn.back)
        create(site, case, only_proxy)

    def is_active(self, site: Site, case: Case[SlowArguments, Altered]) -> bool:
        """The Service stands before the proxy, and the proxy is ready."""
        (turn,) = case.before.changes
        service = site.world.find("services", turn.ref.name)
        turned = service is not None and service["spec"].get("selector") == {ENTRY_LABEL: case.entry}
        return turned and bool(self._proxies(site, case))

    def _proxies(self, site: Site, case: Case[SlowArguments, Altered]) -> list[Object]:
        pods = site.world.objects("pods", selector=f"{ENTRY_LABEL}={case.entry}")
        return [pod for pod in pods if serves(pod)]

    def _proxy(self, site: Site, arguments: SlowArguments, port: int, addresses: list[str]) -> dict[str, Any]:
        command = ["python", "-m", "harness.chaos.latency", "--port", str(port)]
        command += ["--delay-ms", str(arguments.delay_ms), *(f"{address}:{port}" for address in addresses)]
        container = {
            "name": "latency",
            "image": site.kubernetes.harness_image,
            "command": command[:1],
            "args": command[1:],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "ports": [{"containerPort": port}],
            "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
        }
        spec = {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
        }
        return {"metadata": {"name": NAME}, "spec": spec}


def _target_port(service: Object, pod: Object) -> int:
    """Return the port the pods listen on, by number or by the name that a container gives it."""
    port = service["spec"]["ports"][0]
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for named in container.get("ports") or ():
            if named.get("name") == target:
                return int(named["containerPort"])
    raise TargetError(f"Service port {target!r}: no container of MongoDB's pods has a port of that name")
