"""Kubernetes Events that say in the cluster itself when a fault went in and when it was undone: for `kubectl describe` and `get events`.

Written by whoever injects or undoes, to the objects that are touched, else to the Lease. They are for people: one that cannot be
written changes nothing, and nothing reads them.
"""

import secrets
from datetime import UTC, datetime
from typing import Any

from harness.chaos.faults import Case, Fault
from harness.chaos.faults.fault import ENTRY_LABEL, MANAGED_BY, Ref
from harness.chaos.world import Site
from harness.cluster.kinds import KINDS
from harness.cluster.lease import LEASE_NAME
from harness.errors import HarnessError

MOST = 8
"""A fault that touches more objects than this is told on the first ones."""


def announce(site: Site, fault: Fault[Any, Any], case: Case[Any, Any], reason: str, text: str) -> None:
    """Write an Event about each object the fault touches; best effort."""
    ours = site.kubernetes.harness_namespace
    refs = fault.touched(case)[:MOST] or (Ref("leases", LEASE_NAME, "", ours),)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for ref in refs:
        kind = KINDS.get(ref.kind)
        if kind is None:
            continue  # a fault from outside may touch what we have no word for
        namespace = (ref.namespace or site.kubernetes.namespace) if kind.namespaced else "default"
        involved = {"apiVersion": kind.api_version, "kind": kind.name, "name": ref.name}
        involved |= {"uid": ref.uid} if ref.uid else {}
        involved |= {"namespace": namespace} if kind.namespaced else {}
        event = {
            "metadata": {
                "name": f"{ref.name}.{secrets.token_hex(6)}",
                "labels": {**MANAGED_BY, ENTRY_LABEL: case.entry},
            },
            "involvedObject": involved,
            "reason": reason,
            "message": text,
            "type": "Warning" if reason == "FaultInjected" else "Normal",
            "source": {"component": "focus-harness"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            site.world.create("events", event, namespace)
        except HarnessError:
            return
