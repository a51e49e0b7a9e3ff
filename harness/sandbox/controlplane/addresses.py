"""Cluster addresses and node ports of Services: which are free, which are taken, with the server's refusals.

Called by the verbs when a Service is made or changed. What is taken is read from the Services themselves, so there is
nothing to release and nothing to repair.
"""

import ipaddress
import random
from collections.abc import Iterator
from dataclasses import dataclass

from harness.sandbox.api import Obj
from harness.sandbox.controlplane.statuses import Cause, invalid_value
from harness.sandbox.controlplane.store import Store


@dataclass(frozen=True)
class Ranges:
    """Where addresses and ports come from: a block of IPv4 addresses; node ports, both ends included."""

    cluster_ips: str = "10.96.0.0/16"
    first_node_port: int = 12300
    last_node_port: int = 32767
    first_given_port: int = (
        30000  # ports given out (not asked for) start here, as on a cluster with usual ranges
    )


@dataclass(frozen=True)
class Taken:
    """What the other Services hold."""

    ips: frozenset[str]
    ports: frozenset[tuple[str, int]]


def _others(store: Store, own: tuple[str, str]) -> Iterator[Obj]:
    for key, record in store.shelf("services").records.items():
        if key != own:
            yield record.obj["spec"]


def taken_by_others(store: Store, own: tuple[str, str]) -> Taken:
    """Addresses and node ports of all Services but one."""
    ips: set[str] = set()
    ports: set[tuple[str, int]] = set()
    for spec in _others(store, own):
        ips.update(spec.get("clusterIPs") or [])
        for port in spec.get("ports") or []:
            if port.get("nodePort"):
                ports.add((port["protocol"], port["nodePort"]))
    return Taken(frozenset(ips), frozenset(ports))


def allocate(obj: Obj, ranges: Ranges, taken: Taken) -> list[Cause]:
    """Fill in address and node ports of a Service; give what is wrong with those it asks for."""
    spec = obj["spec"]
    if spec["type"] == "ExternalName":
        for field in ("clusterIP", "clusterIPs"):
            spec.pop(field, None)
        return []
    causes = _address(spec, ranges, taken)
    if spec["type"] in ("NodePort", "LoadBalancer"):
        causes += _node_ports(spec, ranges, taken)
    else:
        for port in spec.get("ports") or []:
            port.pop("nodePort", None)
    return causes


def _address(spec: Obj, ranges: Ranges, taken: Taken) -> list[Cause]:
    asked = spec.get("clusterIP") or (spec.get("clusterIPs") or [None])[0]
    if asked == "None":
        spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
        return []
    block = ipaddress.ip_network(ranges.cluster_ips)
    if asked:
        try:
            inside = ipaddress.ip_address(asked) in block
        except ValueError:
            text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            return [invalid_value("spec.clusterIPs[0]", asked, text)]
        if not inside:
            text = f"failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid range. "
            return [invalid_value("spec.clusterIPs", [asked], text + f"The range of valid IPs is {block}")]
        if asked in taken.ips:
            text = f"failed to allocate IP {asked}: provided IP is already allocated"
            return [invalid_value("spec.clusterIPs", [asked], text)]
    else:
        size = block.num_addresses
        while asked is None or asked in taken.ips:
            asked = str(block[random.randrange(2, size - 1)])
    spec["clusterIP"], spec["clusterIPs"] = asked, [asked]
    return []


def _node_ports(spec: Obj, ranges: Ranges, taken: Taken) -> list[Cause]:
    own: set[tuple[str, int]] = set()
    causes = []
    first, last = ranges.first_node_port, ranges.last_node_port
    for i, port in enumerate(spec.get("ports") or []):
        wanted, protocol = port.get("nodePort"), port["protocol"]
        if not wanted:
            continue
        at = f"spec.ports[{i}].nodePort"
        if not first <= wanted <= last:
            text = f"provided port is not in the valid range. The range of valid ports is {first}-{last}"
            causes.append(invalid_value(at, wanted, text))
        elif (protocol, wanted) in taken.ports | own:
            causes.append(invalid_value(at, wanted, "provided port is already allocated"))
        own.add((protocol, wanted))
    used = {number for _, number in taken.ports | own}
    for port in spec.get("ports") or []:
        if not port.get("nodePort"):
            free = [n for n in range(max(first, ranges.first_given_port), last + 1) if n not in used]
            if not free:
                return [*causes, invalid_value("spec.ports", port["port"], "range is full")]
            port["nodePort"] = random.choice(free)
            used.add(port["nodePort"])
    return causes
