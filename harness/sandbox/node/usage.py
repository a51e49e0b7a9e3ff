"""What pods use: CPU and memory of their processes, read from /proc and reported as pod metrics.

One task of the kubelet. A pod without two readings has no metrics yet, as with a real metrics server. It
refuses to guess: a process that is gone is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.recorder import now

if TYPE_CHECKING:
    from harness.sandbox.node.kubelet import Kubelet
    from harness.sandbox.node.podworker import PodWorker

POD_METRICS = "pods.metrics.k8s.io"
NODE_METRICS = "nodes.metrics.k8s.io"


@dataclass(frozen=True)
class Reading:
    """CPU seconds used so far and memory held by a container at one moment."""

    at_s: float
    cpu_s: float
    memory_bytes: int


def read_usage(pid: int) -> Reading | None:
    """Return what a process group's leader and its descendants used; None if it is gone."""
    cpu_s, memory = 0.0, 0
    try:
        leader = psutil.Process(pid)
        processes = [leader, *leader.children(recursive=True)] if _has_children(pid) else [leader]
    except psutil.Error:
        return None
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            cpu_s += times.user + times.system + times.children_user + times.children_system
            memory += process.memory_info().rss
    return Reading(time.monotonic(), cpu_s, memory)


def _has_children(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
            return bool(children.read(1))
    except OSError:
        return True


def pod_metrics(worker: PodWorker, before: dict[str, Reading], after: dict[str, Reading]) -> Obj | None:
    """Return the pod's metrics object between two readings; None without both."""
    namespace, name = worker.key
    both = [(one, before[one], reading) for one, reading in after.items() if one in before]
    if not both:
        return None
    containers, window_s = [], 0.0
    for container, old, new in both:
        window_s = new.at_s - old.at_s
        millicores = max(0.0, (new.cpu_s - old.cpu_s) / window_s * 1000)
        usage = {"cpu": f"{round(millicores * 1e6)}n", "memory": f"{new.memory_bytes // 1024}Ki"}
        containers.append({"name": container, "usage": usage})
    return {
        "apiVersion": "metrics.k8s.io/v1beta1",
        "kind": "PodMetrics",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": worker.pod["metadata"].get("labels") or {},
        },
        "timestamp": now(),
        "window": f"{window_s:.3f}s",
        "containers": containers,
    }


def node_metrics(name: str, pods: list[Obj]) -> Obj:
    """Return the node's metrics object: what its pods use together."""
    usages = [container["usage"] for pod in pods for container in pod["containers"]]
    cpu_n = sum(int(usage["cpu"].removesuffix("n")) for usage in usages)
    memory_ki = sum(int(usage["memory"].removesuffix("Ki")) for usage in usages)
    return {
        "apiVersion": "metrics.k8s.io/v1beta1",
        "kind": "NodeMetrics",
        "metadata": {"name": name},
        "timestamp": now(),
        "window": pods[0]["window"] if pods else "0s",
        "usage": {"cpu": f"{cpu_n}n", "memory": f"{memory_ki}Ki"},
    }


async def report_usage(kubelet: Kubelet) -> None:
    """Report what every pod and the node use each period, for ever."""
    before: dict[str, dict[str, Reading]] = {}
    while True:
        await asyncio.sleep(kubelet.sandbox.settings.metrics_period_s)
        after: dict[str, dict[str, Reading]] = {}
        reports: list[Obj] = []
        for worker in kubelet.workers:
            readings = {
                name: read_usage(process.pid) for name, process in worker.processes.items() if process.pid
            }
            after[worker.uid] = {name: reading for name, reading in readings.items() if reading is not None}
            metrics = pod_metrics(worker, before.get(worker.uid, {}), after[worker.uid])
            if metrics is not None:
                reports.append(metrics)
        before = after
        for metrics in reports:
            with contextlib.suppress(ApiStatus):
                await kubelet.api.replace(POD_METRICS, metrics)
        with contextlib.suppress(ApiStatus):
            await kubelet.api.replace(NODE_METRICS, node_metrics(kubelet.name, reports))
