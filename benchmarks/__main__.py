"""`python -m benchmarks`: measure everything, print a table, write reports/bench.json.

Takes about three minutes on two cores. `--only NAME` measures one part: history, judging, configure, arrivals, streams, admission, load.
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks import admission, arrivals, configure, history, judging, streams
from benchmarks.rows import Row, keep, table
from benchmarks.world import World, world

COMMAND = "python -m benchmarks --only {}"
SANDBOX = ("--profile", "fast", "--set", "broker=off")
"""Without RabbitMQ, so that machines with and without it measure the same world."""
PARTS = ("history", "judging", "configure", "arrivals", "streams", "admission", "load")


def main() -> None:
    """Measure the parts asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--out", type=Path, default=Path("reports/bench.json"))
    given = parser.parse_args()
    parts = given.only or PARTS
    rows: list[Row] = []
    if "history" in parts:
        rows += history.measure(COMMAND.format("history"))
    if "judging" in parts:
        rows += judging.measure(COMMAND.format("judging"))
    if "configure" in parts:
        rows += configure.measure(COMMAND.format("configure"))
    if "arrivals" in parts:
        rows += arrivals.measure(COMMAND.format("arrivals"))
    if "streams" in parts:
        rows += streams.measure(COMMAND.format("streams"))
    starts_s: list[float] = []
    if "admission" in parts:
        with world(*SANDBOX) as here:
            starts_s.append(here.ready_s)
            rows += admission.measure(here, COMMAND.format("admission"))
    if "load" in parts:
        with world(*SANDBOX) as here:
            starts_s.append(here.ready_s)
            rows += _load(here, COMMAND.format("load"))
    if starts_s:
        rows.append(Row("sandbox ready", statistics.mean(starts_s), "s", COMMAND.format("load"), "10"))
    print(table(rows))  # noqa: T201  (what this program is for)
    keep(rows, given.out)


def _load(here: World, command: str) -> list[Row]:
    """Thirty live windows: what the load costs, how late frames are, what the sandbox weighs meanwhile."""
    weights: list[int] = []
    done = threading.Event()

    def weigh() -> None:
        while not done.wait(2.0):
            weights.append(here.pss_bytes())

    weigher = threading.Thread(target=weigh, daemon=True)
    weigher.start()
    started = time.monotonic()
    printed = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", "--json", "--url", here.url],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    done.set()
    weigher.join()
    rows = [Row(**json.loads(line)) for line in printed.stdout.splitlines() if line.startswith("{")]
    rows.append(
        Row(
            "sandbox with 30 live windows, all processes, PSS",
            max(weights) / 1e6,
            "MB",
            command,
            "under 1000",
        )
    )
    rows.append(Row("load benchmark took", time.monotonic() - started, "s", command))
    return rows


if __name__ == "__main__":
    main()
