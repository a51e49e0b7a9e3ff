"""The long-lived workloads of a new sandbox and their services: Focus Server, MongoDB, the broker, the player.

Used by `manifests.apply`. They run on the master, which windows never use, so that a fault on a worker is a fault
on a worker. The broker exists only where a RabbitMQ can be started.
"""

from __future__ import annotations

import shutil
from typing import Any, Literal

from harness.sandbox.pods import feed
from harness.sandbox.pods.resolve import env_list
from harness.sandbox.settings import Settings

Obj = dict[str, Any]
BrokerKind = Literal["own", "external", "none"]

ON_MASTER = [
    {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"},
]


def broker_kind(settings: Settings) -> BrokerKind:
    """Return which broker a sandbox has: a URL outside, its own where RabbitMQ is installed, or none."""
    if settings.broker_url:
        return "external"
    return "own" if settings.broker == "auto" and shutil.which("rabbitmq-server") else "none"


def workload_objects(settings: Settings) -> list[tuple[str, Obj]]:
    """Return services and workloads in the order of their creation."""
    broker = broker_kind(settings)
    env = {} if broker == "none" else {feed.BROKER_ENV: settings.broker_name}
    field = settings.mode == "field"
    mongodb, focus = settings.mongodb_name, settings.focus_name
    objects: list[tuple[str, Obj]] = []
    if broker == "own":
        # First, because RabbitMQ takes longest to start.
        objects += [
            (
                "services",
                _service(
                    settings, settings.broker_name, settings.broker_selector, settings.broker_port, field
                ),
            ),
            ("statefulsets.apps", _broker(settings)),
        ]
    return [
        *objects,
        ("services", _service(settings, mongodb, settings.mongodb_selector, settings.mongodb_port, field)),
        ("deployments.apps", _mongodb(settings)),
        ("services", _service(settings, focus, settings.focus_selector, settings.focus_port)),
        ("deployments.apps", _focus_server(settings, env)),
        ("deployments.apps", _player(settings, env)),
    ]


def _focus_server(settings: Settings, env: dict[str, str]) -> Obj:
    probe = {
        "httpGet": {"path": "/ack", "port": settings.focus_port},
        "periodSeconds": settings.probe_period_s,
        "timeoutSeconds": 2,
        "failureThreshold": 3,
    }
    container = _container(settings, "focus-server", settings.focus_port, probe, env)
    pod = {"serviceAccountName": settings.focus_name, "terminationGracePeriodSeconds": 5}
    return _deployment(settings, settings.focus_name, settings.focus_selector, container, pod)


def _mongodb(settings: Settings) -> Obj:
    probe = {
        "tcpSocket": {"port": settings.mongodb_port},
        "periodSeconds": settings.probe_period_s,
        "failureThreshold": 3,
    }
    container = _container(settings, "mongodb", settings.mongodb_port, probe, {})
    container["volumeMounts"] = [{"name": "data", "mountPath": "/data/db"}]
    pod = {
        # SecantusDB waits for its clients when asked to end; killed it loses nothing.
        "terminationGracePeriodSeconds": 2,
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": settings.mongodb_name}}],
    }
    made = _deployment(settings, settings.mongodb_name, settings.mongodb_selector, container, pod)
    made["spec"]["strategy"] = {"type": "Recreate"}
    return made


def _player(settings: Settings, env: dict[str, str]) -> Obj:
    container = {"name": "player", "image": settings.image("player"), "env": env_list(env)}
    pod = {"terminationGracePeriodSeconds": 2}
    return _deployment(settings, settings.player_name, settings.player_selector, container, pod)


def _broker(settings: Settings) -> Obj:
    probe = {
        "tcpSocket": {"port": settings.broker_port},
        "periodSeconds": settings.probe_period_s,
        "failureThreshold": 3,
    }
    container = _container(settings, "rabbitmq", settings.broker_port, probe, {})
    container["volumeMounts"] = [{"name": "data", "mountPath": "/var/lib/rabbitmq"}]
    pod = {
        "terminationGracePeriodSeconds": 10,
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": settings.broker_name}}],
    }
    made = _deployment(settings, settings.broker_name, settings.broker_selector, container, pod)
    made["kind"] = "StatefulSet"
    made["spec"]["serviceName"] = settings.broker_name
    return made


def _container(settings: Settings, program: str, port: int, probe: Obj, env: dict[str, str]) -> Obj:
    return {
        "name": program,
        "image": settings.image(program),
        "ports": [{"containerPort": port}],
        "readinessProbe": probe,
        "env": env_list(env),
    }


def _deployment(settings: Settings, name: str, selector: str, container: Obj, pod: Obj) -> Obj:
    labels = _labels(selector)
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": settings.master_node},
        "tolerations": ON_MASTER,
        **pod,
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": settings.namespace, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _service(settings: Settings, name: str, selector: str, port: int, public: bool = False) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": settings.namespace, "labels": _labels(selector)},
        "spec": {
            "type": "LoadBalancer" if public else "ClusterIP",
            "selector": _labels(selector),
            "ports": [{"protocol": "TCP", "port": port, "targetPort": port}],
        },
    }


def _labels(selector: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in selector.split(","))
