"""What the doctor looks at, in the order of the page. A new check is one file, an entry here, and a row in docs/doctor.md."""

from collections.abc import Callable
from dataclasses import dataclass

from harness.doctor.checks import (
    api_access,
    broker,
    endpoints,
    fibre,
    focus_rights,
    focus_server,
    gpu,
    leaks,
    leftovers,
    log,
    max_windows,
    mongodb,
    nodes,
    path,
    pod_network,
)
from harness.doctor.result import CheckResult
from harness.doctor.sight import Sight


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, what it asks, and how it looks (raises CannotLook)."""

    name: str
    asks: str
    look: Callable[[Sight], CheckResult]


CHECKS: tuple[Check, ...] = tuple(
    Check(module.NAME, module.ASKS, module.look)
    for module in (
        focus_server,
        endpoints,
        path,
        log,
        api_access,
        focus_rights,
        nodes,
        gpu,
        pod_network,
        max_windows,
        mongodb,
        broker,
        fibre,
        leaks,
        leftovers,
    )
)
NAMES = tuple(check.name for check in CHECKS)
