"""Run a command in a container over the API's WebSocket, as `kubectl exec` does, and return how it ended.

Called by the doctor, to see the cluster as Focus Server sees it. It opens a connection of its own: the client library turns a
client that streams into a WebSocket client for as long as it does, and ours is used by several threads.
"""

import json
import time
from dataclasses import dataclass

from kubernetes.client import ApiClient, Configuration
from kubernetes.stream import stream

from harness.cluster.errors import ours

OUTPUT_CAP = 1 << 16


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended: its exit code (None if it was still running when its time was up), and what it printed."""

    code: int | None
    out: str
    err: str


def run_in_pod(
    settings: Configuration,
    namespace: str,
    pod: str,
    argv: list[str],
    *,
    container: str = "",
    within_s: float,
) -> Ran:
    """Run `argv` in the pod; raises AccessDenied, Missing or Unreachable as every other request does."""
    # With it come all models of the core API: a second of processor time that no other process needs.
    from kubernetes.client import CoreV1Api  # noqa: PLC0415

    until = time.monotonic() + within_s
    with ours(f"exec in {namespace}/{pod}"):
        client = ApiClient(configuration=settings)
        try:
            link = stream(
                CoreV1Api(client).connect_get_namespaced_pod_exec,
                pod,
                namespace,
                command=argv,
                stdout=True,
                stderr=True,
                stdin=False,
                tty=False,
                _preload_content=False,
                _request_timeout=within_s,
                **({"container": container} if container else {}),
            )
            try:
                link.run_forever(timeout=max(0.1, until - time.monotonic()))
                out, err = link.read_stdout(timeout=0.1) or "", link.read_stderr(timeout=0.1) or ""
                ended = link.read_channel(3, timeout=0.1)
            finally:
                link.close()
        finally:
            client.close()
    return Ran(_code(ended), out[:OUTPUT_CAP], err[:OUTPUT_CAP])


def _code(ended: str) -> int | None:
    """Read the exit code out of the Status that ends a command."""
    try:
        status = json.loads(ended)
    except (TypeError, ValueError):
        return None
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or ()
    told = [cause.get("message") for cause in causes if cause.get("reason") == "ExitCode"]
    return int(told[0]) if told and str(told[0]).isdigit() else 126
