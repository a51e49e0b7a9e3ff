"""Config maps and secrets of a new sandbox, by the names they have in the field.

Used by `manifests.apply`. Focus Server's pod takes its numbers from the sandbox's settings; these objects are what
a person or a check finds when looking for them. Credentials open nothing but this sandbox.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from harness.sandbox.pods.analyzer_arguments import Assignment
from harness.sandbox.pods.derived import View
from harness.sandbox.pods.focus_server.objects import cleanup_job, grpc_job, service
from harness.sandbox.settings import Settings

Obj = dict[str, Any]


def configuration_objects(settings: Settings) -> list[tuple[str, Obj]]:
    """Return config maps and secrets."""
    mongodb = {
        "username": settings.mongodb_user,
        "password": settings.mongodb_password,
        "database": settings.mongodb_database,
    }
    broker = {"username": settings.broker_user, "password": settings.broker_password}
    return [
        (
            "configmaps",
            _config_map("prisma-config", settings, {"default_config.py": _default_config(settings)}),
        ),
        ("configmaps", _config_map("grpc-job-template", settings, {"job.yml": _template(settings)})),
        ("secrets", _secret(settings.mongodb_name, settings, mongodb)),
        ("secrets", _secret(settings.broker_name, settings, broker)),
    ]


def _default_config(settings: Settings) -> str:
    return (
        "class Focus:\n"
        f"    storage_mount_path = {settings.storage_mount_path!r}\n"
        "    k8s_mode = True\n"
        f"    focus_view_url = '{settings.stream_url_scheme}$WORKER_ADDRESS'\n"
        f"    max_windows = {settings.max_windows}\n"
    )


def _template(settings: Settings) -> str:
    """Return the window's objects with `$JOB_ID` for the id and slot 0, as documents of one file."""
    view = View(0, 0, settings.default_nfft, 0, settings.prr / 4, 0.1, settings.stream_amount)
    assignment = Assignment("0-0", view)
    documents = (
        grpc_job(assignment, settings, {}),
        cleanup_job(assignment, settings, {}),
        service(assignment, 0, settings),
    )
    # JSON is YAML: the template needs no writer of its own.
    return "---\n".join(json.dumps(doc, indent=1).replace("0-0", "$JOB_ID") + "\n" for doc in documents)


def _config_map(name: str, settings: Settings, data: dict[str, str]) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": settings.namespace},
        "data": data,
    }


def _secret(name: str, settings: Settings, data: dict[str, str]) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": settings.namespace},
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }
