"""The faults: one file each, listed here and nowhere else.

docs/faults.md has a row for each; a test keeps both equal. A new fault is its file, its place in `FAULTS`, an action of its name in
`harness/chaos/actions.py`, and its experiment. A fault from outside is named by a target file (`faults: [module:Class]`).
"""

import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.chaos.faults.api_server_down import ApiServerDown
from harness.chaos.faults.api_server_slow import ApiServerSlow
from harness.chaos.faults.block_cleanup import BlockCleanup
from harness.chaos.faults.cordon_worker import CordonWorker
from harness.chaos.faults.drain_worker import DrainWorker
from harness.chaos.faults.drop_network import DropNetwork
from harness.chaos.faults.exhaust_pod_ips import ExhaustPodIps
from harness.chaos.faults.fault import Case, Fault, Loss, Reading, Signature
from harness.chaos.faults.fill_windows import FillWindows
from harness.chaos.faults.focus_restart_without_mongo import FocusRestartWithoutMongo
from harness.chaos.faults.focus_server_crash_loop import FocusServerCrashLoop
from harness.chaos.faults.focus_server_outage import FocusServerOutage
from harness.chaos.faults.kill_focus_server import KillFocusServer
from harness.chaos.faults.kill_mongo import KillMongo
from harness.chaos.faults.kill_streams import KillStreams
from harness.chaos.faults.mongo_outage import MongoOutage
from harness.chaos.faults.mongo_slow import MongoSlow
from harness.chaos.faults.mongo_stall import MongoStall
from harness.chaos.faults.rabbitmq_outage import RabbitmqOutage
from harness.chaos.faults.revoke_kubernetes_access import RevokeKubernetesAccess
from harness.chaos.faults.saturate_gpu import SaturateGpu
from harness.chaos.faults.slow_network import SlowNetwork
from harness.chaos.faults.starve_feed import StarveFeed
from harness.chaos.faults.waiting_for_fibre import WaitingForFibre
from harness.chaos.faults.worker_crash import WorkerCrash
from harness.chaos.faults.worker_not_ready import WorkerNotReady
from harness.errors import TargetError

FAULTS: tuple[Fault[Any, Any], ...] = (
    CordonWorker(),
    DrainWorker(),
    WorkerNotReady(),
    WorkerCrash(),
    KillMongo(),
    MongoOutage(),
    MongoStall(),
    MongoSlow(),
    SaturateGpu(),
    KillFocusServer(),
    FocusServerOutage(),
    FocusServerCrashLoop(),
    FocusRestartWithoutMongo(),
    RevokeKubernetesAccess(),
    ExhaustPodIps(),
    ApiServerSlow(),
    ApiServerDown(),
    FillWindows(),
    KillStreams(),
    SlowNetwork(),
    DropNetwork(),
    RabbitmqOutage(),
    StarveFeed(),
    WaitingForFibre(),
    BlockCleanup(),
)


BLINDING_FAULTS = frozenset(fault.kind for fault in FAULTS if fault.blinds)
"""Kinds that take the API server away."""


def fault_named(kind: str, outside: Sequence[str] = ()) -> Fault[Any, Any]:
    """Return the fault of that kind, ours or one of those `outside` (`module:Class`); raises TargetError if there is none."""
    for fault in FAULTS:
        if fault.kind == kind:
            return fault
    for found in faults_outside(outside):
        if found.kind == kind:
            return found
    known = ", ".join([*(fault.kind for fault in FAULTS), *outside])
    raise TargetError(
        f"fault {kind!r} is not known here (known: {known}); use the harness that wrote the journal, or name its "
        "module under `faults` in the target file"
    )


def faults_outside(paths: Sequence[str]) -> tuple[Fault[Any, Any], ...]:
    """Load the faults that a target file names; raises TargetError for what cannot be loaded or is no fault."""
    return tuple(_load(path) for path in paths)


def _load(path: str) -> Fault[Any, Any]:
    module, separator, name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # `chaos run` and pytest look there too
    try:
        found = getattr(importlib.import_module(module), name)
        fault = found() if isinstance(found, type) else found
    except Exception as error:  # whatever its import raises
        raise TargetError(
            f"fault {path!r} (faults of the target file) cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not separator or not isinstance(fault, Fault):
        raise TargetError(f"fault {path!r} (faults of the target file) is no Fault; write module:Class")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?", fault.kind):
        raise TargetError(
            f"fault {path!r}: its kind {fault.kind!r} is to be up to 50 small letters, digits and -"
        )
    if any(fault.kind == ours.kind for ours in FAULTS):
        raise TargetError(f"fault {path!r}: its kind {fault.kind!r} is one of ours; give it another")
    return fault


__all__ = [
    "BLINDING_FAULTS",
    "FAULTS",
    "Case",
    "Fault",
    "Loss",
    "Reading",
    "Signature",
    "fault_named",
    "faults_outside",
]
