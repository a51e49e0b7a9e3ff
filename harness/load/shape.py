"""How many users there are: a pure function of the run's time, taken from the plan.

Locust asks once a second; users beyond the number are stopped, which closes their windows. Used when a plan has stages;
without them Locust's own `-u`, `-r` and `-t` decide.
"""

from typing import ClassVar, Self

from locust import LoadTestShape

from harness.clock import SystemClock, seconds
from harness.load.plan import LoadPlan, wanted_own, wanted_windows


class CampaignShape(LoadTestShape):  # type: ignore[misc]  # Locust is typed in part
    """Follows a plan's stages on the run's clock. Abstract, and so not used by Locust, until it is given a plan by `of`."""

    abstract = True
    plan: ClassVar[LoadPlan]

    @classmethod
    def of(cls, plan: LoadPlan) -> type[Self]:
        """Return the shape that follows `plan`."""
        return type(cls.__name__, (cls,), {"abstract": False, "plan": plan, "__module__": cls.__module__})

    def tick(self) -> tuple[int, float] | None:
        """Return how many users are wanted now and how fast they come (per second); None ends the load."""
        wanted = self.wanted()
        if wanted is None:
            return None
        return wanted + (self.plan.arrivals is not None), self.plan.spawn_rate_per_s

    def wanted(self) -> int | None:
        """Return how many windows are wanted now; None when the load is over."""
        return wanted_windows(self.plan, self.elapsed_s())

    def elapsed_s(self) -> float:
        """Return how far into the run we are; without a conductor the stages count from Locust's own start."""
        if not self.plan.clock_start_ns:
            return float(self.get_run_time())
        return seconds(SystemClock(self.plan.clock_start_ns).now())


class OwnShape(CampaignShape):
    """How many users of somebody's own locustfile there are: the stages' `own_users`."""

    abstract = True

    def tick(self) -> tuple[int, float] | None:
        """Return how many of them are wanted now and how fast they come; None ends them."""
        wanted = wanted_own(self.plan, self.elapsed_s())
        return None if wanted is None else (wanted, self.plan.spawn_rate_per_s)
