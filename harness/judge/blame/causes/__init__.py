"""Every cause there is, in the order in which ties are decided; a new one is a file here and an entry in `CAUSES`.

First what the client saw with its own eyes, then what the server checks, then what becomes of a window afterwards; what merely may
have held comes last. `VERSION` grows whenever a rule changes what it claims: old records judged again may then be blamed otherwise.
"""

from harness.judge.blame.cause import Cause
from harness.judge.blame.causes import (
    broker_unavailable,
    feed_unavailable,
    focus_server_down,
    foreign_load,
    generator,
    gpu_exhausted,
    idle_cleanup,
    invalid_request,
    kubernetes_unreachable,
    max_windows,
    mongodb_unavailable,
    no_recording,
    path,
    pod_network_exhausted,
    pod_start_failed,
    server_overload,
    server_starting,
    stream_pod_lost,
    waiting_for_fibre,
    worker_unavailable,
)

VERSION = 2

CAUSES: tuple[Cause, ...] = (
    invalid_request.CAUSE,
    no_recording.CAUSE,
    generator.CAUSE,
    focus_server_down.CAUSE,
    path.CAUSE,
    kubernetes_unreachable.CAUSE,
    gpu_exhausted.CAUSE,
    worker_unavailable.CAUSE,
    max_windows.CAUSE,
    mongodb_unavailable.CAUSE,
    broker_unavailable.CAUSE,
    waiting_for_fibre.CAUSE,
    pod_network_exhausted.CAUSE,
    pod_start_failed.CAUSE,
    idle_cleanup.CAUSE,
    feed_unavailable.CAUSE,
    stream_pod_lost.CAUSE,
    foreign_load.CAUSE,
    server_overload.CAUSE,
    server_starting.CAUSE,
)
