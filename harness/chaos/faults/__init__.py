"""The faults: one file each, listed here and nowhere else.

docs/faults.md has a row for each; a test keeps both equal. A new fault is its file, its place in `FAULTS`, an action of its name in
`harness/chaos/actions.py`, and its experiment.
"""

from typing import Any

from harness.chaos.faults.cordon_worker import CordonWorker
from harness.chaos.faults.fault import Case, Fault, Loss, Reading, Signature
from harness.chaos.faults.focus_server_outage import FocusServerOutage
from harness.chaos.faults.kill_focus_server import KillFocusServer
from harness.chaos.faults.kill_mongo import KillMongo
from harness.chaos.faults.mongo_outage import MongoOutage
from harness.chaos.faults.saturate_gpu import SaturateGpu
from harness.chaos.faults.worker_not_ready import WorkerNotReady
from harness.errors import TargetError

FAULTS: tuple[Fault[Any, Any], ...] = (
    CordonWorker(),
    WorkerNotReady(),
    KillMongo(),
    MongoOutage(),
    SaturateGpu(),
    KillFocusServer(),
    FocusServerOutage(),
)


def fault_named(kind: str) -> Fault[Any, Any]:
    """Return the fault of that kind; raises TargetError if this harness does not know it."""
    for fault in FAULTS:
        if fault.kind == kind:
            return fault
    known = ", ".join(fault.kind for fault in FAULTS)
    raise TargetError(
        f"fault {kind!r} is not known here (known: {known}); use the harness that wrote the journal"
    )


__all__ = ["FAULTS", "Case", "Fault", "Loss", "Reading", "Signature", "fault_named"]
