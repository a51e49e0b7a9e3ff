"""The program of image `cleanup-grpc`: watches one window and removes its objects when it is over.

Started by the kubelet for every `cleanup-job-<id>` pod. Every period it looks at the window's Job: finished, or
idle for five readings in a row, or gone, means clean: Service, Job, task and queues, then its own Job. Without a
reading (a Pending pod) the count neither grows nor is reset, so Pending windows are not reaped. What idle means is
a setting: frames sent, or CPU by pod metrics as in the field. In `queue_leak` mode the queues stay.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

from harness.sandbox.api import ApiStatus
from harness.sandbox.pods import activity, feed
from harness.sandbox.pods.context import PodContext
from harness.sandbox.pods.plain_api import PlainApi
from harness.sandbox.truth import TruthLog, process_name

FINISHED = ("Complete", "Failed")


class Window:
    """One window as its cleanup pod sees it."""

    def __init__(self, pod: PodContext, api: PlainApi) -> None:
        self.pod = pod
        self.job_id = pod.env["JOB_ID"]
        self._api = api
        self._low = 0
        self._frames: int | None = None
        self._address = ""

    def over(self) -> str | None:
        """Take one reading; return why the window is over, None while it lives or cannot be seen."""
        name = f"grpc-job-{self.job_id}"
        try:
            job = self._api.get("jobs.batch", name, self.pod.namespace)
            for condition in job.get("status", {}).get("conditions") or []:
                if condition["type"] in FINISHED and condition["status"] == "True":
                    return str(condition["type"])
            idle = self._idle(name)
        except ApiStatus as error:
            return "gone" if error.code == 404 else None
        if idle is None:
            return None
        self._low = self._low + 1 if idle else 0
        return "idle" if self._low >= self.pod.settings.cleanup_low_readings else None

    def _idle(self, name: str) -> bool | None:
        """Return whether the window did nothing since the last reading; None without a reading."""
        settings = self.pod.settings
        if settings.cleanup_sign == "cpu":
            used_m = self._cpu_m(name)
            return None if used_m is None else used_m <= settings.cleanup_cpu_threshold_m
        if not self._address:
            self._address = self._find_pod(name)
            if not self._address:
                return None
        frames = activity.ask(self._address)
        if frames is None:
            # Running but its port is not open yet: as idle as an unused one, so that it cannot stay for ever.
            frames = self._frames or 0
        sent = frames - (self._frames or 0)
        self._frames = frames
        return sent <= settings.cleanup_frames_threshold

    def _find_pod(self, name: str) -> str:
        for found in self._api.list("pods", self.pod.namespace, f"app={name}"):
            status = found.get("status", {})
            if status.get("phase") == "Running" and status.get("podIP"):
                return str(status["podIP"])
        return ""

    def _cpu_m(self, name: str) -> float | None:
        pods = self._api.list("pods.metrics.k8s.io", self.pod.namespace, f"app={name}")
        if not pods:
            return None
        return sum(_millicores(c["usage"]["cpu"]) for found in pods for c in found["containers"])


def clean(pod: PodContext, api: PlainApi, job_id: str) -> None:
    """Remove everything of a window, its own cleanup Job last; tries what fails again for as long as it takes."""
    steps: list[Callable[[], None]] = [
        lambda: api.delete("services", f"grpc-service-{job_id}", pod.namespace),
        lambda: api.delete("jobs.batch", f"grpc-job-{job_id}", pod.namespace),
    ]
    if pod.settings.task_in_mongodb:
        steps.append(lambda: _remove_task(pod, api, job_id))
    if pod.env.get(feed.BROKER_ENV) and not pod.settings.queue_leak:
        steps.append(lambda: asyncio.run(_remove_queues(pod, job_id)))
    while steps:
        steps = [step for step in steps if not _succeeds(step)]
        if steps:
            time.sleep(1.0)
    while not _succeeds(lambda: api.delete("jobs.batch", f"cleanup-job-{job_id}", pod.namespace)):
        time.sleep(1.0)


def _succeeds(step: Callable[[], None]) -> bool:
    """Do a step; say whether it is done. What is refused or does not answer may do so later."""
    try:
        step()
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return False
    return True


def _remove_task(pod: PodContext, api: PlainApi, job_id: str) -> None:
    # Imported late: a cleanup pod that only waits should stay small.
    from pymongo import MongoClient  # noqa: PLC0415

    settings = pod.settings
    service = api.get("services", settings.mongodb_name, pod.namespace)
    client: MongoClient[dict[str, Any]] = MongoClient(
        service["spec"]["clusterIP"],
        settings.mongodb_port,
        username=settings.mongodb_user,
        password=settings.mongodb_password,
        authSource=settings.mongodb_database,
        directConnection=True,
        serverSelectionTimeoutMS=2000,
    )
    with client:
        client[settings.mongodb_database].tasks.delete_one({"_id": job_id})


async def _remove_queues(pod: PodContext, job_id: str) -> None:
    from harness.sandbox.pods import amqp  # noqa: PLC0415

    link = await amqp.connect(pod, timeout_s=5.0)
    try:
        for queue in (f"focus_baby.{job_id}", pod.env.get("LOG_QUEUE", "")):
            if queue:
                await link.delete_queue(queue)
    finally:
        link.close()


def _millicores(quantity: str) -> float:
    for suffix, scale in (("n", 1e-6), ("u", 1e-3), ("m", 1.0)):
        if quantity.endswith(suffix):
            return float(quantity[:-1]) * scale
    return float(quantity) * 1000


def main(pod: PodContext) -> int:
    """Watch one window to its end and remove it; return the exit code. SIGTERM just ends it."""
    api = PlainApi(pod)
    window = Window(pod, api)
    reason = None
    while reason is None:
        time.sleep(pod.settings.cleanup_period_s)
        reason = window.over()
    truth = TruthLog(pod.truth_dir, process_name("cleanup", pod.name))
    truth.write("window_cleaned", job_id=window.job_id, reason=reason)
    clean(pod, api, window.job_id)
    api.close()
    return 0
