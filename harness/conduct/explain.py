"""Say in plain words what a campaign will do: for `harness check --explain` and `harness run --dry-run`. Changes nothing."""

from collections.abc import Iterator
from pathlib import Path

from harness import chaos
from harness.campaign import HttpCondition, MeasureCondition, Plan, StopCondition
from harness.cluster import connect
from harness.conduct.assignment import arrivals_of
from harness.conduct.rehearsal import LONGEST_S
from harness.errors import HarnessError
from harness.measures.catalogue import BY_NAME
from harness.measures.live import LIVE, Feed
from harness.target import Target


def duration(planned: Plan, own_sandbox: bool) -> str:
    """Say how long a run takes and how long it can take at most; the first thing a run prints."""
    sandbox = f", and up to {minutes(2 * LONGEST_S)} for the sandbox" if own_sandbox else ""
    return (
        f"{planned.campaign.name}: takes {minutes(planned.duration_s)} of load, "
        f"at most {minutes(planned.longest_s)} with drain, undo, leftovers and report{sandbox}"
    )


def minutes(span_s: float) -> str:
    """Return a duration for people."""
    return f"{int(span_s) // 60} min {int(span_s) % 60:02d} s"


def explain(planned: Plan, experiments: dict[str, Path], target: Target | None) -> Iterator[str]:
    """Yield the plan line by line; without a target its part is left out."""
    campaign = planned.campaign
    yield f"{campaign.name}: {campaign.description}".rstrip(": ")
    yield f"  plan {planned.digest}, seed {campaign.seed}; lasts {planned.duration_s:g} s, at most {planned.longest_s:g} s with drain, undo, leftovers and report"
    if target is not None:
        limit = target.max_windows if target.window_limit is None else f"MaxWindows {target.max_windows}"
        yield f"  target {target.name}: {target.url} ({limit})"
        if target.tls.insecure:
            yield "  TLS IS NOT VERIFIED (tls.insecure)"
        budget = target.budget
        yield f"  budget: {budget.max_jobs} jobs, {budget.max_rate_per_s:g}/s, {budget.max_open_windows} open windows"
    yield "  load:"
    for stage in campaign.load.stages:
        yield f"    {stage.at:7.1f} s  {stage.open_windows} windows wanted open"
    load = campaign.load
    if load.stages:
        total = sum(load.shares.values())
        shares = [f"{weight / total:.0%} {name}" for name, weight in load.shares.items() if weight]
        yield f"             by {', '.join(shares)}"
    if (own := load.locustfile) is not None:
        who = ", ".join(own.users) or "its user classes"
        for stage in load.stages:
            if stage.own_users is not None:
                yield f"    {stage.at:7.1f} s  {stage.own_users} own users wanted"
        yield f"             own users: {who} of {own.file}" + (
            f", by its shape {own.shape}" if own.shape else ""
        )
    if load.feed is not None:
        yield f"             rows for them: {load.feed.file}, {load.feed.order.replace('_', ' ')}"
    if (arrivals := arrivals_of(planned, 0.0)) is not None:
        for one in arrivals.stretches:
            rate = (
                f"{one.rate_from:g}/s"
                if one.rate_from == one.rate_to
                else f"{one.rate_from:g}/s to {one.rate_to:g}/s"
            )
            yield f"    {one.begin_s:7.1f} s  windows arrive at {rate} until {one.end_s:g} s ({arrivals.process})"
        yield f"             about {arrivals.expected:.0f} arrivals; one sent more than {arrivals.late_after_s * 1000:g} ms after its instant is late"
    yield (
        f"             at most {load.creates_in_flight} creates in flight; each window held {load.hold.min:g}-{load.hold.max:g} s; "
        f"after a refusal {load.after_refusal:g} s" + ("; storm" if load.storm else "")
    )
    if planned.moments:
        yield "  faults:"
    for moment in planned.moments:
        settings = " ".join(f"{key}={value}" for key, value in moment.settings)
        yield f"    {moment.inject_s:7.1f} s  {moment.experiment} {settings}".rstrip()
        yield f"    {moment.undo_s:7.1f} s  undone; recovery watched until {moment.recovered_s:g} s  ({experiments[moment.experiment]})"
    yield "  gates:"
    for gate in planned.gates:
        whole = BY_NAME[gate.measure].whole_run
        during = ", ".join(gate.during) or ("the whole run" if whole else "all phases but warm-up and drain")
        of = f" of {gate.of}" if gate.of else ""
        yield f"    {gate.title}: {gate.measure}{of} {gate.op} {gate.limit:g} during {during} (at least {max(gate.min_samples, 1)} samples)"
    yield "    the record is complete (always)"
    if campaign.stop_when:
        yield "  stopped (exit code 10) when, and not begun to inject while:"
    for condition in campaign.stop_when:
        yield f"    {condition.name}: {in_words(condition)} for {condition.for_s:g} s"


def in_words(condition: StopCondition) -> str:
    """Say when a stop condition holds."""
    if isinstance(condition, MeasureCondition):
        whole = LIVE[condition.measure] is Feed.RUN
        over = "over the run so far" if whole else f"over {condition.over_s:g} s"
        samples = f", from {condition.min_samples} samples on" if condition.min_samples > 1 else ""
        return f"{condition.title} {over} {condition.op} {condition.limit:g}{samples}"
    unverified = " (TLS IS NOT VERIFIED)" if condition.insecure else ""
    if isinstance(condition, HttpCondition):
        containing = f" with {condition.contains!r}" if condition.contains else ""
        return f"{condition.shown} does not answer {condition.status}{containing}{unverified}"
    return f"{condition.promql} {condition.op} {condition.limit:g}, says {condition.url}{unverified}"


def calls(planned: Plan, experiments: dict[str, Path], target: Target) -> Iterator[str]:
    """Yield every object and call of every fault as it would be now; reads the target's cluster, if it answers."""
    if not planned.moments:
        return
    yield "  exactly, as the cluster is now:"
    try:
        cluster = connect(target)
    except HarnessError as error:
        yield f"    cannot be said: {error}"
        return
    try:
        for moment in planned.moments:
            yield f"    {moment.inject_s:7.1f} s  {moment.experiment}"
            try:
                lines = chaos.calls_of(
                    target,
                    cluster,
                    experiments[moment.experiment],
                    dict(moment.settings),
                    moment.undo_s - moment.inject_s,
                )
            except HarnessError as error:
                lines = [f"cannot be said: {error}"]
            yield from (f"      {line}" for line in lines)
    finally:
        cluster.close()
