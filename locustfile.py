"""Load for a Focus Server with Locust alone: `locust -f locustfile.py --host http://HOST/focus-server`.

`-u` is the number of windows wanted open; Locust's pages show four rows: POST /configure, window ready, first frame, stream.
`--headless -u 5 -r 5 -t 1m` works as well; `locust -f locustfile.py --help` lists the load's own options. The target file named
by HARNESS_TARGET (default: the running sandbox) gives URL, TLS, timeouts and budget; `--host` overrides the URL, and is enough
without a target. HARNESS_PLAN names a load plan (JSON): then its stages decide how many windows are open, and when.

Locust must be imported before everything else, because it patches the process. No gRPC is imported here at all: all traffic is
the engine's, a process of its own. Each start makes a run folder under reports/, which `harness judge` can read.
"""

from locust import events

import os
from pathlib import Path
from typing import Any

from harness.load.alone import add_options
from harness.load.hooks import refused
from harness.load.locust_alone import Alone
from harness.load.plan import LoadPlan, read_plan
from harness.load.shape import CampaignShape
from harness.load.users import (
    Abandoner,
    Churner,
    HistoricAnalyst,
    InvalidClient,
    LiveViewer,
    MetadataPoller,
    PlannedArrivals,
    SingleChannel,
    SlowReader,
    WaterfallWatcher,
    Zombie,
)

__all__ = [
    "Abandoner",
    "CampaignShape",
    "Churner",
    "HistoricAnalyst",
    "InvalidClient",
    "LiveViewer",
    "MetadataPoller",
    "PlannedArrivals",
    "SingleChannel",
    "SlowReader",
    "WaterfallWatcher",
    "Zombie",
]

PLAN_FILE = os.environ.get("HARNESS_PLAN", "")
PLAN: LoadPlan | None = refused(lambda: read_plan(Path(PLAN_FILE))) if PLAN_FILE else None

if PLAN is not None and (PLAN.stages or PLAN.arrivals is not None):
    CampaignShape = CampaignShape.of(PLAN)  # type: ignore[misc]

events.init_command_line_parser.add_listener(add_options)


@events.init.add_listener  # type: ignore[untyped-decorator]
def begin(environment: Any, **_: Any) -> None:
    """Tie the load to Locust's environment."""
    Alone(environment, PLAN)
