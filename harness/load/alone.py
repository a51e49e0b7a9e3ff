"""Locust without a conductor: a plan from a target file and the command line, and a run folder of its own.

Called by `locustfile.py` through `hooks`. The target is the one HARNESS_TARGET names; `--host` overrides its URL. With `--host`
and no HARNESS_TARGET no target file is read at all, so that a URL is enough.
"""

import os
from pathlib import Path
from typing import Any

from harness.documents import duration_s
from harness.errors import InputError
from harness.focus.arrivals import Arrivals, Stretch
from harness.focus.endpoint import Endpoint, Timeouts
from harness.focus.seam import Budget, Payload
from harness.load.feed import ORDERS, FeedPlan, read_rows
from harness.load.plan import LoadPlan
from harness.target import Target, find_target, load_target
from harness.target.load import TARGET_VARIABLE

REPORTS = "reports"
ENGINE_STARTS_S = 3.0
"""The first arrival comes so long after Locust's start: an engine that is still starting would be late."""


def add_options(parser: Any) -> None:
    """Add the load's own options to Locust's command line; `-u` is the number of windows wanted open."""
    group = parser.add_argument_group("Focus Server load")
    group.add_argument(
        "--creates-in-flight", type=int, default=5, help="POST /configure at the same time, at most (5)"
    )
    group.add_argument(
        "--hold", default="30s..60s", help="how long a live window is watched, least..most (30s..60s)"
    )
    group.add_argument("--after-refusal", default="1s", help="pause after a refusal, half more or less (1s)")
    group.add_argument(
        "--suspend-after", type=int, default=20, help="equal refusals in a row that suspend a scenario (20)"
    )
    group.add_argument("--suspend", default="3s", help="how often a suspended scenario probes (3s)")
    group.add_argument("--storm", action="store_true", help="never suspend: keep asking")
    group.add_argument(
        "--rate", type=float, default=None, help="open arrivals: so many windows per second, and no users"
    )
    group.add_argument(
        "--arrival-process",
        choices=("poisson", "constant"),
        default="poisson",
        help="with --rate: by chance, or at an even distance (poisson)",
    )
    group.add_argument(
        "--transport",
        choices=("reference", "lean"),
        default="reference",
        help="what carries the streams (reference)",
    )
    group.add_argument("--feed", default="", help="rows for own users: a file with one JSON object per line")
    group.add_argument(
        "--feed-order", choices=ORDERS, default="unique", help="in which order they are handed out (unique)"
    )
    group.add_argument("--channels", type=int, default=50, help="channels per window (50)")
    group.add_argument("--lines-dt", default="100ms", help="time between rows of a live window (100ms)")
    group.add_argument("--load-seed", type=int, default=0, help="seed of pauses and hold times (0)")
    parser.add_argument(  # these three are no business of the web page
        "--ca-file", default="", include_in_web_ui=False, help="CA that signed the server's certificate"
    )
    parser.add_argument(
        "--insecure", action="store_true", include_in_web_ui=False, help="do NOT verify TLS certificates"
    )
    parser.add_argument(
        "--reports", default=REPORTS, include_in_web_ui=False, help="where run folders are made (reports)"
    )


def own_target(host: str | None) -> Target | None:
    """Return the target this load is for; None when a URL alone was given."""
    if host and not os.environ.get(TARGET_VARIABLE):
        return None
    return load_target(find_target(None))


def own_plan(target: Target | None, options: Any, host: str | None) -> LoadPlan:
    """Return the plan of a load that Locust's own options shape; its history folder does not exist yet."""
    low, _, high = str(options.hold).partition("..")
    height = 100
    budget = budget_of(target) if target else Budget()
    return LoadPlan(
        endpoint=endpoint_of(target, host, options.ca_file or None, options.insecure),
        budget=budget,
        arrivals=_arrivals(options, budget),
        transport=options.transport,
        feed=_feed(options),
        payload=Payload(
            duration_s=_whole_seconds(_seconds("--lines-dt", options.lines_dt) * height, options.lines_dt),
            height=height,
            channels=options.channels,
        ),
        max_windows=target.window_limit if target else None,
        creates_in_flight=options.creates_in_flight,
        hold_s=(_seconds("--hold", low), _seconds("--hold", high or low)),
        after_refusal_s=_seconds("--after-refusal", options.after_refusal),
        suspend_after=options.suspend_after,
        suspend_s=_seconds("--suspend", options.suspend),
        storm=options.storm,
        seed=options.load_seed,
    )


def _feed(options: Any) -> FeedPlan | None:
    if not options.feed:
        return None
    read_rows(Path(options.feed))  # what is wrong in it is said before anything starts
    return FeedPlan(file=str(Path(options.feed).resolve()), order=options.feed_order)


def _arrivals(options: Any, budget: Budget) -> Arrivals | None:
    if options.rate is None:
        return None
    ends_s = min(float(options.run_time or budget.max_duration_s), budget.max_duration_s)
    if ends_s <= ENGINE_STARTS_S:
        raise InputError(
            f"--rate: the first arrival comes after {ENGINE_STARTS_S:g} s; let the load last longer (-t)"
        )
    stretch = Stretch(ENGINE_STARTS_S, ends_s, options.rate, options.rate)
    return Arrivals(process=options.arrival_process, stretches=(stretch,), seed=options.load_seed)


def endpoint_of(
    target: Target | None, host: str | None = None, ca_file: str | None = None, insecure: bool = False
) -> Endpoint:
    """Return how the target's Focus Server is reached; what is given beside the target wins."""
    if target is None:
        return Endpoint(url=(host or "").rstrip("/"), ca_file=ca_file, insecure=insecure)
    times = target.timeouts
    return Endpoint(
        url=(host or target.url).rstrip("/"),
        ca_file=ca_file or (None if insecure else target.tls.ca_file),
        insecure=insecure or (target.tls.insecure and not ca_file),
        timeouts=Timeouts(
            connect_s=times.connect_s, read_s=times.read_s, total_s=times.total_s, ready_s=times.ready_s
        ),
        headers=dict(target.headers),
    )


def budget_of(target: Target) -> Budget:
    """Return the target's budget as the engine takes it."""
    return Budget(
        max_jobs=target.budget.max_jobs,
        max_rate_per_s=target.budget.max_rate_per_s,
        max_duration_s=target.budget.max_duration_s,
        max_open_windows=target.budget.max_open_windows,
    )


def _seconds(option: str, value: object) -> float:
    try:
        return duration_s(value)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from error


def _whole_seconds(duration: float, lines_dt: object) -> int:
    if duration < 1 or round(duration) != round(duration, 6):
        raise InputError(
            f"--lines-dt {lines_dt}: 100 rows must last a whole number of seconds (10ms, 20ms...)"
        )
    return round(duration)
