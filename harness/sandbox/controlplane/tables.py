"""Tables: the columns `kubectl get` prints, per kind, as data with one small function per cell.

Called by lists and watches that were asked for `as=Table`. A kind without columns of its own has name and age.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import cells
from harness.sandbox.controlplane.resources import Resource
from harness.sandbox.controlplane.store import Record


@dataclass(frozen=True)
class Column:
    """One column: its heading, how a cell is made, and whether only `-o wide` shows it."""

    name: str
    cell: Callable[[Obj], Any]
    wide: bool = False
    type: str = "string"

    def definition(self) -> Obj:
        """What a Table says of the column."""
        form = "name" if self.name == "Name" else ""
        priority = 1 if self.wide else 0
        return {
            "name": self.name,
            "type": self.type,
            "format": form,
            "description": self.name,
            "priority": priority,
        }


def _wide(name: str, cell: Callable[[Obj], Any]) -> Column:
    return Column(name, cell, wide=True)


NAME = Column("Name", cells.name)
AGE = Column("Age", cells.age)
TEMPLATE = (_wide("Containers", cells.containers), _wide("Images", cells.images))
SELECTOR = _wide("Selector", cells.selector)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "Pod": (
        NAME,
        Column("Ready", cells.pod_ready),
        Column("Status", cells.pod_status),
        Column("Restarts", cells.pod_restarts),
        AGE,
        _wide("IP", cells.pod_ip),
        _wide("Node", cells.at("spec.nodeName", "<none>")),
        _wide("Nominated Node", cells.at("status.nominatedNodeName", "<none>")),
        _wide("Readiness Gates", cells.always("<none>")),
    ),
    "Job": (
        NAME,
        Column("Status", cells.job_status),
        Column("Completions", cells.job_completions),
        Column("Duration", cells.job_duration),
        AGE,
        *TEMPLATE,
        SELECTOR,
    ),
    "Deployment": (
        NAME,
        Column("Ready", cells.ready_of_wanted),
        Column("Up-to-date", cells.number("status.updatedReplicas"), type="integer"),
        Column("Available", cells.number("status.availableReplicas"), type="integer"),
        AGE,
        *TEMPLATE,
        SELECTOR,
    ),
    "ReplicaSet": (
        NAME,
        Column("Desired", cells.number("spec.replicas"), type="integer"),
        Column("Current", cells.number("status.replicas"), type="integer"),
        Column("Ready", cells.number("status.readyReplicas"), type="integer"),
        AGE,
        *TEMPLATE,
        SELECTOR,
    ),
    "StatefulSet": (NAME, Column("Ready", cells.ready_of_wanted), AGE, *TEMPLATE),
    "Service": (
        NAME,
        Column("Type", cells.at("spec.type", "ClusterIP")),
        Column("Cluster-IP", cells.at("spec.clusterIP", "<none>")),
        Column("External-IP", cells.external_ip),
        Column("Port(s)", cells.service_ports),
        AGE,
        SELECTOR,
    ),
    "Node": (
        NAME,
        Column("Status", cells.node_status),
        Column("Roles", cells.node_roles),
        AGE,
        Column("Version", cells.at("status.nodeInfo.kubeletVersion", "")),
        _wide("Internal-IP", cells.node_address("InternalIP")),
        _wide("External-IP", cells.node_address("ExternalIP")),
        _wide("OS-Image", cells.at("status.nodeInfo.osImage", "<unknown>")),
        _wide("Kernel-Version", cells.at("status.nodeInfo.kernelVersion", "<unknown>")),
        _wide("Container-Runtime", cells.at("status.nodeInfo.containerRuntimeVersion", "<unknown>")),
    ),
    "Namespace": (NAME, Column("Status", cells.at("status.phase", "")), AGE),
    "ConfigMap": (NAME, Column("Data", cells.data_count, type="integer"), AGE),
    "Secret": (
        NAME,
        Column("Type", cells.at("type", "")),
        Column("Data", cells.data_count, type="integer"),
        AGE,
    ),
    "ServiceAccount": (NAME, Column("Secrets", cells.count("secrets"), type="integer"), AGE),
    "Event": (
        Column("Last Seen", cells.event_seen),
        Column("Type", cells.at("type", "")),
        Column("Reason", cells.at("reason", "")),
        Column("Object", cells.event_object),
        _wide("Subobject", cells.at("involvedObject.fieldPath", "")),
        _wide("Source", cells.event_source),
        Column("Message", cells.at("message", "")),
        _wide("First Seen", cells.event_first),
        _wide("Count", cells.event_count),
        _wide("Name", cells.name),
    ),
    "Endpoints": (NAME, Column("Endpoints", cells.endpoints), AGE),
    "EndpointSlice": (
        NAME,
        Column("AddressType", cells.at("addressType", "")),
        Column("Ports", cells.slice_ports),
        Column("Endpoints", cells.slice_endpoints),
        AGE,
    ),
    "Lease": (NAME, Column("Holder", cells.at("spec.holderIdentity", "")), AGE),
    "PodDisruptionBudget": (
        NAME,
        Column("Min Available", cells.at("spec.minAvailable", "N/A")),
        Column("Max Unavailable", cells.at("spec.maxUnavailable", "N/A")),
        Column("Allowed Disruptions", cells.number("status.disruptionsAllowed"), type="integer"),
        AGE,
    ),
    "NetworkPolicy": (NAME, Column("Pod-Selector", cells.pod_selector), AGE),
    "ResourceQuota": (
        NAME,
        Column("Request", cells.quota_use("requests")),
        Column("Limit", cells.quota_use("limits")),
        AGE,
    ),
    "PersistentVolumeClaim": (
        NAME,
        Column("Status", cells.at("status.phase", "")),
        Column("Volume", cells.at("spec.volumeName", "")),
        Column("Capacity", cells.at("status.capacity.storage", "")),
        Column("Access Modes", cells.access_modes),
        Column("StorageClass", cells.at("spec.storageClassName", "")),
        Column("VolumeAttributesClass", cells.at("spec.volumeAttributesClassName", "<unset>")),
        AGE,
        _wide("VolumeMode", cells.at("spec.volumeMode", "")),
    ),
    "Role": (NAME, Column("Created At", cells.at("metadata.creationTimestamp", ""))),
    "ClusterRole": (NAME, Column("Created At", cells.at("metadata.creationTimestamp", ""))),
    "RoleBinding": (NAME, Column("Role", cells.role_ref), AGE),
    "ClusterRoleBinding": (NAME, Column("Role", cells.role_ref), AGE),
    "PriorityClass": (
        NAME,
        Column("Value", cells.number("value"), type="integer"),
        Column("Global-Default", cells.yes_no("globalDefault"), type="boolean"),
        AGE,
        Column("PreemptionPolicy", cells.at("preemptionPolicy", "")),
    ),
    "StorageClass": (
        NAME,
        Column("Provisioner", cells.at("provisioner", "")),
        Column("ReclaimPolicy", cells.at("reclaimPolicy", "Delete")),
        Column("VolumeBindingMode", cells.at("volumeBindingMode", "Immediate")),
        Column("AllowVolumeExpansion", cells.yes_no("allowVolumeExpansion")),
        AGE,
    ),
}
CREATED = Column("Created At", cells.at("metadata.creationTimestamp", ""))


def table(resource: Resource, records: Sequence[Record], version: str, meta: Obj) -> Obj:
    """Objects as a Table whose rows carry the objects' metadata."""
    columns = COLUMNS.get(resource.kind, (NAME, CREATED))
    kept = {k: meta[k] for k in ("resourceVersion", "continue", "remainingItemCount") if k in meta}
    rows = [
        {
            "cells": [column.cell(record.obj) for column in columns],
            "object": {
                "kind": "PartialObjectMetadata",
                "apiVersion": f"meta.k8s.io/{version}",
                "metadata": record.obj["metadata"],
            },
        }
        for record in records
    ]
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": kept,
        "columnDefinitions": [column.definition() for column in columns],
        "rows": rows,
    }
