"""NetworkPolicies as the proxies enforce them: which clients may reach which pod through a Service.

Pure: it is told of policies, pods and namespaces and answers `allows`. Only ingress counts, only TCP, only ports given as
numbers. A client is a pod if it comes from a pod's address, else it is outside and only an `ipBlock` or an open rule lets
it in. Pods nobody selects accept everything.
"""

from __future__ import annotations

import ipaddress

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import selectors
from harness.sandbox.node.traffic import Backend

Name = tuple[str, str]


class Policies:
    """What is known of policies and of the pods they are about."""

    def __init__(self) -> None:
        self._policies: dict[Name, Obj] = {}
        self._pods: dict[Name, Obj] = {}
        self._labels: dict[str, dict[str, str]] = {}
        self._by_ip: dict[str, Obj] = {}

    def __bool__(self) -> bool:
        """Whether there is any policy."""
        return bool(self._policies)

    def policy(self, kind: str, obj: Obj) -> None:
        """Take over an event about a NetworkPolicy."""
        _take(self._policies, kind, obj)

    def pod(self, kind: str, obj: Obj) -> None:
        """Take over an event about a Pod; one that is over has given its address back."""
        over = (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        _take(self._pods, "DELETED" if over else kind, obj)
        self._by_ip = {ip: pod for pod in self._pods.values() if (ip := (pod["status"]).get("podIP"))}

    def namespace(self, kind: str, obj: Obj) -> None:
        """Take over an event about a Namespace."""
        self._labels.pop(obj["metadata"]["name"], None)
        if kind != "DELETED":
            self._labels[obj["metadata"]["name"]] = obj["metadata"].get("labels") or {}

    def forget_pods(self) -> None:
        """Forget pods and namespaces, which nobody watches while there is no policy."""
        self._pods.clear()
        self._labels.clear()
        self._by_ip = {}

    def allows(self, source: str, backend: Backend) -> bool:
        """Say whether the policies of the pod behind `backend` accept a client at address `source`."""
        pod = self._by_ip.get(backend[0])
        if pod is None:
            return True
        about = [policy for policy in self._policies.values() if _selects(policy, pod)]
        return not about or any(
            self._accepts(policy, rule, source, backend[1])
            for policy in about
            for rule in policy["spec"].get("ingress") or []
        )

    def _accepts(self, policy: Obj, rule: Obj, source: str, port: int) -> bool:
        ports, peers = rule.get("ports") or [], rule.get("from") or []
        if ports and not any(_is_of(port, one) for one in ports):
            return False
        return not peers or any(self._is_peer(policy, peer, source) for peer in peers)

    def _is_peer(self, policy: Obj, peer: Obj, source: str) -> bool:
        block = peer.get("ipBlock")
        if block is not None:
            return _within(source, block["cidr"]) and not any(
                _within(source, one) for one in block.get("except") or []
            )
        pod = self._by_ip.get(source)
        if pod is None:
            return False
        namespace = pod["metadata"]["namespace"]
        if peer.get("namespaceSelector") is None:
            fits = namespace == policy["metadata"]["namespace"]
        else:
            fits = selectors.from_object(peer["namespaceSelector"]).holds(self._labels.get(namespace))
        wanted = peer.get("podSelector")
        return fits and (wanted is None or _holds(wanted, pod))


def _take(known: dict[Name, Obj], kind: str, obj: Obj) -> None:
    name = obj["metadata"]["namespace"], obj["metadata"]["name"]
    known.pop(name, None)
    if kind != "DELETED":
        known[name] = obj


def _selects(policy: Obj, pod: Obj) -> bool:
    spec = policy["spec"]
    return (
        policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
        and "Ingress" in (spec.get("policyTypes") or ["Ingress"])
        and _holds(spec.get("podSelector") or {}, pod)
    )


def _holds(selector: Obj, pod: Obj) -> bool:
    return selectors.from_object(selector).holds(pod["metadata"].get("labels"))


def _is_of(port: int, wanted: Obj) -> bool:
    first = wanted.get("port")
    if wanted.get("protocol", "TCP") != "TCP" or isinstance(first, str):
        return False
    return first is None or first <= port <= (wanted.get("endPort") or first)


def _within(address: str, cidr: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr, strict=False)
