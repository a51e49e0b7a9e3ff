"""The Node object a kubelet registers and keeps true. Pure but for the clock.

Capacity, labels and taints come from the settings. What others wrote into the status (an extended resource, say)
stays.
"""

from __future__ import annotations

import platform

from harness.sandbox.api import Obj
from harness.sandbox.recorder import now
from harness.sandbox.state import Sandbox

KUBELET_PORT = 10250
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
_HEALTH = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


def new_node(sandbox: Sandbox, name: str) -> Obj:
    """Return the node as it is first registered."""
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": _architecture(),
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": _architecture(),
    }
    spec: Obj = {"podCIDR": str(sandbox.addresses.pod_network(sandbox.node_index(name)))}
    if name == sandbox.settings.master_node:
        labels[CONTROL_PLANE] = "true"
        spec["unschedulable"] = True
        spec["taints"] = [{"key": CONTROL_PLANE, "effect": "NoSchedule"}]
    else:
        labels["nvidia.com/gpu.present"] = "true"
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": spec}


def fresh_status(sandbox: Sandbox, name: str, old: Obj) -> Obj:
    """Return what the kubelet says of its node now."""
    settings = sandbox.settings
    capacity = {
        "cpu": str(settings.node_cpu_m // 1000),
        "memory": f"{settings.node_memory_mib}Mi",
        "pods": str(settings.node_pods),
        "ephemeral-storage": "100Gi",
    }
    if name != settings.master_node:
        capacity[settings.gpu_resource] = str(settings.gpu_shares)
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": _conditions(old.get("conditions") or []),
        "addresses": [
            {"type": "InternalIP", "address": sandbox.node_ip(name)},
            {"type": "Hostname", "address": name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
        "nodeInfo": {
            "architecture": _architecture(),
            "bootID": _boot_id(),
            "containerRuntimeVersion": "sandbox://1",
            "kernelVersion": platform.release(),
            "kubeProxyVersion": "",
            "kubeletVersion": settings.kubernetes_version,
            "machineID": name,
            "operatingSystem": "linux",
            "osImage": "focus-harness sandbox",
            "systemUUID": name,
        },
    }


def _conditions(old: list[Obj]) -> list[Obj]:
    before = {condition["type"]: condition for condition in old}
    stamp = now()
    said = [condition for condition in old if condition["type"] not in {type_ for type_, *_ in _HEALTH}]
    for type_, status, reason, message in _HEALTH:
        known = before.get(type_, {})
        since = known["lastTransitionTime"] if known.get("status") == status else stamp
        said.append(
            {
                "type": type_,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": stamp,
                "lastTransitionTime": since,
            }
        )
    return said


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "unknown"
