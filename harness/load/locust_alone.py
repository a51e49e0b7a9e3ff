"""What `locustfile.py` plugs into Locust: options, target, and a run folder for each start of the test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from locust.runners import MasterRunner, WorkerRunner

from harness.clock import Instant
from harness.errors import Exit, InputError
from harness.history.events import Event
from harness.load.alone import own_plan, own_target
from harness.load.crew import Follower, Leader
from harness.load.hooks import Hooks, refused
from harness.load.own_run import OwnRun
from harness.load.plan import LoadPlan
from harness.load.shares import share
from harness.load.users import OURS, HistoricAnalyst, LiveViewer, PlannedArrivals, chosen


class Alone:
    """Locust's own run of a load, for one Locust environment; `given` is a plan from a file, if there is one."""

    def __init__(self, environment: Any, given: LoadPlan | None) -> None:
        self._environment = environment
        self._given = given
        self._run: OwnRun | None = None
        if isinstance(environment.runner, WorkerRunner):  # the master has target, options and plan
            Follower(environment)
            return
        self._target = None if given is not None else refused(lambda: own_target(self._host()))
        plan = refused(self._plan)  # what is wrong on the command line is said before anything starts
        refused(lambda: self._choose_users(plan))
        if isinstance(environment.runner, MasterRunner):
            workers = max(1, int(environment.parsed_options.expect_workers))
            refused(lambda: share(plan, workers - 1, workers))
            Leader(environment, self._begin, self._write, self._end)
        else:
            Hooks(environment, self._begin, self._end).on_sigterm()

    def _choose_users(self, plan: LoadPlan) -> None:
        """Have those play who are named on the command line or in the plan; else live viewers and historic analysts, or the arrivals."""
        self._address_others(plan)
        users, named = self._environment.user_classes, self._environment.parsed_options.user_classes
        if plan.arrivals is None and named and users == [PlannedArrivals]:
            raise InputError("PlannedArrivals plays a plan of arrivals, and there is none: give --rate")
        if not named:
            both = [LiveViewer, HistoricAnalyst]
            people = chosen(plan.personas) if self._given is not None else both
            users[:] = (people if plan.stages or plan.arrivals is None else []) + self._others
        if plan.arrivals is not None and PlannedArrivals not in users:
            users.append(PlannedArrivals)
        elif plan.arrivals is None and PlannedArrivals in users:
            users.remove(PlannedArrivals)

    @property
    def _others(self) -> list[Any]:
        """The user classes of people's own locustfiles, given beside ours (`-f locustfile.py,mine.py`)."""
        return [user for user in self._environment.user_classes if user not in OURS]

    def _address_others(self, plan: LoadPlan) -> None:
        """Give them the target's address where they have none; Locust does so only with `--host`."""
        if plan.own is not None:
            raise InputError(
                "this plan names a locustfile: play it with `python -m harness.load --plan FILE`, or give the locustfile to Locust (-f)"
            )
        for user in self._others:
            if getattr(user, "host", None) is None:
                user.host = plan.endpoint.url

    def _host(self) -> str | None:
        host: str | None = self._environment.host
        return host

    def _plan(self) -> LoadPlan:
        if self._given is not None:
            host = self._host()
            if host is None:
                return self._given
            return msgspec.structs.replace(
                self._given,
                endpoint=msgspec.structs.replace(self._given.endpoint, url=host.rstrip("/")),
            )
        if self._target is None and not self._host():
            raise InputError("no server to load: give --host URL, or name a target file in HARNESS_TARGET")
        return own_plan(self._target, self._environment.parsed_options, self._host())

    def _begin(self, environment: Any) -> LoadPlan:
        reports = Path(environment.parsed_options.reports)
        self._run = OwnRun(reports, self._plan(), self._target)
        return self._run.plan

    def _write(self, event: Callable[[Instant], Event]) -> None:
        if self._run is not None:
            self._run.write(event)

    def _end(self, code: Exit, reason: str) -> None:
        if self._run is not None:
            self._run.end(code, reason)
            self._run = None
