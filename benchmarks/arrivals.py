"""Open arrivals beside Locust's own pacing users: does a stall show, is all that was planned accounted for, and how late is it sent.

`python -m benchmarks --only arrivals`, about a minute and a half; needs nginx. The server freezes for 5 of 25 s while 200 requests per second
are planned; the truth is known from the plan and from when it stood still.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.nginx import REFUSAL, Nginx, nginx
from benchmarks.rows import Row
from harness.focus.arrivals import Arrivals, Stretch, instants_ns
from harness.focus.endpoint import Endpoint, Timeouts
from harness.focus.seam import Budget
from harness.history.events import LoadState
from harness.history.reader import History, read_history
from harness.history.run import RunInfo
from harness.judge.arrivals import arrivals as judged
from harness.judge.findings import ArrivalsFinding
from harness.judge.record import RunRecord
from harness.load.plan import LoadPlan, write_plan

RATE, LONG_S, STILL_S, STILL_AT_S = 200.0, 25.0, 5.0, 10.0
BEGIN_S = 4.0
FAST_RATE, FAST_S = 2000.0, 10.0
ROOMY = Budget(max_jobs=10**9, max_rate_per_s=1e6, max_open_windows=10**6)


def measure(command: str) -> list[Row]:
    """Freeze the server under us and under Locust; then see how late many arrivals are sent."""
    with nginx(503, REFUSAL) as server:
        ours = _frozen(server)
        locust = _locust_frozen(server)
        fast = _fast(server)
    history, truth_ms, came = ours
    attempts = history.samples["attempts"].rows
    planned_ms = (
        float(np.quantile(attempts["done_ns"] - attempts["intended_ns"], 0.99, method="inverted_cdf")) / 1e6
    )
    rate, still = (
        f"{RATE:g}/s, frozen {STILL_S:g} of {LONG_S:g} s",
        "Locust FastHttpUser, constant_throughput",
    )
    late_ms, sent_late_ms, cpu, late = fast
    return [
        Row(f"{rate}: true p99", truth_ms, "ms", command),
        Row(
            f"{rate}: reported p99",
            planned_ms,
            "ms",
            command,
            "within 2 % of the truth",
            still,
            locust["p99_ms"],
        ),
        Row(
            f"{rate}: error of the reported p99",
            abs(planned_ms / truth_ms - 1),
            "share",
            command,
            "0.02",
            still,
            abs(locust["p99_ms"] / truth_ms - 1),
        ),
        Row(
            f"{rate}: planned and never sent",
            sum(came.not_offered.values()) / came.planned,
            "share",
            command,
            "said, if any",
            still,
            locust["unsent"],
        ),
        Row(f"{rate}: planned and unaccounted for", float(came.unaccounted), "arrivals", command, "0"),
        Row(f"{FAST_RATE:g} arrivals/s: sent later than planned, p99", late_ms, "ms", command, "1"),
        Row(f"{FAST_RATE:g} arrivals/s: sent later than planned, p50", sent_late_ms, "ms", command),
        Row(f"{FAST_RATE:g} arrivals/s: late by more than 10 ms", late, "share", command),
        Row(f"{FAST_RATE:g} arrivals/s: load and engine, share of a core", cpu, "cores", command),
    ]


def _played(url: str, arrivals: Arrivals, beside: threading.Thread | None, last_s: float) -> History:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        plan = LoadPlan(
            endpoint=Endpoint(url=url, timeouts=Timeouts(connect_s=20, read_s=20, total_s=30)),
            budget=ROOMY,
            arrivals=arrivals,
            end_s=last_s,
            hold_s=(1.0, 1.0),
            history=str(folder / "history"),
            clock_start_ns=time.monotonic_ns(),
        )
        write_plan(plan, folder / "plan.json")
        if beside is not None:
            beside.start()
        subprocess.run(
            [sys.executable, "-m", "harness.load", "--plan", str(folder / "plan.json")], check=True
        )
        if beside is not None:
            beside.join()
        return read_history(folder / "history")


def _frozen(server: Nginx) -> tuple[History, float, ArrivalsFinding]:
    """Play ours; return the record, the true p99 in milliseconds, and what became of the arrivals."""
    began_ns = time.monotonic_ns()
    still: list[tuple[int, int]] = []

    def freeze() -> None:
        time.sleep(BEGIN_S + STILL_AT_S)
        still.append(server.freeze(STILL_S))

    stretch = Stretch(BEGIN_S, BEGIN_S + LONG_S, RATE, RATE)
    arrivals = Arrivals(process="constant", stretches=(stretch,), in_flight=5000)
    history = _played(server.url, arrivals, threading.Thread(target=freeze), BEGIN_S + LONG_S + 2)
    from_ns, to_ns = (at - began_ns for at in still[0])
    due_ns = instants_ns(arrivals)
    truth_ns = np.where((due_ns >= from_ns) & (due_ns < to_ns), to_ns - due_ns, 0)
    run = RunInfo(
        run_id="bench",
        harness_version="",
        campaign="",
        plan_hash="",
        seed=0,
        target="",
        target_url="",
        wall_start="",
    )
    came = judged(RunRecord(run, history))
    assert came is not None
    return history, float(np.quantile(truth_ns, 0.99, method="inverted_cdf")) / 1e6, came


def _locust_frozen(server: Nginx) -> dict[str, float]:
    """Play Locust's users on the same freeze; return their p99 and the share of what was planned that they never sent."""
    users, each_s = 100, RATE / 100
    freezer = threading.Thread(target=lambda: (time.sleep(BEGIN_S + STILL_AT_S), server.freeze(STILL_S)))
    freezer.start()
    printed = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("peer_locustfile.py"))),
            *(
                "--headless",
                "--json",
                "--host",
                server.url,
                "-u",
                str(users),
                "-r",
                "1000",
                "-t",
                f"{LONG_S:g}s",
            ),
        ],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={"PER_USER_S": str(each_s), "BASE": "fast", "PATH": "/usr/bin:/bin"},
    )
    freezer.join()
    (stats,) = json.loads(printed.stdout)
    times = {float(ms): count for ms, count in stats["response_times"].items()}
    ordered = np.repeat(sorted(times), [times[ms] for ms in sorted(times)])
    return {
        "p99_ms": float(np.quantile(ordered, 0.99, method="inverted_cdf")),
        "unsent": max(0.0, 1 - len(ordered) / (RATE * LONG_S)),
    }


def _fast(server: Nginx) -> tuple[float, float, float, float]:
    """Play many arrivals per second; return lateness p99 and p50 in milliseconds, CPU, and the share that was late."""
    stretch = Stretch(BEGIN_S, BEGIN_S + FAST_S, FAST_RATE, FAST_RATE)
    history = _played(server.url, Arrivals(stretches=(stretch,), seed=5), None, BEGIN_S + FAST_S + 1)
    rows = history.samples["arrivals"].rows
    sent = rows[rows["sent_ns"] > 0]
    late_ns = sent["sent_ns"] - sent["intended_ns"]
    states = [record.event for record in history.events if isinstance(record.event, LoadState)]
    busy = [one.cpu for one in states if BEGIN_S + 1 < one.at_ns / 1e9 < BEGIN_S + FAST_S]
    p50, p99 = np.quantile(late_ns, (0.5, 0.99), method="inverted_cdf") / 1e6
    return float(p99), float(p50), float(np.mean(busy)), float((late_ns > 10_000_000).mean())
