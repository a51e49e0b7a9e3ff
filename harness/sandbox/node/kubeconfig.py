"""A kubeconfig of a pod's own identity, for foreign programs in its surroundings: what they may is what the pod may.

Written by the kubelet into the pod's directory, for commands of `kubectl exec` and for containers that run a program of the
host. It says where the API is and carries the token of the pod's service account.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.sandbox.pods.context import PodContext


def write_kubeconfig(context: PodContext, file: Path) -> Path:
    """Write the kubeconfig of a pod and give its path."""
    file.touch(mode=0o600)
    file.write_bytes(msgspec.json.encode(_kubeconfig(context)))  # JSON is YAML
    return file


def _kubeconfig(context: PodContext) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "pod",
        "clusters": [
            {
                "name": "pod",
                "cluster": {"server": context.api_url, "certificate-authority": str(context.ca_file)},
            }
        ],
        "users": [{"name": "pod", "user": {"token": context.token}}],
        "contexts": [
            {"name": "pod", "context": {"cluster": "pod", "user": "pod", "namespace": context.namespace}}
        ],
    }
