"""The variables other tools find a sandbox by; printed by `harness sandbox env`. Pure.

MongoDB and the broker are named at a node port of a worker where they have one, else at their ClusterIP.
"""

from __future__ import annotations

from typing import Any

from harness.sandbox.manifests import broker_kind
from harness.sandbox.readiness import read_api
from harness.sandbox.state import Sandbox


def variables(sandbox: Sandbox) -> dict[str, str]:
    """Return the variables by name; a broker's only where there is one."""
    settings = sandbox.settings
    found = {
        "HARNESS_SANDBOX": sandbox.name,
        "HARNESS_SANDBOX_DIR": str(sandbox.root),
        "FOCUS_URL": sandbox.focus_url,
        "KUBECONFIG": str(sandbox.kubeconfig),
        "KUBE_NAMESPACE": settings.namespace,
        "KUBE_SYSTEM_UID": read_api(sandbox, "/api/v1/namespaces/kube-system")["metadata"]["uid"],
        "FOCUS_SERVER_NAME": settings.focus_name,
        "FOCUS_SERVER_SELECTOR": settings.focus_selector,
        "FOCUS_SERVER_SERVICE": settings.focus_name,
        "MONGODB_NAME": settings.mongodb_name,
        "MONGODB_SELECTOR": settings.mongodb_selector,
        "MONGODB_SERVICE": settings.mongodb_name,
        "BROKER_NAME": settings.broker_name,
        "BROKER_SELECTOR": settings.broker_selector,
        "PLAYER_NAME": settings.player_name,
        "PLAYER_SELECTOR": settings.player_selector,
        "MAX_WINDOWS": str(settings.max_windows or "unlimited"),
        "HARNESS_SANDBOX_PID": str(sandbox.supervisor_pid),
    }
    place = _place(sandbox, settings.mongodb_name, settings.mongodb_port)
    login = f"{settings.mongodb_user}:{settings.mongodb_password}"
    found["MONGODB_URI"] = (
        f"mongodb://{login}@{place}/{settings.mongodb_database}?authSource={settings.mongodb_database}&directConnection=true"
    )
    kind = broker_kind(settings)
    if kind == "external":
        found["RABBITMQ_URI"] = settings.broker_url
    elif kind != "none":
        place = _place(sandbox, settings.broker_name, settings.broker_port)
        found["RABBITMQ_URI"] = f"amqp://{settings.broker_user}:{settings.broker_password}@{place}/%2F"
    return found


def _place(sandbox: Sandbox, service: str, port: int) -> str:
    """Return host:port of a service as reached from outside the pods."""
    path = f"/api/v1/namespaces/{sandbox.settings.namespace}/services/{service}"
    spec: dict[str, Any] = read_api(sandbox, path)["spec"]
    chosen = next((one for one in spec["ports"] if one["port"] == port), spec["ports"][0])
    if chosen.get("nodePort"):
        return f"{sandbox.node_ip(sandbox.nodes[-1])}:{chosen['nodePort']}"
    return f"{spec['clusterIP']}:{chosen['port']}"
