"""Is a sandbox ready, and if not, what is missing? Asked by `up` and `status`, over the wire like any client.

Ready means: the control plane answers, every node is Ready, every workload has the pods it wants, the ingress answers GET
/focus-server/ack with 200, and Focus Server knows the fibre, unless it is set to wait for it. It reads only, and takes no
answer for granted: what cannot be asked is missing.
"""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any

from harness.errors import Unreachable
from harness.sandbox.manifests import workloads_wanted
from harness.sandbox.state import API_PORT, INGRESS_PORT, Sandbox

TIMEOUT_S = 3.0
_PATHS = {"deployments.apps": "deployments", "statefulsets.apps": "statefulsets"}


@dataclass(frozen=True)
class Part:
    """One thing that must be so: what, whether it is, and what was seen."""

    name: str
    ready: bool
    seen: str


def read_api(sandbox: Sandbox, path: str) -> dict[str, Any]:
    """GET a path of the API server as admin; Unreachable when it does not answer, or not with 200."""
    line = None
    try:
        token = json.loads((sandbox.root / "admin.json").read_text(encoding="utf-8"))["token"]
        tls = ssl.create_default_context(cafile=str(sandbox.ca_file))
        line = http.client.HTTPSConnection(
            sandbox.addresses.api_host, API_PORT, timeout=TIMEOUT_S, context=tls
        )
        line.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = line.getresponse()
        if answer.status != 200:
            raise Unreachable(
                f"the control plane of sandbox {sandbox.name!r} answers {answer.status} to GET {path}"
            )
        found: dict[str, Any] = json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unreachable(
            f"the control plane of sandbox {sandbox.name!r} does not answer ({error}); "
            f"look with `harness sandbox status --name {sandbox.name}`"
        ) from error
    else:
        return found
    finally:
        if line is not None:
            line.close()


def parts_of(sandbox: Sandbox) -> list[Part]:
    """Look at everything that makes a sandbox ready, in the order in which it becomes so."""
    try:
        nodes = read_api(sandbox, "/api/v1/nodes")["items"]
    except Unreachable as error:
        return [Part("control plane", ready=False, seen=str(error.__cause__ or error))]
    parts = [Part("control plane", ready=True, seen="answers"), _nodes(sandbox, nodes)]
    parts += [_workload(sandbox, resource, name) for resource, name in workloads_wanted(sandbox.settings)]
    parts.append(_ingress(sandbox))
    return parts if sandbox.settings.waiting_for_fiber else [*parts, _fibre(sandbox)]


def _nodes(sandbox: Sandbox, nodes: list[dict[str, Any]]) -> Part:
    ready = [
        node["metadata"]["name"]
        for node in nodes
        for condition in node["status"].get("conditions") or []
        if condition["type"] == "Ready" and condition["status"] == "True"
    ]
    return Part("nodes", set(sandbox.nodes) <= set(ready), f"{len(ready)}/{len(sandbox.nodes)} Ready")


def _workload(sandbox: Sandbox, resource: str, name: str) -> Part:
    path = f"/apis/apps/v1/namespaces/{sandbox.settings.namespace}/{_PATHS[resource]}/{name}"
    try:
        found = read_api(sandbox, path)
    except Unreachable as error:
        return Part(name, ready=False, seen=str(error.__cause__ or error))
    wanted = found["spec"].get("replicas", 1)
    available = found.get("status", {}).get("availableReplicas") or 0
    return Part(name, available >= wanted, f"{available}/{wanted} available")


def _ingress(sandbox: Sandbox) -> Part:
    path = sandbox.settings.ingress_prefix + "/ack"
    try:
        code, _ = _ask_focus_server(sandbox, path)
    except (OSError, http.client.HTTPException) as error:
        return Part("ingress", ready=False, seen=str(error))
    return Part("ingress", code == 200, f"GET {path}: {code}")


def _fibre(sandbox: Sandbox) -> Part:
    path = sandbox.settings.ingress_prefix + "/live_metadata"
    try:
        code, body = _ask_focus_server(sandbox, path)
        known = code == 200 and bool(json.loads(body)["prr"])
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        return Part("fibre", ready=False, seen=str(error))
    return Part("fibre", known, "known to Focus Server" if known else "Focus Server waits for the player")


def _ask_focus_server(sandbox: Sandbox, path: str) -> tuple[int, bytes]:
    line = http.client.HTTPConnection(sandbox.addresses.ingress_host, INGRESS_PORT, timeout=TIMEOUT_S)
    try:
        line.request("GET", path)
        answer = line.getresponse()
        return answer.status, answer.read()
    finally:
        line.close()
