"""The Kubernetes API as the harness uses it: plain JSON objects, short timeouts, our own errors.

The only package that imports the `kubernetes` library. Faults, watchers, doctor and preflight call it. It never retries a
request by itself and never guesses a context: which cluster is meant stands in the target file, and is checked.
"""

from harness.cluster.client import Cluster, connect, connect_inside
from harness.cluster.errors import ClusterRefused, Conflict, Gone, Missing
from harness.cluster.execute import Ran
from harness.cluster.kinds import Object, gpu_request, is_ready, labels_of, name_of, uid_of, version_of
from harness.cluster.lease import (
    Lease,
    halt,
    halt_line,
    holder_of_this_process,
    holds_now,
    is_dead_here,
    live_run,
    operator,
    refuse_if_in_use,
)
from harness.cluster.rights import Right, missing_rights, missing_rights_of, service_account
from harness.cluster.watch import watch

__all__ = [
    "Cluster",
    "ClusterRefused",
    "Conflict",
    "Gone",
    "Lease",
    "Missing",
    "Object",
    "Ran",
    "Right",
    "connect",
    "connect_inside",
    "gpu_request",
    "halt",
    "halt_line",
    "holder_of_this_process",
    "holds_now",
    "is_dead_here",
    "is_ready",
    "labels_of",
    "live_run",
    "missing_rights",
    "missing_rights_of",
    "name_of",
    "operator",
    "refuse_if_in_use",
    "service_account",
    "uid_of",
    "version_of",
    "watch",
]
