"""`python -m tests.score.capacity`: whether searches for capacity find the truth, on sandboxes whose limits are drawn.

    python -m tests.score.capacity [--runs N] [--seed S] [--keep DIR]

Each run draws MaxWindows, what a slot's life is made of and how long windows are held, has `harness capacity` look for the windows and the
rate, and holds both against what the sandbox itself wrote down:

- windows: MaxWindows, exactly;
- the ceiling of the rate: MaxWindows by the mean life of the slots that were granted and released while rates were tried, which is
  limit / (ready + hold + reclaim), within 3 %;
- the rate that is held at 97 % success: where constant arrivals that are played against those lives lose what the objective says, within 3 %.

With slots given back a hundredth of their life too late or too early, a limit of a dozen refuses a few per cent at the very rate it sustains on average: the last
two are the same only where all slots live equally long. Prints a line per run, writes reports/capacity.json, and ends with 0 if at least nine tenths of the
runs are right, else with 10.
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
from numpy.typing import NDArray

from harness.errors import Exit
from harness.history.events import ProbeEnded, ProbeStarted, WindowAccepted
from harness.history.reader import read_history
from harness.history.run import read_run
from harness.judge.capacity import capacity
from harness.judge.record import RunRecord
from tests.score.labels import read
from tests.score.play import HARNESS, ROOT, sandbox

REPORT = ROOT / "reports" / "capacity.json"
WITHIN, SHARE = 0.03, 0.9
BUDGET_S = 600
SUCCESS = 0.97
GOOD = 0.1 * (1 - SUCCESS)
"""What a rate that is held loses at most; between that and all that the objective allows either answer is right."""


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
            *("--success", f"{SUCCESS:.0%}", "--unstalled", f"{SUCCESS:.0%}", "--precision", "2%"),
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
    lives_s = slot_lives_s(folder, record)
    truth = limit / float(np.mean(lives_s)) if len(lives_s) else float("nan")
    rate = searches["rate"]
    ceiling = rate.ceiling.per_s if rate.ceiling is not None else float("nan")
    windows_right = searches["windows"].value == limit and searches["windows"].converged
    ceiling_right = abs(ceiling / truth - 1) <= WITHIN
    rate_right = (
        rate.converged
        and rate.above is not None
        and lost(rate.value / (1 + WITHIN), limit, lives_s) <= 1 - SUCCESS
        and lost(rate.above * (1 + WITHIN), limit, lives_s) >= GOOD
    )
    return told | {
        "exit_code": done.returncode,
        "took_s": round(took_s, 1),
        "windows": [limit, searches["windows"].value, searches["windows"].above],
        "ceiling": [round(truth, 4), round(ceiling, 4)],
        "ceiling_error": round(ceiling / truth - 1, 4),
        "rate": [round(rate.value, 4), rate.above and round(rate.above, 4)],
        "rate_by_ceiling": round(rate.value / truth - 1, 4),
        "lost": [round(lost(level, limit, lives_s), 4) for level in (rate.value, rate.above) if level],
        "slots": len(lives_s),
        "life_s": [round(float(part), 3) for part in np.quantile(lives_s, [0.05, 0.5, 0.95])]
        if len(lives_s)
        else [],
        "right": {
            "windows": windows_right,
            "ceiling": ceiling_right,
            "rate": rate_right,
            "exit": done.returncode == Exit.OK,
        },
    }


def lost(rate: float, slots: int, lives_s: NDArray[np.float64], arrivals: int = 20_000) -> float:
    """Return which part of constant arrivals finds no slot free, once the first are given back: slots whose lives are drawn from `lives_s`."""
    if not rate or not len(lives_s):
        return float("nan")
    chance = np.random.default_rng(1)
    free_at_s = np.zeros(slots)
    refused = 0
    for number, life_s in enumerate(chance.choice(lives_s, arrivals)):
        now_s, first = number / rate, int(free_at_s.argmin())
        if free_at_s[first] <= now_s:
            free_at_s[first] = now_s + life_s
        elif number >= arrivals // 10:
            refused += 1
    return refused / (arrivals - arrivals // 10)


def slot_lives_s(folder: Path, record: RunRecord) -> NDArray[np.float64]:
    """Return how long slots lived while rates were tried, in seconds: those of windows that came so early that long lives ended before the probe did.

    When a probe ends all its windows are closed at once, and slots that are waiting to be given back wait for that as well.
    """
    facts = read(folder / "truth")
    granted = {fact["job_id"]: fact["at_ns"] for fact in facts if fact["kind"] == "slot_granted"}
    released = {fact["job_id"]: fact["at_ns"] for fact in facts if fact["kind"] == "slot_released"}
    ended = {one.probe: one.at_ns for one in record.of(ProbeEnded)}
    accepted = record.of(WindowAccepted)
    left_s, lives_s = [], []
    for probe in (one for one in record.of(ProbeStarted) if one.sought == "rate"):
        windows = range(probe.first_window, probe.first_window + probe.planned)
        for one in accepted:
            if one.window in windows and one.job_id in granted and one.job_id in released:
                left_s.append((ended.get(probe.probe, 0) - one.at_ns) / 1e9)
                lives_s.append((released[one.job_id] - granted[one.job_id]) / 1e9)
    if not lives_s:
        return np.array([])
    return np.array(lives_s)[np.array(left_s) >= np.quantile(lives_s, 0.95)]


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
            wrong = [name for name, right in row["right"].items() if not right]
            print(  # noqa: T201
                f"{seed}: windows {row['windows']}, ceiling {row['ceiling']} ({row['ceiling_error']:+.2%}), held {row['rate']} "
                f"({row['rate_by_ceiling']:+.2%}), loses {row['lost']}, {row['took_s']:.0f} s, exit {row['exit_code']}: "
                f"{'WRONG: ' + ', '.join(wrong) if wrong else 'right'}",
                flush=True,
            )
    right = sum(all(row["right"].values()) for row in rows)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_bytes(
        msgspec.json.format(msgspec.json.encode({"right": right, "of": len(rows), "runs": rows}))
    )
    print(f"{right} of {len(rows)} right")  # noqa: T201
    return Exit.OK if right >= SHARE * len(rows) else Exit.FAILED


if __name__ == "__main__":
    sys.exit(main())
