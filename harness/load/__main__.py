"""`python -m harness.load --plan FILE`: play a load plan headless, until its end or SIGTERM. How the conductor starts load.

Exit codes as everywhere; 0 whether the plan ended or SIGTERM ended it: both are orderly. Drains within 10 seconds. A lifeline
pipe (HARNESS_LIFELINE_FD) that closes means that the conductor is gone, and ends the load like SIGTERM.
"""

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402  (everything else comes after the patch)
import logging  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from gevent.event import Event  # noqa: E402
from locust.env import Environment  # noqa: E402

from harness.errors import HarnessError  # noqa: E402
from harness.load.hooks import Hooks, complain  # noqa: E402
from harness.load.own import OwnUsers, show  # noqa: E402
from harness.load.plan import LoadPlan, read_plan  # noqa: E402
from harness.load.shape import CampaignShape  # noqa: E402
from harness.load.users import PlannedArrivals, chosen  # noqa: E402

LIFELINE_VARIABLE = "HARNESS_LIFELINE_FD"


def play(plan: LoadPlan) -> int:
    """Play `plan` to its end; return the exit code."""
    own = OwnUsers(plan, plan.own) if plan.own is not None else None
    users = chosen(plan.personas) if plan.stages or plan.arrivals is None else []
    if plan.arrivals is not None:
        users.append(PlannedArrivals)
    environment = Environment(user_classes=users, shape_class=CampaignShape.of(plan)(), stop_timeout=0)
    if own is not None:
        environment.events.test_stop.add_listener(own.end)  # before ours, which ends the engine
    hooks = Hooks(environment, lambda _: plan, also_wanted=own.windows if own is not None else lambda: 0)
    if own is not None:
        environment.events.test_start.add_listener(lambda **_: own.begin(hooks.session, hooks.requested))
    runner = environment.create_local_runner()
    told = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, told.set)
    lifeline = _watch_lifeline(told)
    runner.start_shape()
    runner.shape_greenlet.rawlink(lambda _: told.set())
    told.wait()
    if lifeline is not None:
        lifeline.stop()
    runner.quit()
    environment.events.quitting.fire(environment=environment)
    return int(hooks.ending)


def _watch_lifeline(told: Event) -> Any:
    """Set `told` when the other end of the lifeline pipe is closed; nobody ever writes to it."""
    descriptor = os.environ.pop(LIFELINE_VARIABLE, None)
    if descriptor is None:
        return None
    watcher = gevent.get_hub().loop.io(int(descriptor), 1)
    watcher.start(told.set)
    return watcher


def main() -> int:
    """Read the plan and play it."""
    parser = argparse.ArgumentParser(prog="python -m harness.load", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--plan", type=Path, help="a LoadPlan as JSON (harness.load.plan)")
    what.add_argument(
        "--look", type=Path, help="a locustfile: print its users and shapes, or what is wrong, as JSON"
    )
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    given = parser.parse_args()
    try:
        if given.look is not None:
            return show(given.look)
        return play(read_plan(given.plan))
    except HarnessError as error:
        complain(error)
        return int(error.code)


if __name__ == "__main__":
    sys.exit(main())
