"""The Job controller: makes pods until enough have succeeded or too many have failed, and counts every end once.

Pods carry a finalizer until their end is counted, so that no end is lost or counted twice, also when pods are
deleted. Pods that nobody counts any more (their Job is gone) are freed of it here as well. Indexed
completion, pod failure policies and success policies are not covered: the sandbox's jobs do not use them.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from harness.sandbox.api import Obj
from harness.sandbox.controllers.controller import Controller, ignoring_absence
from harness.sandbox.controllers.informer import Key, World, controller_of, key_of
from harness.sandbox.controllers.podfacts import (
    is_active,
    is_going,
    is_over,
    is_ready,
    is_true,
    phase,
    pod_from,
    with_condition,
)
from harness.sandbox.recorder import NORMAL, WARNING, Recorder, now, seconds_of

JOBS = "jobs.batch"
TRACKING = "batch.kubernetes.io/job-tracking"
BACKOFF_S, BACKOFF_MAX_S = 10.0, 600.0
MOST_AT_ONCE = 50
LIMIT = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
DEADLINE = ("DeadlineExceeded", "Job was active longer than specified deadline")
REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")


def is_finished(job: Obj) -> bool:
    """Say whether a job is complete or failed."""
    return is_true(job, "Complete") or is_true(job, "Failed")


def has_failed(pod: Obj) -> bool:
    """Say whether a pod counts as a failure: it failed, or was deleted before it succeeded."""
    return phase(pod) == "Failed" or (is_going(pod) and phase(pod) != "Succeeded")


def is_tracked(pod: Obj) -> bool:
    """Say whether the pod's end is still to be counted."""
    return TRACKING in (pod["metadata"].get("finalizers") or [])


@dataclass
class _Counts:
    """Where a job stands: what was counted before and what its pods show now."""

    succeeded: int
    failed: int
    active: list[Obj]
    newly_succeeded: list[Obj]
    newly_failed: list[Obj]
    terminating: int
    named: dict[str, list[str]]
    """Uids of pods that have ended and are not in the numbers yet: those the status names, and new ones."""

    @property
    def all_succeeded(self) -> int:
        return self.succeeded + len(self.named["succeeded"])

    @property
    def all_failed(self) -> int:
        return self.failed + len(self.named["failed"])


def count(job: Obj, pods: list[Obj]) -> _Counts:
    """Count a job's pods; those that carry no finalizer any more were counted before."""
    status = job.get("status") or {}
    uncounted = status.get("uncountedTerminatedPods") or {}
    tracked = [pod for pod in pods if is_tracked(pod)]
    succeeded = [pod for pod in tracked if phase(pod) == "Succeeded"]
    failed = [pod for pod in tracked if has_failed(pod)]
    return _Counts(
        status.get("succeeded", 0),
        status.get("failed", 0),
        [pod for pod in pods if is_active(pod)],
        succeeded,
        failed,
        sum(1 for pod in pods if is_going(pod) and not is_over(pod)),
        {
            "succeeded": sorted({*(uncounted.get("succeeded") or []), *map(_uid, succeeded)}),
            "failed": sorted({*(uncounted.get("failed") or []), *map(_uid, failed)}),
        },
    )


class JobController(Controller):
    """Reconciles Jobs."""

    name = "job-controller"

    def __init__(self, world: World, recorder: Recorder) -> None:
        super().__init__(world, recorder)
        self._jobs = world.informer(JOBS)
        self._pods = world.informer("pods")
        self._failures: dict[str, tuple[int, float]] = {}
        self.wakes_itself(JOBS)
        self.wakes_controller("pods", "Job")
        self._pods.on_event(self._orphaned)

    def _orphaned(self, kind: str, pod: Obj, _before: Obj | None) -> None:
        if kind != "DELETED" and is_tracked(pod) and controller_of(pod) is None:
            self.wake((f"orphan/{pod['metadata']['namespace']}", pod["metadata"]["name"]))

    async def reconcile(self, key: Key) -> None:
        """Bring one job on, or free the pods of one that is gone."""
        if key[0].startswith("orphan/"):
            pod = self._pods.get(key[0].removeprefix("orphan/"), key[1])
            if pod is not None and is_tracked(pod) and controller_of(pod) is None:
                await self._release(pod)
            return
        job = self._jobs.get(*key)
        if job is None:
            await self._free_orphans(key)
            return
        pods = self._pods.controlled_by(job["metadata"]["uid"])
        if is_going(job) or is_finished(job):
            for pod in pods:
                if is_tracked(pod) and (is_going(job) or is_over(pod) or is_going(pod)):
                    await self._release(pod)
            return
        await self._advance(job, pods)

    async def _free_orphans(self, key: Key) -> None:
        self._failures.pop("/".join(key), None)
        for pod in self._pods.within(key[0]):
            owner = controller_of(pod)
            if owner is not None and owner["kind"] == "Job" and owner["name"] == key[1] and is_tracked(pod):
                await self._release(pod)

    async def _release(self, pod: Obj) -> None:
        """Take our finalizer off a pod."""
        namespace, name = key_of(pod)
        kept = [one for one in pod["metadata"].get("finalizers") or [] if one != TRACKING]
        patch = {"metadata": {"uid": pod["metadata"]["uid"], "finalizers": kept or None}}
        await ignoring_absence(self.api.patch("pods", name, patch, namespace))
        uid = pod["metadata"]["uid"]

        def released() -> bool:
            known = self._pods.get(namespace, name)
            return known is None or known["metadata"]["uid"] != uid or not is_tracked(known)

        await self._pods.until(released)

    async def _advance(self, job: Obj, pods: list[Obj]) -> None:
        counts = count(job, pods)
        self._note_failures(job, counts)
        spec, conditions = job["spec"], list((job.get("status") or {}).get("conditions") or [])
        stamp = now()
        verdict = self._verdict(job, counts)
        if verdict is not None:
            type_, (reason, message) = verdict
            first = "SuccessCriteriaMet" if type_ == "Complete" else "FailureTarget"
            new = {
                "type": first,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastProbeTime": stamp,
            }
            conditions = with_condition(conditions, new, stamp)
            for pod in counts.active:
                await self._delete(job, pod)
            left = [
                pod
                for pod in self._pods.controlled_by(job["metadata"]["uid"])
                if not is_over(pod) and not is_tracked(pod)
            ]
            if type_ == "Failed" and any(is_active(pod) for pod in left):
                self.wake_after(key_of(job), 0.1)
            else:
                conditions = with_condition(conditions, {**new, "type": type_}, stamp)
            await self._settle(job, conditions, finished=type_)
            return
        if spec.get("suspend"):
            await self._suspend(job, counts, conditions, stamp)
            return
        if is_true(job, "Suspended"):
            resumed = {
                "type": "Suspended",
                "status": "False",
                "reason": "JobResumed",
                "message": "Job resumed",
            }
            conditions = with_condition(conditions, {**resumed, "lastProbeTime": stamp}, stamp)
            self.recorder.record(job, NORMAL, "Resumed", "Job resumed")
        await self._settle(job, conditions)
        await self._adjust(job)

    def _note_failures(self, job: Obj, counts: _Counts) -> None:
        """Remember when the last failure was: the wait before the next pod grows with every one."""
        key = "/".join(key_of(job))
        known, _ = self._failures.get(key, (counts.failed, 0.0))
        if counts.newly_succeeded:
            self._failures[key] = (counts.all_failed, 0.0)
        elif counts.all_failed > known:
            self._failures[key] = (counts.all_failed, time.monotonic())

    def _verdict(self, job: Obj, counts: _Counts) -> tuple[str, tuple[str, str]] | None:
        spec = job["spec"]
        target = next(
            (
                one
                for one in (job.get("status") or {}).get("conditions") or []
                if one["type"] in ("FailureTarget", "SuccessCriteriaMet")
            ),
            None,
        )
        if target is not None:
            ending = "Failed" if target["type"] == "FailureTarget" else "Complete"
            return ending, (target["reason"], target["message"])
        if counts.all_failed > spec.get("backoffLimit", 6):
            return "Failed", LIMIT
        if self._past_deadline(job):
            return "Failed", DEADLINE
        completions = spec.get("completions")
        if completions is None:
            done = counts.all_succeeded > 0 and not counts.active
        else:
            done = counts.all_succeeded >= completions
        return ("Complete", REACHED) if done else None

    def _past_deadline(self, job: Obj) -> bool:
        limit_s, started = (
            job["spec"].get("activeDeadlineSeconds"),
            (job.get("status") or {}).get("startTime"),
        )
        if limit_s is None or not started or job["spec"].get("suspend"):
            return False
        rest_s: float = seconds_of(started) + limit_s - time.time()
        if rest_s > 0:
            self.wake_after(key_of(job), rest_s + 0.01)
        return rest_s <= 0

    async def _suspend(self, job: Obj, counts: _Counts, conditions: list[Obj], stamp: str) -> None:
        for pod in counts.active:
            await self._delete(job, pod)
        if not is_true(job, "Suspended"):
            self.recorder.record(job, NORMAL, "Suspended", "Job suspended")
        new = {"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}
        await self._settle(
            job, with_condition(conditions, {**new, "lastProbeTime": stamp}, stamp), suspended=True
        )

    async def _delete(self, job: Obj, pod: Obj) -> None:
        namespace, name = key_of(pod)
        uid = pod["metadata"]["uid"]
        await ignoring_absence(self.api.delete("pods", name, namespace, uid=uid))
        self.recorder.record(job, NORMAL, "SuccessfulDelete", f"Deleted pod: {name}")
        await self._pods.until(
            lambda: (
                (known := self._pods.get(namespace, name)) is None
                or is_going(known)
                or known["metadata"]["uid"] != uid
            )
        )

    async def _settle(
        self, job: Obj, conditions: list[Obj], *, finished: str = "", suspended: bool = False
    ) -> None:
        """Count new ends: name them in the status, take their finalizers, then move them into the counters."""
        uid = job["metadata"]["uid"]
        counts = count(job, self._pods.controlled_by(uid))
        old = job.get("status") or {}
        uncounted = old.get("uncountedTerminatedPods") or {}
        named = counts.named
        if named["succeeded"] or named["failed"]:
            if {key: value for key, value in named.items() if value} != uncounted:
                shown = {key: value for key, value in named.items() if value}
                job = await self._write(job, {**old, "uncountedTerminatedPods": shown})
            for pod in (*counts.newly_succeeded, *counts.newly_failed):
                await self._release(pod)
        status: Obj = {
            **{key: old[key] for key in ("startTime", "completionTime") if old.get(key)},
            "active": len(counts.active),
            "ready": sum(1 for pod in counts.active if is_ready(pod)),
            "terminating": counts.terminating,
            "succeeded": counts.succeeded + len(named["succeeded"]),
            "failed": counts.failed + len(named["failed"]),
            "uncountedTerminatedPods": {},
            "conditions": conditions,
        }
        self._times(status, suspended=suspended, finished=finished)
        done = any(one["type"] == finished and one["status"] == "True" for one in conditions)
        if not status["active"] and (done or suspended):
            status["active"] = 0
        await self._write(job, {key: value for key, value in status.items() if value or key in _SHOWN})
        if done:
            self._say_end(job, finished, conditions)

    @staticmethod
    def _times(status: Obj, *, suspended: bool, finished: str) -> None:
        if suspended:
            status.pop("startTime", None)
        elif not status.get("startTime"):
            status["startTime"] = now()
        if finished == "Complete":
            status["completionTime"] = now()

    def _say_end(self, job: Obj, finished: str, conditions: list[Obj]) -> None:
        if finished == "Complete":
            self.recorder.record(job, NORMAL, "Completed", "Job completed")
        else:
            end = next(one for one in conditions if one["type"] == "Failed")
            self.recorder.record(job, WARNING, end["reason"], end["message"])

    async def _write(self, job: Obj, status: Obj) -> Obj:
        """Replace the job's status if it changed; gives the job as it is then."""
        old = job.get("status") or {}
        if old == status:
            return job
        # A merge patch only drops what is said to be null.
        patch = {**{key: None for key in old if key not in status}, **status}
        for part in ("succeeded", "failed"):
            if "uncountedTerminatedPods" in status and part not in status["uncountedTerminatedPods"]:
                patch["uncountedTerminatedPods"] = {**patch["uncountedTerminatedPods"], part: None}
        meta = job["metadata"]
        body = {"metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}, "status": patch}
        changed = await self.api.patch(JOBS, meta["name"], body, meta["namespace"], subresource="status")
        await self._jobs.until_seen(changed)
        return changed

    async def _adjust(self, job: Obj) -> None:
        """Make the pods that are missing, or delete those beyond the parallelism."""
        known = self._jobs.get(*key_of(job))
        if known is None or known["metadata"]["uid"] != job["metadata"]["uid"] or is_going(known):
            return
        job, spec = known, known["spec"]
        pods = self._pods.controlled_by(job["metadata"]["uid"])
        if any(is_tracked(pod) and not is_active(pod) for pod in pods):
            return  # an end that came in since we counted; its event has us count again
        active = [pod for pod in pods if is_active(pod)]
        wanted = spec.get("parallelism", 1)
        succeeded = (job.get("status") or {}).get("succeeded", 0)
        if spec.get("completions") is not None:
            wanted = min(wanted, spec["completions"] - succeeded)
        elif succeeded:
            wanted = min(wanted, len(active))
        for pod in sorted(active, key=lambda pod: (is_ready(pod), _uid(pod)))[: max(0, len(active) - wanted)]:
            await self._delete(job, pod)
        standing = len(active)
        if spec.get("podReplacementPolicy") == "Failed":
            standing += sum(1 for pod in pods if is_going(pod) and not is_over(pod))
        if wanted > standing and not self._must_wait(job):
            await asyncio.gather(*(self._make_pod(job) for _ in range(min(wanted - standing, MOST_AT_ONCE))))

    def _must_wait(self, job: Obj) -> bool:
        """Say whether the last failure is too fresh for another pod, and come back when it is not."""
        failures, at_s = self._failures.get("/".join(key_of(job)), (0, 0.0))
        if not failures or not at_s:
            return False
        rest_s: float = at_s + min(BACKOFF_S * 2 ** (failures - 1), BACKOFF_MAX_S) - time.monotonic()
        if rest_s > 0:
            self.wake_after(key_of(job), rest_s)
        return rest_s > 0

    async def _make_pod(self, job: Obj) -> None:
        pod = pod_from(job["spec"]["template"], job)
        pod["metadata"]["finalizers"] = [*pod["metadata"].get("finalizers", []), TRACKING]
        made = await self.api.create("pods", pod, pod["metadata"]["namespace"])
        self.recorder.record(job, NORMAL, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")
        await self._pods.until_seen(made)


_SHOWN = ("ready", "terminating", "uncountedTerminatedPods")


def _uid(pod: Obj) -> str:
    return str(pod["metadata"]["uid"])


class TtlController(Controller):
    """Deletes finished Jobs once their time to live is over."""

    name = "ttl-after-finished-controller"

    def __init__(self, world: World, recorder: Recorder) -> None:
        super().__init__(world, recorder)
        self._jobs = world.informer(JOBS)
        self.wakes_itself(JOBS)

    async def reconcile(self, key: Key) -> None:
        """Delete a job that is over, or come back when it will be."""
        job = self._jobs.get(*key)
        ttl_s = None if job is None else job["spec"].get("ttlSecondsAfterFinished")
        if job is None or ttl_s is None or is_going(job) or not is_finished(job):
            return
        conditions = (job.get("status") or {}).get("conditions") or []
        ended = max(
            seconds_of(one["lastTransitionTime"])
            for one in conditions
            if one["type"] in ("Complete", "Failed")
        )
        rest_s = ended + ttl_s - time.time()
        if rest_s > 0:
            self.wake_after(key, rest_s)
            return
        namespace, name = key
        uid = job["metadata"]["uid"]
        await ignoring_absence(self.api.delete(JOBS, name, namespace, propagation="Foreground", uid=uid))
