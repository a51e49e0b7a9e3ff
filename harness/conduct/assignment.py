"""Translate the plan into what the load process is told: its endpoint, stages on the run's clock, and its budget."""

from pathlib import Path

from harness.campaign import Plan
from harness.campaign.arrivals import stretches
from harness.campaign.model import Stage
from harness.clock import SystemClock, seconds
from harness.conduct.folder import RunFolder
from harness.conduct.own import feed_plan, own_plan
from harness.focus.arrivals import Arrivals, Stretch
from harness.focus.endpoint import endpoint_of
from harness.focus.seam import Budget, Payload
from harness.load.plan import LoadPlan, Step
from harness.target import Target


def load_plan(
    planned: Plan,
    target: Target,
    folder: RunFolder,
    clock: SystemClock,
    begins_ns: int,
    campaign_file: Path,
) -> LoadPlan:
    """Return the load process' orders; its first stage starts at instant `begins_ns`. Files are named from the campaign file's folder."""
    load, begins_s = planned.campaign.load, seconds(begins_ns)
    request = load.request
    return LoadPlan(
        endpoint=endpoint_of(target),
        budget=Budget(
            max_jobs=target.budget.max_jobs,
            max_rate_per_s=target.budget.max_rate_per_s,
            max_duration_s=target.budget.max_duration_s,
            max_open_windows=target.budget.max_open_windows,
        ),
        payload=Payload(
            duration_s=request.duration_s,
            height=request.height,
            nfft=request.nfft,
            channels=request.channels.max - request.channels.min + 1,
            channel_min=request.channels.min,
            frequency_min_hz=float(request.frequency.min),
            frequency_max_hz=float(request.frequency.max),
        ),
        max_windows=target.window_limit,
        stages=_steps(load.stages, begins_s),
        own=own_plan(planned.campaign, campaign_file),
        feed=feed_plan(planned.campaign, campaign_file),
        arrivals=arrivals_of(planned, begins_s),
        end_s=begins_s
        + planned.longest_s,  # the conductor ends it earlier; this is for a conductor that cannot
        creates_in_flight=load.creates_in_flight,
        hold_s=(load.hold.min, load.hold.max),
        after_refusal_s=load.after_refusal,
        suspend_after=load.suspend_after,
        storm=load.storm,
        personas=load.shares,
        transport=load.transport,
        reference_share=load.reference_share,
        full_checks=load.full_checks,
        seed=planned.campaign.seed,
        history=str(folder.history),
        clock_start_ns=clock.start_ns,
        live_socket=str(folder.live_socket),
    )


def _steps(stages: tuple[Stage, ...], begins_s: float) -> tuple[Step, ...]:
    steps: list[Step] = []
    for stage in stages:
        own = steps[-1].own_users if steps else 0
        own = own if stage.own_users is None else stage.own_users
        steps.append(Step(begins_s + stage.at, stage.open_windows, own))
    return tuple(steps)


def arrivals_of(planned: Plan, begins_s: float) -> Arrivals | None:
    """Return the campaign's arrivals on the run's clock, None if it has none; raises InputError for more than can be played."""
    arrivals = planned.campaign.load.arrivals
    if arrivals is None:
        return None
    return Arrivals(
        process=arrivals.process,
        stretches=tuple(
            Stretch(begins_s + begin, begins_s + end, rate_from, rate_to)
            for begin, end, rate_from, rate_to in stretches(arrivals, planned.duration_s)
        ),
        seed=planned.campaign.seed,
        late_after_s=arrivals.late_after,
    )
