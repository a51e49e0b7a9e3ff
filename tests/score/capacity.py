"""`python -m tests.score.capacity`: whether searches for capacity find the truth, on sandboxes whose limits are drawn.

    python -m tests.score.capacity [--runs N] [--seed S] [--keep DIR]

Each run draws MaxWindows, what a slot's life is made of and how long windows are held, has `harness capacity` look for the windows and the
rate, and holds both against what the sandbox itself wrote down: MaxWindows exactly; and MaxWindows by the mean life of the slots that were
granted and released while rates were tried, which is limit / (ready + hold + reclaim), within 3 %. The objective is 97 % success: with slots
given back a hundredth of their life too late or too early, a limit of a dozen refuses a few per cent at the very rate it sustains on average. Prints a line per run, writes
reports/capacity.json, and ends with 0 if at least nine tenths of the runs are within both, else with 10.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from harness.errors import Exit
from harness.history.events import ProbeEnded, ProbeStarted, WindowAccepted, WindowClosed
from harness.history.reader import read_history
from harness.history.run import read_run
from harness.judge.capacity import capacity
from harness.judge.record import RunRecord
from tests.score.labels import read, run_start_ns
from tests.score.play import HARNESS, ROOT, sandbox

REPORT = ROOT / "reports" / "capacity.json"
WITHIN, SHARE = 0.03, 0.9
BUDGET_S = 600


def drawn(seed: int) -> tuple[dict[str, str], float]:
    """Return a sandbox's settings and how long windows are held, from ranges that were fixed before anything was measured."""
    chance = random.Random(seed)
    ready_s = chance.uniform(0.5, 2.0)
    options = {
        "mode": "seed",
        "max_windows": str(chance.randint(8, 20)),
        "ready_delay_s": f"{ready_s:.2f}",
        "ready_delay_median_s": f"{ready_s:.2f}",
        "ready_delay_p95_s": f"{ready_s:.2f}",
        "disconnect_linger_s": f"{chance.uniform(0.3, 1.0):.2f}",
        "cleanup_period_s": f"{chance.uniform(1.5, 3.0):.2f}",
    }
    return options, round(chance.uniform(3.0, 7.0), 1)


def played(seed: int, folder: Path) -> dict[str, Any]:
    """Play one search and return what it found beside the truth."""
    options, hold_s = drawn(seed)
    folder.mkdir(parents=True)
    began = time.monotonic()
    told = {"seed": seed, "settings": dict(options), "hold_s": hold_s}
    with sandbox(f"capacity-{seed}", dict(options), folder) as environment:
        command = [*HARNESS, "capacity", "--target", "sandbox", "--find", "windows", "--find", "rate"]
        command += [
            *("--success", "97%", "--precision", "2%"),
            "--confidence",
            "90%",
            "--hold",
            f"{hold_s}s",
            "--budget",
            f"{BUDGET_S}s",
            "--out",
            str(folder / "record"),
        ]
        began = time.monotonic()
        with (folder / "harness.log").open("w") as log:
            done = subprocess.run(
                command,
                env=environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                check=False,
                timeout=BUDGET_S + 400,
            )
        took_s = time.monotonic() - began
    record = RunRecord(read_run(folder / "record"), read_history(folder / "record" / "history"))
    found = capacity(record)
    assert found is not None
    searches = {one.sought: one for one in found.searches}
    limit = int(options["max_windows"])
    life_s, lives = slot_life_s(folder, record)
    truth = limit / life_s if lives else float("nan")
    rate = searches["rate"].value
    return told | {
        "exit_code": done.returncode,
        "took_s": round(took_s, 1),
        "windows": [limit, searches["windows"].value, searches["windows"].above],
        "rate": [round(truth, 4), round(rate, 4), searches["rate"].above],
        "slots": lives,
        "life_s": round(life_s, 3),
        "rate_error": round(rate / truth - 1, 4),
        "right": searches["windows"].value == limit
        and searches["windows"].converged
        and abs(rate / truth - 1) <= WITHIN
        and searches["rate"].converged
        and done.returncode == Exit.OK,
    }


def slot_life_s(folder: Path, record: RunRecord) -> tuple[float, int]:
    """Return the mean life of slots in seconds, and of how many: those of windows that were held to their end while rates were tried."""
    facts = read(folder / "truth")
    start_ns = run_start_ns(facts, record)
    ended = {one.probe: one.at_ns for one in record.of(ProbeEnded)}
    spans = [
        (one.first_window, one.first_window + one.planned, ended.get(one.probe, 0))
        for one in record.of(ProbeStarted)
        if one.sought == "rate"
    ]
    closed = {one.window: one.at_ns for one in record.of(WindowClosed)}
    jobs = {
        one.job_id
        for one in record.of(WindowAccepted)
        if any(first <= one.window < last and closed.get(one.window, end) < end for first, last, end in spans)
    }
    granted = {fact["job_id"]: fact["at_ns"] - start_ns for fact in facts if fact["kind"] == "slot_granted"}
    released = {fact["job_id"]: fact["at_ns"] - start_ns for fact in facts if fact["kind"] == "slot_released"}
    lives = [released[job] - granted[job] for job in jobs if job in granted and job in released]
    return (float(np.mean(lives)) / 1e9 if lives else float("nan")), len(lives)


def main() -> int:
    """Play, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="capacity-") as scratch:
        for number in range(options.runs):
            seed = options.seed * 1000 + number
            row = played(seed, (options.keep or Path(scratch)) / str(seed))
            rows.append(row)
            print(  # noqa: T201
                f"{seed}: windows {row['windows']}, rate {row['rate']} ({row['rate_error']:+.2%}), "
                f"{row['took_s']:.0f} s, exit {row['exit_code']}: {'right' if row['right'] else 'WRONG'}",
                flush=True,
            )
    right = sum(row["right"] for row in rows)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_bytes(
        msgspec.json.format(msgspec.json.encode({"right": right, "of": len(rows), "runs": rows}))
    )
    print(f"{right} of {len(rows)} right")  # noqa: T201
    return Exit.OK if right >= SHARE * len(rows) else Exit.FAILED


if __name__ == "__main__":
    sys.exit(main())
