"""The Kubernetes objects of one window: Job, cleanup Job and NodePort Service, as the seed and the field make them.

Used by the window flow; pure. Names are `grpc-job-<id>`, `cleanup-job-<id>`, `grpc-service-<id>`; the label `app`
carries the whole name, so that no selector finds all windows, as in the field.
"""

from __future__ import annotations

from typing import Any

from harness.sandbox.pods.analyzer_arguments import COMMAND, Assignment
from harness.sandbox.pods.resolve import env_list
from harness.sandbox.settings import Settings

Obj = dict[str, Any]
STREAM_PORT = 5000
CLEANUP_ACCOUNT = "cleanup-sa"


def grpc_job(assignment: Assignment, settings: Settings, extra_env: dict[str, str]) -> Obj:
    """Return the Job whose pod serves the window's streams with one GPU share."""
    name = f"grpc-job-{assignment.job_id}"
    share = {settings.gpu_resource: "1"}
    container = {
        "name": "grpc-server",
        "image": settings.image("pzlinux"),
        "command": list(COMMAND),
        "args": assignment.args(),
        "env": env_list({**assignment.env(), **extra_env}),
        "resources": {"requests": share, "limits": share},
        "ports": [{"containerPort": STREAM_PORT}],
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": bool(extra_env),
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    return _job(name, settings, settings.job_ttl_s, pod)


def cleanup_job(assignment: Assignment, settings: Settings, extra_env: dict[str, str]) -> Obj:
    """Return the Job whose pod removes the window when it is over."""
    name = f"cleanup-job-{assignment.job_id}"
    threshold = settings.cleanup_cpu_threshold_m
    env = {
        "JOB_ID": assignment.job_id,
        "CPU_USAGE_THRESHOLD": f"{threshold:g}",
        "ENABLE_CPU_USAGE_CHECK": "true",
        "MAX_CPU_USAGE_COUNT": str(settings.cleanup_low_readings),
        **extra_env,
    }
    pod = {
        "restartPolicy": "Never",
        "serviceAccountName": CLEANUP_ACCOUNT,
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "cleanup", "image": settings.image("cleanup-grpc"), "env": env_list(env)}],
    }
    return _job(name, settings, settings.cleanup_ttl_s, pod)


def service(assignment: Assignment, slot: int, settings: Settings, owner_uid: str = "") -> Obj:
    """Return the NodePort Service by which clients reach the window, owned by its Job where a uid is given."""
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": f"grpc-job-{assignment.job_id}",
        "uid": owner_uid,
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": f"grpc-service-{assignment.job_id}",
            "namespace": settings.namespace,
            **({"ownerReferences": [owner]} if owner_uid else {}),
        },
        "spec": {
            "type": "NodePort",
            "selector": {"app": f"grpc-job-{assignment.job_id}"},
            "ports": [
                {
                    "protocol": "TCP",
                    "port": settings.first_port + slot,
                    "targetPort": STREAM_PORT,
                    "nodePort": settings.node_port_base + slot,
                }
            ],
        },
    }


def _job(name: str, settings: Settings, ttl_s: int, pod: Obj) -> Obj:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": settings.namespace, "labels": {"app": name}},
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": ttl_s,
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    }
